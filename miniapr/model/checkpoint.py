"""Reading and writing weights: Hugging Face folders (config.json, safetensors) and GGUF files, never pickle.

One tensor after the other is read, checked, converted and laid out, so there is never a second copy of a model. Once it
is loaded, nothing that happens to its files matters (stored.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from ..ops.backends import usable
from . import families
from .decoder import Decoder
from .families import Change, Translation
from .folder import read_config, stored
from .gguf import GGUF
from .parts import Matrix
from .stored import Stored

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
HEAD = "lm_head.weight"


def save(model: Decoder, folder: str | Path, dtype: torch.dtype | None = None, voices: bool = True) -> None:
    """Write config.json and model.safetensors, from which Hugging Face's classes compute the same (but for a model with
    voices, which they refuse: without its ``voices`` it is an ordinary one, the same where nothing is said in one).
    ``dtype`` rounds the weights (float16 halves the file).

    What was there stays until all is written. Raises ValueError for GPT-2, whose files have other names, for numbers
    that are not finite in that type, and for a folder that cannot be written.
    """
    config = model.config
    if config.model_type == "gpt2":
        raise ValueError("a GPT-2 model cannot be written, only read")
    state = model.state_dict()
    if config.tie_word_embeddings:
        del state[HEAD]
    if not voices:
        config = replace(config, voices=0)
        state = {name: tensor for name, tensor in state.items() if not name.endswith(".voices")}
    tensors = {
        name: _finite(families.half_split(config, name, tensor.detach()).to("cpu", dtype), name).contiguous().clone()
        for name, tensor in state.items()
    }
    # A voice is one vector for keys, which would be put in another order, and values, which would not.
    written = config if config.voices else replace(config, rope_interleaved=False)
    said = json.dumps(written.to_dict(), indent=2) + "\n"
    folder = Path(folder)
    parts = {folder / name: folder / f"{name}.part" for name in ("model.safetensors", "config.json")}
    weights, settings = parts.values()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, weights, metadata={"format": "pt"})
        settings.write_text(said, encoding="utf-8")
        for file, part in parts.items():
            part.replace(file)
    except (OSError, SafetensorError) as error:
        for part in parts.values():
            if part.is_file():
                part.unlink()
        raise ValueError(f"the model cannot be written to {folder}: {error}") from error


def load(
    path: str | Path | GGUF, dtype: torch.dtype = torch.float32, device: str = "cpu", pack: bool | None = None
) -> Decoder:
    """Read a decoder from a Hugging Face folder or a GGUF file, whose table may have been read already.

    ``pack`` lays the weights out for steps of few rows (``Decoder.pack``); None: where the C++ kernels can use it.
    Raises ValueError naming the file or the tensor that does not fit.
    """
    if not isinstance(path, GGUF):
        path = Path(path)
        path = GGUF(path) if path.suffix == ".gguf" else path
    if isinstance(path, GGUF):
        config, tensors, path = path.config(), path.tensors(), path.path
        translate = families.gguf(config)
    else:
        config, tensors = read_config(path), stored(path)
        if config.tie_word_embeddings and _own_head(families.hugging_face(config), tensors):
            config = replace(config, tie_word_embeddings=False)
        translate = families.hugging_face(config)
    if config.num_hidden_layers > len(tensors):  # told before a billion of them is made
        raise ValueError(f"{path}: {config.num_hidden_layers} layers, but only {len(tensors)} tensors")
    with torch.device("meta"):
        model = Decoder(config)
    if pack is None:
        pack = torch.device(device).type == "cpu" and dtype != torch.float16 and usable("cpp")
    _fill(model, _assign(model, tensors, translate, path), dtype, device, pack)
    model.requires_grad_(False).eval()
    return model.pack() if pack else model


def _own_head(translate: Translation, tensors: Mapping[str, Stored]) -> bool:
    """There is a head that is not the embeddings, though the configuration says so: files of merged models are
    like that, and Hugging Face then takes the tensor."""
    head = tensors.get(HEAD)
    embeddings = (tensor for name, tensor in tensors.items() if "model.embed_tokens.weight" in translate(name))
    return head is not None and not any(head.equals(tensor) for tensor in embeddings)


@dataclass(frozen=True)
class Source:
    """Where a parameter comes from: a tensor of a file, and what is to be done to it."""

    tensor: Stored
    change: Change


def _assign(model: Decoder, tensors: Mapping[str, Stored], translate: Translation, path: Path) -> dict[str, Source]:
    """A source for each parameter, by its name. Raises ValueError for a tensor that is missing or foreign."""
    wanted = dict(model.named_parameters())  # a tied head is not among them
    sources: dict[str, Source] = {}
    foreign = []
    for name, tensor in tensors.items():
        for ours, change in translate(name).items():
            if ours in wanted:
                sources[ours] = Source(tensor, change)
            else:
                foreign.append(tensor)
    for name in wanted:
        if name not in sources:
            raise ValueError(f"{path}: tensor {name!r} is missing")
    if foreign:
        first = foreign[0]
        raise ValueError(f"{first.file}: tensor {first.name!r} does not belong to this model ({len(foreign)} such)")
    return sources


def _fill(model: Decoder, sources: Mapping[str, Source], dtype: torch.dtype, device: str, pack: bool) -> None:
    """Read every parameter into its place, one after the other."""
    tied = model.config.tie_word_embeddings
    for name, parameter in dict(model.named_parameters()).items():
        where, _, kind = name.rpartition(".")
        module, tensor = model.get_submodule(where), sources[name]
        value = _read(tensor, name, parameter, dtype).to(device).contiguous()
        setattr(module, kind, nn.Parameter(value, requires_grad=False))
        if pack and isinstance(module, Matrix) and ".layers." in name and kind == "weight":
            module.pack()  # at once, so that what it was read from is let go
    if tied:
        model.lm_head.weight = model.model.embed_tokens.weight


def _read(source: Source, name: str, wanted: Tensor, dtype: torch.dtype) -> Tensor:
    """Raises ValueError for a tensor that is misshapen, or not of finite numbers of that type."""
    stored = source.tensor
    label = f"{stored.file}: tensor {stored.name!r}" + ("" if stored.name == name else f" (for {name})")
    changed = source.change(stored.read())
    if changed.shape != wanted.shape:
        raise ValueError(f"{label} is {list(changed.shape)}, wants {list(wanted.shape)}")
    return _finite(changed.to(dtype), label)


def _finite(tensor: Tensor, label: str) -> Tensor:
    """Raises ValueError for NaN and infinity, which rounding to float16 makes of numbers above 65,504 too."""
    # The extremes of a tensor with NaN are NaN; unlike isfinite they need no memory.
    if not torch.stack(tensor.aminmax()).isfinite().all():
        raise ValueError(
            f"{label} holds values that are not finite numbers in {str(tensor.dtype).removeprefix('torch.')}"
        )
    return tensor
