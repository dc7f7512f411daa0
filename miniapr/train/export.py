"""From a finished run to the folder that a user loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ..model import checkpoint
from .sft import Run


def provenance(run: Run, command: str) -> dict[str, Any]:
    """What it takes to make these weights again."""
    progress = run.progress
    return {
        "command": command,
        "seed": run.config.seed,
        "joins": run.config.joins,
        "tokens": progress.tokens,
        "steps": progress.step,
        "seconds": round(progress.seconds, 1),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def export(run: Run, folder: str | Path, command: str) -> None:
    """Write config.json, model.safetensors (float16), tokenizer.json, miniapr.json and curve.json.

    Raises ValueError or OSError if they cannot be written; what was there stays, and the run's checkpoint does."""
    folder = Path(folder)
    checkpoint.save(run.model, folder, torch.float16)
    about = {**run.source.about, "provenance": provenance(run, command)}
    rows = ",\n".join("  " + json.dumps({k: round(v, 5) for k, v in row.items()}) for row in run.progress.curve)
    texts = {
        "tokenizer.json": run.source.tokenizer.to_str(),
        "miniapr.json": json.dumps(about, indent=2) + "\n",
        "curve.json": f"[\n{rows}\n]\n",
    }
    for name, text in texts.items():
        part = folder / f"{name}.part"
        part.write_text(text, encoding="utf-8")
        part.replace(folder / name)
