"""Curves of training: one line a name, one panel a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

PANELS = {
    "reward": "reward",
    "right": "share right",
    "forked": "share forked",
    "width": "threads of a fork",
    "critical": "critical path, tokens",
    "tokens": "tokens in all branches",
    "decision": "entropy of the first token, nats",
    "flat": "groups without variance",
}


Curve = Sequence[Mapping[str, float]]


def draw(runs: Mapping[str, Sequence[Curve]], path: Path, title: str) -> None:
    """The curves of ``runs`` into a file whose suffix says the format: by name those of several seeds, as their mean
    and, pale, their range."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 5.5), layout="constrained", dpi=110)
    panels = figure.subplots(2, 4, sharex=True).flatten()
    for panel, (name, label) in zip(panels, PANELS.items(), strict=True):
        for number, (run, curves) in enumerate(runs.items()):
            found = by_step(curves, name)
            if found:
                steps, values = list(found), list(found.values())
                colour, dashes = f"C{number % 10}", "-" if number < 10 else "--"
                panel.plot(steps, [mean(at) for at in values], dashes, color=colour, lw=1.3, label=run)
                panel.fill_between(
                    steps, list(map(min, values)), list(map(max, values)), color=colour, alpha=0.12, lw=0
                )
        panel.set_title(label, fontsize=9, loc="left")
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels[4:]:
        panel.set_xlabel("step")
    if any(runs):
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path)


def by_step(curves: Sequence[Curve], figure: str) -> dict[float, list[float]]:
    """What the seeds have at each step that any of them tells of."""
    found: dict[float, list[float]] = {}
    for row in (row for curve in curves for row in curve if figure in row):
        found.setdefault(row["step"], []).append(row[figure])
    return dict(sorted(found.items()))
