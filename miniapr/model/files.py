"""Small files beside a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_json(file: Path) -> dict[str, Any]:
    """Raises ValueError naming the file if it holds no JSON object."""
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # no JSON, no text, a number of 5,000 digits, too deep
        raise ValueError(f"{file} cannot be read: {error}") from error
    if not isinstance(raw, dict):
        raise ValueError(f"{file} holds no JSON object")
    return raw
