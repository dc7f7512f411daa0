"""A report as a table, and what was aimed at beside what came."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from .arms import Size
from .experiment import Experiment
from .report import Report, bounds, number


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
    """What is claimed, then each aim with what came out, as so many hundredths."""
    lines = [experiment.claim, ""]
    for aim in experiment.aims:
        value = aim.told(report)
        if value is None:
            lines.append(f"- {aim.says}: the runs do not tell")
            continue
        lines.append(
            f"- {aim.says}: {round(100 * value)}%, aimed at {aim.least:.0%} or more: "
            f"{'met' if value >= aim.least else 'missed'}"
        )
    return "\n".join(lines)


def legend(experiment: Experiment, size: Size) -> str:
    """How a page is to be read, by whoever finds it."""
    quick = "" if size.tokens is None else " **A quick first look: hardly trained, few problems.**"
    return (
        f"Made by `miniapr lab {experiment.name}`, {size.count} held-out problems of a kind (where several rollouts or "
        f"long ones are taken, a quarter of them).{quick} In brackets: the range over seeds; of a single seed the 95 % "
        "interval over problems. *forked*: the share in which it forked; *width*: threads of a fork; *critical*: "
        "tokens that were written one after the other, which is what one waits for; *tokens*: in all branches. `-`: "
        "there is none. A difference of shares of 3% is 3 points."
    )
