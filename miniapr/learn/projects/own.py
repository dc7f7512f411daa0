"""A learner's file as a module."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any


def function(file: Path, name: str) -> Callable[..., Any]:
    """The function ``name`` of a file, which is run. Raises ValueError with what is wrong."""
    try:
        found = runpy.run_path(str(file)).get(name)
    except Exception as error:
        raise ValueError(f"{file} could not be run: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise ValueError(f"{file} has no function {name!r}")
    made: Callable[..., Any] = found
    return made
