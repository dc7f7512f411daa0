"""From the figures of all runs of an experiment to a table, and what was aimed at beside what came."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .experiment import Experiment, Found


@dataclass(frozen=True)
class Report:
    """``runs``: of each arm what its seeds do, by kind of problem."""

    runs: Mapping[str, Sequence[Found]]

    def values(self, arm: str, kind: str, figure: str) -> list[float]:
        """A figure of an arm, by seed; NaN where there is none."""
        return [number(run.get(kind, {}).get(figure)) for run in self.runs[arm]]

    def mean(self, arm: str, kind: str, figure: str) -> float:
        """The mean over seeds; NaN where one has none."""
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


def _cell(values: Sequence[Any], percent: bool) -> str:
    mean, (low, high) = statistics.mean(number(value) for value in values), bounds(values)
    scale, digits = (100, 0) if percent else (1, 2 if abs(mean) < 10 else 1)
    shown = [f"{scale * x:.{digits}f}" if math.isfinite(x) else "-" for x in (mean, low, high)]
    return shown[0] if shown[1] == shown[2] or shown[0] == "-" else f"{shown[0]} ({shown[1]}-{shown[2]})"


def table(report: Report) -> str:
    """Markdown: a line for each arm and each kind of problem."""
    figures = report.figures
    head = ["", "problems", *(f"{name}, %" if share else name for name, share in figures.items()), "seeds"]
    lines = [head, ["---"] * len(head)]
    for arm, runs in report.runs.items():
        for kind in runs[0]:
            cells = [_cell([run[kind].get(figure) for run in runs], share) for figure, share in figures.items()]
            lines.append([arm, kind, *cells, str(len(runs))])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def paragraph(experiment: Experiment, report: Report) -> str:
    """What is claimed, then each aim with what came out."""
    lines = [experiment.claim, ""]
    for aim in experiment.aims:
        value = aim.value(report)
        if value is None or not math.isfinite(value):
            lines.append(f"- {aim.says}: the runs do not tell")
            continue
        lines.append(
            f"- {aim.says}: {value:.0%}, aimed at {aim.least:.0%} or more: {'met' if value >= aim.least else 'missed'}"
        )
    return "\n".join(lines)
