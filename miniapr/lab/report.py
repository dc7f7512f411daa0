"""From the figures of all runs of an experiment to a table, and what was aimed at beside what came."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .experiment import Experiment

COLUMNS = {"right": 1, "forked": 1, "width": 0, "critical": 0, "tokens": 0}  # 1: a share, in per cent


@dataclass(frozen=True)
class Report:
    """starts  of each start, what it does before (see ``examine``)
    runs       of each arm what its seeds do after, by kind of problem
    """

    starts: Mapping[str, Mapping[str, Any]]
    runs: Mapping[str, Sequence[Mapping[str, Any]]]

    def before(self, start: str, kind: str, figure: str) -> float:
        """A figure of a start; NaN where it has none."""
        return _number(self.starts[start][kind][figure])

    def mean(self, arm: str, kind: str, figure: str) -> float:
        """A figure of an arm, the mean over its seeds; NaN where one has none."""
        return statistics.mean(_number(run[kind][figure]) for run in self.runs[arm])


def _number(value: Any) -> float:
    value = value["share"] if isinstance(value, dict) else value
    return math.nan if value is None else float(value)


def _cell(values: Sequence[Any], percent: bool) -> str:
    """The mean over seeds and their range; of one run its interval over problems, if it has one."""
    numbers = [_number(value) for value in values]
    low, high = min(numbers), max(numbers)
    if len(values) == 1 and isinstance(values[0], dict):
        low, high = values[0]["low"], values[0]["high"]
    scale, digits = (100, 0) if percent else (1, 1)
    mean, low, high = (
        round(scale * x, digits) if math.isfinite(x) else x for x in (statistics.mean(numbers), low, high)
    )
    shown = [f"{x:.{digits}f}" if math.isfinite(x) else "-" for x in (mean, low, high)]
    return shown[0] if low == high or shown[0] == "-" else f"{shown[0]} ({shown[1]}-{shown[2]})"


def table(report: Report) -> str:
    """Markdown: a line for each start and arm, and each kind of problem."""
    rows = [(f"before: {name}", [found]) for name, found in report.starts.items()]
    rows += [(name, list(found)) for name, found in report.runs.items()]
    head = ["", "problems", *(f"{name}, %" if share else name for name, share in COLUMNS.items()), "seeds"]
    lines = [head, ["---"] * len(head)]
    for name, found in rows:
        for kind in found[0]:
            cells = [_cell([one[kind][figure] for one in found], bool(share)) for figure, share in COLUMNS.items()]
            lines.append([name, kind, *cells, str(len(found))])
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
