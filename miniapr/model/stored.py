"""A tensor in a file that somebody wrote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor


@dataclass(frozen=True)
class Stored:
    """A tensor in a file, not read yet. ``read`` raises ValueError for one that cannot be."""

    file: Path
    name: str
    read: Callable[[], Tensor]
