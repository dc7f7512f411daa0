"""Curves of training: one line a run, one panel a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

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


def draw(runs: Mapping[str, Sequence[Mapping[str, float]]], path: Path, title: str) -> None:
    """The curves of ``runs``, by name, into a file whose suffix says the format."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 5.5), layout="constrained", dpi=110)
    panels = figure.subplots(2, 4, sharex=True).flatten()
    for panel, (name, label) in zip(panels, PANELS.items(), strict=True):
        for number, (run, curve) in enumerate(runs.items()):
            points = [(row["step"], row[name]) for row in curve if name in row]
            if points:
                panel.plot(*zip(*points, strict=True), color=f"C{number % 10}", lw=1.2, label=run)
        panel.set_title(label, fontsize=9, loc="left")
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels[4:]:
        panel.set_xlabel("step")
    if any(runs):
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path)
