"""Reading and writing weights: Hugging Face's layout (config.json, model.safetensors), never pickle."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..ops.backends import usable
from .config import ModelConfig
from .decoder import Decoder


def save(model: Decoder, folder: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write config.json and model.safetensors; ``dtype`` rounds the weights (float16 halves the file)."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().to(dtype).contiguous().clone() for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del tensors["lm_head.weight"]
    (folder / "config.json").write_text(json.dumps(model.config.to_dict(), indent=2) + "\n")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def load(
    folder: str | Path, dtype: torch.dtype = torch.float32, device: str = "cpu", pack: bool | None = None
) -> Decoder:
    """Read a decoder. Raises ValueError naming the file or the tensor that does not fit.

    ``pack`` lays the weights out for steps of few rows (``Decoder.pack``); None: where the C++ kernels can use it.
    """
    folder = Path(folder)
    config_file, weights_file = folder / "config.json", folder / "model.safetensors"
    for file in (config_file, weights_file):
        if not file.is_file():
            raise ValueError(f"no model in {folder}: {file.name} is missing")
    try:
        config = ModelConfig.from_dict(json.loads(config_file.read_text()))
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, AttributeError) as error:
        raise ValueError(f"{config_file} is not a model configuration: {error}") from error
    try:
        tensors = load_file(weights_file, device=device)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{weights_file} is not a safetensors file: {error}") from error
    with torch.device("meta"):
        model = Decoder(config)
    wanted = dict(model.state_dict())
    if config.tie_word_embeddings:
        del wanted["lm_head.weight"]
        tensors.pop("lm_head.weight", None)
    _compare(wanted, tensors, weights_file)
    tensors = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    if config.tie_word_embeddings:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    model.load_state_dict(tensors, assign=True)
    if config.tie_word_embeddings:  # assigning made two parameters of the one
        model.lm_head.weight = model.model.embed_tokens.weight
    del tensors  # each is let go as it is packed
    model.requires_grad_(False).eval()
    if pack is None:
        pack = torch.device(device).type == "cpu" and dtype != torch.float16 and usable("cpp")
    return model.pack() if pack else model


def _compare(wanted: dict[str, Tensor], found: dict[str, Tensor], file: Path) -> None:
    """A tensor that is missing, foreign, misshapen or not finite is an error that names it."""
    for name, tensor in wanted.items():
        if name not in found:
            raise ValueError(f"{file}: tensor {name!r} is missing")
        if found[name].shape != tensor.shape:
            raise ValueError(f"{file}: tensor {name!r} is {list(found[name].shape)}, wants {list(tensor.shape)}")
        if not found[name].is_floating_point() or not found[name].isfinite().all():
            raise ValueError(f"{file}: tensor {name!r} holds values that are not finite numbers")
    if extra := sorted(found.keys() - wanted.keys()):
        raise ValueError(f"{file}: tensor {extra[0]!r} does not belong to this model ({len(extra)} such)")
