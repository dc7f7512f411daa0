"""The cost of a run: all its tokens, and those that wait for each other."""

from __future__ import annotations

from typing import Any

Run = list[Any]  # of stretches (int) and forks (list of Run)


def total(run: Run) -> int:
    """How many tokens were decoded in all."""
    # <solution>
    return sum(part if isinstance(part, int) else sum(map(total, part)) for part in run)
    # </solution>
    # <stub>
    # raise NotImplementedError
    # </stub>


def critical_path(run: Run) -> int:
    """How many tokens had to be decoded one after the other."""
    # <solution>
    return sum(part if isinstance(part, int) else max(map(critical_path, part), default=0) for part in run)
    # </solution>
    # <stub>
    # raise NotImplementedError
    # </stub>
