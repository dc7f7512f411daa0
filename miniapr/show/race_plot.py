"""A race as a picture: how often right, against what it took."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from ..methods.race import Row, frontier

AXES = {"critical": "tokens one after the other (mean)", "decoded": "tokens in all branches (mean)"}
ON, OFF = "#4477aa", "#aaaaaa"


def plot(rows: Sequence[Row], path: Path | BinaryIO, title: str) -> None:
    """To a file, or as SVG to a stream. Two panels, with 95 % intervals; whoever is on the frontier is blue."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(11, 4.5), sharey=True, layout="constrained")
    for panel, (cost, label) in zip(panels, AXES.items(), strict=True):
        best = frontier(rows, cost)
        for row in rows:
            low, high = row.interval
            colour, x, y = ON if row.name in best else OFF, row.costs[cost], row.accuracy
            panel.errorbar(x, y, [[y - low], [high - y]], fmt="o", color=colour, capsize=2, linewidth=1)
            panel.annotate(row.name, (x, y), textcoords="offset points", xytext=(5, 4), fontsize=7, color=colour)
        panel.set_xlabel(label)
        panel.set_ylim(-0.02, 1.05)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("share right, 95 % interval")
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=150, format=None if isinstance(path, Path) else "svg")
    plt.close(figure)
