"""A model in a folder: weights, tokenizer, and what it says of itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .checkpoint import load as load_checkpoint
from .decoder import Decoder
from .tokenizer import Tokenizer

SHIPPED = Path(__file__).parent.parent / "models"


@dataclass(frozen=True)
class Bundle:
    """``control`` maps roles (plan, item, plan_end, thread, thread_end, join, eos) to token names."""

    name: str
    model: Decoder
    tokenizer: Tokenizer
    control: dict[str, str]
    about: dict[str, Any]


def load(name: str | Path = "countdown", dtype: torch.dtype = torch.float32, device: str = "cpu") -> Bundle:
    """A shipped model by name, or any folder with config.json, model.safetensors, tokenizer.json and miniapr.json.

    Raises ValueError for an unknown name or a folder that does not hold a sound model.
    """
    folder = SHIPPED / name
    if not folder.is_dir():
        folder = Path(name)
    if not folder.is_dir():
        known = sorted(path.name for path in SHIPPED.iterdir() if path.is_dir()) if SHIPPED.is_dir() else []
        raise ValueError(f"no model {str(name)!r}: neither a folder nor one of those shipped ({', '.join(known)})")
    model, tokenizer = load_checkpoint(folder, dtype, device), Tokenizer.load(folder)
    if len(tokenizer) > model.config.vocab_size:
        raise ValueError(f"{folder}: {len(tokenizer)} tokens in the tokenizer, {model.config.vocab_size} in the model")
    about = folder / "miniapr.json"
    try:
        said = json.loads(about.read_text()) if about.is_file() else {}
        control = dict(said.pop("control", {}))
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{about} cannot be read: {error}") from error
    return Bundle(folder.name, model, tokenizer, control, said)
