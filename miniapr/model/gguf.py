"""GGUF files (llama.cpp's format), through the ``gguf`` library: weights and configuration. (gguf_text.py: tokenizer.)

Quantised weights are expanded when they are read; a step then computes with the rounded numbers, in float32 or what
was asked for, so it is the same model and not the same speed as llama.cpp's.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .config import ModelConfig
from .stored import Stored

PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
READ = (*PLAIN, "Q8_0", "Q4_0", "Q4_1")
# What of a configuration has which key, after the architecture's name.
KEYS = {
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "rope_theta": "rope.freq_base",
    "max_position_embeddings": "context_length",
}


class GGUF:
    """An open file, mapped into memory. Raises ValueError if it is not one, or is cut short."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ValueError(f"no model: {path} is missing")
        import gguf

        self.path = path
        try:
            self._reader = gguf.GGUFReader(path)
        except Exception as error:  # the library raises whatever its arithmetic on a broken file comes to
            raise ValueError(f"{path} is not a GGUF file, or is cut short: {error}") from error

    def get(self, key: str, default: Any = None) -> Any:
        field = self._reader.get_field(key)
        return default if field is None else field.contents()

    def config(self) -> ModelConfig:
        """Raises ValueError for an architecture that is not known, or a key that is missing."""
        family = self.get("general.architecture")
        given = {ours: self.get(f"{family}.{key}") for ours, key in KEYS.items()}
        shapes = {tensor.name: tensor.shape for tensor in self._reader.tensors}
        if "token_embd.weight" not in shapes:
            raise ValueError(f"{self.path}: tensor 'token_embd.weight' is missing")
        eps = "layer_norm_epsilon" if family == "gpt2" else "layer_norm_rms_epsilon"
        raw = {
            **given,
            "model_type": family,
            "vocab_size": int(shapes["token_embd.weight"][1]),  # GGUF has the fastest dimension first
            "rms_norm_eps": self.get(f"{family}.attention.{eps}"),
            "tie_word_embeddings": "output.weight" not in shapes,
            "rope_interleaved": family == "llama",
            "attention_bias": "blk.0.attn_output.bias" in shapes and family != "gpt2",
            "rope_scaling": self._rope_scaling(str(family)),
        }
        try:
            return ModelConfig.from_dict(raw)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.path}: {error}") from error

    def _rope_scaling(self, family: str) -> dict[str, Any] | None:
        for tensor in self._reader.tensors:
            if tensor.name == "rope_freqs.weight":  # llama3's, written out
                return {"rope_type": "each", "factors": tensor.data.astype("float64").tolist()}
        where = f"{family}.rope.scaling"
        kind = self.get(f"{where}.type", "none")
        if kind == "none":
            return None
        return {
            "rope_type": kind,
            "factor": self.get(f"{where}.factor"),
            "original_max_position_embeddings": self.get(f"{where}.original_context_length"),
        }

    def tensors(self) -> dict[str, Stored]:
        return {
            tensor.name: Stored(self.path, tensor.name, _reader(self.path, tensor)) for tensor in self._reader.tensors
        }


def _reader(path: Path, tensor: Any) -> Callable[[], Tensor]:
    """Reads one tensor: as it lies in the file where torch has the type, expanded to float32 where it is quantised."""

    def read() -> Tensor:
        kind, shape = tensor.tensor_type.name, [int(n) for n in reversed(tensor.shape)]
        if kind not in READ:
            raise ValueError(f"{path}: tensor {tensor.name!r} is {kind}, only {', '.join(READ)} are supported")
        if kind in PLAIN:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that the file's memory cannot be written: nobody does
                return torch.from_numpy(tensor.data).view(PLAIN[kind]).view(shape)
        import gguf

        return torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type)).view(shape)

    return read
