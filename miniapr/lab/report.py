"""The figures of all runs of an experiment."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Figures by kind of problem: numbers, or what ``share`` and ``quotient`` give; None where there is nothing to tell.
Found = dict[str, dict[str, Any]]
Curve = Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Report:
    """runs  of each arm what its seeds do, by kind of problem
    curves   of each arm how its seeds came there, a row a step
    """

    runs: Mapping[str, Sequence[Found]]
    curves: Mapping[str, Sequence[Curve]] = field(default_factory=dict)

    def values(self, arm: str, kind: str, figure: str) -> list[float]:
        """A figure of an arm, by seed; NaN where there is none."""
        return [number(run.get(kind, {}).get(figure)) for run in self.runs.get(arm, [{}])]

    def mean(self, arm: str, kind: str, figure: str) -> float:
        """The mean over seeds; NaN where one has none, or the arm was not run."""
        return statistics.mean(self.values(arm, kind, figure))

    @property
    def figures(self) -> dict[str, bool]:
        """All figures in order, and whether it is a share."""
        found: dict[str, bool] = {}
        for row in (row for runs in self.runs.values() for run in runs for row in run.values()):
            for name, value in row.items():
                found[name] = found.get(name, False) or (isinstance(value, dict) and "share" in value)
        return found


def number(value: Any) -> float:
    """A figure without its interval."""
    value = next(iter(value.values())) if isinstance(value, dict) else value
    return math.nan if value is None else float(value)


def bounds(values: Sequence[Any]) -> tuple[float, float]:
    """The range over seeds; of one run its interval over problems, if it has one."""
    if len(values) == 1 and isinstance(values[0], dict):
        return values[0]["low"], values[0]["high"]
    numbers = [number(value) for value in values]
    return min(numbers), max(numbers)
