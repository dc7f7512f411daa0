"""Reading and writing weights: Hugging Face folders (config.json, safetensors) and GGUF files, never pickle.

Files are mapped into memory and read one tensor after the other: each is checked, converted and laid out before the
next one is looked at, so there is never a second copy of a model. A float32 file that is read as float32 and not
packed is not copied at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..ops.backends import usable
from . import families
from .config import ModelConfig
from .decoder import Decoder
from .families import Change, Translation
from .files import read_json
from .gguf import GGUF
from .parts import Matrix
from .stored import Stored

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def save(model: Decoder, folder: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write config.json and model.safetensors; ``dtype`` rounds the weights (float16 halves the file).

    Raises ValueError for GPT-2, whose files have other names.
    """
    if model.config.model_type == "gpt2":
        raise ValueError("a GPT-2 model cannot be written, only read")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().to(dtype).contiguous().clone() for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del tensors["lm_head.weight"]
    (folder / "config.json").write_text(json.dumps(model.config.to_dict(), indent=2) + "\n")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def load(
    path: str | Path, dtype: torch.dtype = torch.float32, device: str = "cpu", pack: bool | None = None
) -> Decoder:
    """Read a decoder from a Hugging Face folder or a GGUF file.

    ``pack`` lays the weights out for steps of few rows (``Decoder.pack``); None: where the C++ kernels can use it.
    Raises ValueError naming the file or the tensor that does not fit.
    """
    path = Path(path)
    if path.suffix == ".gguf":
        file = GGUF(path)
        config, tensors = file.config(), file.tensors()
        translate = families.gguf(config)
    else:
        config, tensors = read_config(path), stored(path)
        translate = families.hugging_face(config)
    with torch.device("meta"):
        model = Decoder(config)
    if pack is None:
        pack = torch.device(device).type == "cpu" and dtype != torch.float16 and usable("cpp")
    _fill(model, _assign(model, tensors, translate, path), dtype, device, pack)
    model.requires_grad_(False).eval()
    return model.pack() if pack else model


def read_config(folder: Path) -> ModelConfig:
    """config.json as it is. Raises ValueError naming the file or what in it is not supported."""
    file = folder / "config.json"
    if not file.is_file():
        raise ValueError(f"no model in {folder}: {file.name} is missing")
    try:
        return ModelConfig.from_dict(read_json(file))
    except (TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{file} is not a model configuration: {error}") from error


def stored(folder: Path) -> dict[str, Stored]:
    """The tensors of a folder by name, in one file or in the shards that an index lists.

    Raises ValueError naming a file that is missing, cut short, or no safetensors file.
    """
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    files = [single]
    if not single.is_file() and index.is_file():
        shards = read_json(index).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise ValueError(f"{index} has no weight_map")
        files = [folder / Path(shard).name for shard in sorted(set(shards.values()))]
    found: dict[str, Stored] = {}
    for file in files:
        if not file.is_file():
            raise ValueError(f"no model in {folder}: {file.name} is missing")
        try:
            mapped: Any = safe_open(file, framework="pt")
            names = list(mapped.keys())
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{file} is not a safetensors file, or is cut short: {error}") from error
        for name in names:
            if name in found:
                raise ValueError(f"tensor {name!r} is in {found[name].file.name} and in {file.name}")
            found[name] = Stored(file, name, lambda mapped=mapped, name=name: mapped.get_tensor(name))  # type: ignore[misc]
    return found


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
        value = _read(tensor, name, parameter).to(device=device, dtype=dtype).contiguous()
        setattr(module, kind, nn.Parameter(value, requires_grad=False))
        if pack and isinstance(module, Matrix) and ".layers." in name and kind == "weight":
            module.pack()  # at once, so that what it was read from is let go
    if tied:
        model.lm_head.weight = model.model.embed_tokens.weight


def _read(source: Source, name: str, wanted: Tensor) -> Tensor:
    """Raises ValueError for a tensor that is misshapen, or not of finite numbers."""
    stored = source.tensor
    label = f"{stored.file}: tensor {stored.name!r}" + ("" if stored.name == name else f" (for {name})")
    try:
        tensor = stored.read()
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{label} cannot be read: {error}") from error
    changed = source.change(tensor)
    if changed.shape != wanted.shape:
        raise ValueError(f"{label} is {list(changed.shape)}, wants {list(wanted.shape)}")
    # The extremes of a tensor with NaN are NaN; unlike isfinite they need no memory.
    if not changed.is_floating_point() or not torch.stack(changed.aminmax()).isfinite().all():
        raise ValueError(f"{label} holds values that are not finite numbers")
    return changed
