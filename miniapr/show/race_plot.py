"""A race as a picture: how often right, against what it took."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from ..methods.race import Row, frontier

AXES = {"critical": "tokens one after the other (mean)", "decoded": "tokens in all branches (mean)"}
ON, OFF = "#4477aa", "#8a8a8a"
TICKS = [0, *(step * 10**power for power in range(7) for step in (1, 2, 5))]
NEAR = 16  # of the width, and of the height: closer points share a label, or one would cover the other


def plot(rows: Sequence[Row], path: Path | BinaryIO, title: str) -> None:
    """To a file, or as SVG to a stream. Two panels, with 95 % intervals; a number a method; whoever is on the frontier
    is blue."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(12, 4.5), sharey=True, layout="constrained")
    for panel, (cost, label) in zip(panels, AXES.items(), strict=True):
        best, reach = frontier(rows, cost), math.log(1 + max(row.costs[cost] for row in rows))
        together: dict[tuple[int, int], list[int]] = {}
        for number, row in enumerate(rows, 1):
            low, high = row.interval
            colour, x, y = ON if row.name in best else OFF, row.costs[cost], row.accuracy
            panel.errorbar(x, y, [[y - low], [high - y]], fmt="o", color=colour, capsize=2, linewidth=1)
            together.setdefault((round(NEAR * math.log(1 + x) / reach), round(NEAR * y)), []).append(number)
        for numbers in together.values():
            x = max(rows[number - 1].costs[cost] for number in numbers)
            y = max(rows[number - 1].accuracy for number in numbers)
            panel.annotate(", ".join(map(str, numbers)), (x, y), textcoords="offset points", xytext=(5, 5), fontsize=8)
        panel.set_xscale("symlog", linthresh=1)
        panel.set_xticks([tick for tick in TICKS if tick <= 1.5 * math.exp(reach)], minor=False)
        panel.set_xticks([], minor=True)
        panel.xaxis.set_major_formatter("{x:,.0f}")
        panel.set_xlabel(label)
        panel.set_ylim(-0.02, 1.05)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("share right, 95 % interval")
    names = [panels[0].plot([], [], " ", label=f"{number}  {row.name}")[0] for number, row in enumerate(rows, 1)]
    names += panels[0].plot([], [], "o", color=ON, label="on the frontier: nobody is better for less")
    figure.legend(handles=names, loc="outside right center", fontsize=8, frameon=False, handlelength=0)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=150, format=None if isinstance(path, Path) else "svg")
    plt.close(figure)
