"""From a finished run to the folder that a user loads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..model import checkpoint
from ..model.decoder import Decoder
from ..model.files import read_json
from .sft import Run


def provenance(run: Run, command: str) -> dict[str, Any]:
    """What it takes to make these weights again; under ``start`` the same of those that the run began with."""
    progress, start = run.progress, run.config.start
    told = Path(start or "", "miniapr.json")
    begun = read_json(told).get("provenance") if start and told.exists() else None
    return {
        "command": command,
        "seed": run.config.seed,
        "joins": run.config.joins,
        "tokens": progress.tokens,
        "steps": progress.step,
        "seconds": round(progress.seconds, 1),
        "device": run.config.device,
        "threads": torch.get_num_threads(),
        "processes": run.team.size,
        "torch": torch.__version__,
        **({"start": begun} if begun else {}),
    }


def export(run: Run, folder: str | Path, command: str) -> None:
    """Write config.json, model.safetensors (float16), tokenizer.json, miniapr.json and curve.json.

    Raises ValueError or OSError if they cannot be written; what was there stays, and the run's checkpoint does."""
    about = {**run.source.about, "provenance": provenance(run, command)}
    write_model(Path(folder), run.model, run.source.tokenizer.to_str(), about, run.progress.curve)


def write_model(
    folder: Path, model: Decoder, tokenizer: str, about: dict[str, Any], curve: Sequence[dict[str, float]]
) -> None:
    """What a user loads, and how it came about. Raises as ``export``."""
    checkpoint.save(model, folder, torch.float16)
    rows = ",\n".join("  " + json.dumps({k: round(v, 5) or float(f"{v:.2g}") for k, v in row.items()}) for row in curve)
    texts = {
        "tokenizer.json": tokenizer,
        "miniapr.json": json.dumps(about, indent=2) + "\n",
        "curve.json": f"[\n{rows}\n]\n",
    }
    for name, text in texts.items():
        part = folder / f"{name}.part"
        part.write_text(text, encoding="utf-8")
        part.replace(folder / name)
