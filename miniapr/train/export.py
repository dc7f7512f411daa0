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
    """Write config.json, model.safetensors (float16), tokenizer.json, miniapr.json and curve.json."""
    folder = Path(folder)
    checkpoint.save(run.model, folder, torch.float16)
    run.source.tokenizer.save(str(folder / "tokenizer.json"))
    about = {**run.source.about, "provenance": provenance(run, command)}
    (folder / "miniapr.json").write_text(json.dumps(about, indent=2) + "\n")
    rows = ",\n".join("  " + json.dumps({k: round(v, 5) for k, v in row.items()}) for row in run.progress.curve)
    (folder / "curve.json").write_text(f"[\n{rows}\n]\n")
