"""Small GGUF files, written by the ``gguf`` library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

WIDTH, INNER = 64, 96
KEYS: dict[str, Any] = {
    "embedding_length": WIDTH,
    "feed_forward_length": INNER,
    "block_count": 1,
    "context_length": 128,
    "attention.head_count": 2,
    "attention.head_count_kv": 2,
    "attention.layer_norm_rms_epsilon": 1e-5,
}
SHAPES: dict[str, tuple[int, ...]] = {
    "token_embd": (40, WIDTH),
    "output_norm": (WIDTH,),
    "blk.0.attn_norm": (WIDTH,),
    "blk.0.ffn_norm": (WIDTH,),
    **{f"blk.0.attn_{part}": (WIDTH, WIDTH) for part in ("q", "k", "v", "output")},
    **{"blk.0.ffn_gate": (INNER, WIDTH), "blk.0.ffn_up": (INNER, WIDTH), "blk.0.ffn_down": (WIDTH, INNER)},
}
QUANTS = gguf.GGMLQuantizationType
TYPES = {"u8": "uint8", "i8": "int8", "u16": "uint16", "i16": "int16", "i32": "int32", "u64": "uint64", "i64": "int64"}


def write_gguf(
    file: Path,
    quant: Any,
    family: str = "llama",
    change: dict[str, Any] | None = None,
    keys: dict[str, Any] | None = None,
    others: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A small model with its matrices stored as ``quant``; gives them as numpy would expand them.

    ``change``: shapes of tensors, ``keys``: of the architecture, ``others``: under their whole names; None leaves one
    out. A tensor's numbers depend on its name alone.
    """
    out = gguf.GGUFWriter(file, family)
    for name, value in (KEYS | (keys or {})).items():
        _add(out, f"{family}.{name}", value)
    for name, value in (others or {}).items():
        _add(out, name, value)
    expanded = {}
    for name, shape in (SHAPES | (change or {})).items():
        if shape is None:
            continue
        value = np.random.default_rng([*name.encode()]).standard_normal(shape).astype(np.float32)
        kind = quant if len(shape) == 2 else QUANTS.F32
        raw = value if kind == QUANTS.F32 else gguf.quants.quantize(value, kind)
        expanded[name] = value if kind == QUANTS.F32 else gguf.quants.dequantize(raw, kind)
        out.add_tensor(f"{name}.weight", raw, raw_dtype=None if kind in (QUANTS.F32, QUANTS.F16) else kind)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return expanded


def _add(out: gguf.GGUFWriter, name: str, value: Any) -> None:
    if isinstance(value, bool):
        out.add_bool(name, value)
    elif isinstance(value, int):
        getattr(out, f"add_{TYPES.get(name, 'uint32')}")(name, value)
    elif isinstance(value, float):
        out.add_float32(name, value)
    elif isinstance(value, str):
        out.add_string(name, value)
    elif value is not None:
        out.add_array(name, value)
