"""A race as a picture: how often right, against what it took."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from ..methods.race import FRONTIERS, Standing, frontier, told
from .labels import Box, placed

AXES = {"critical": "tokens one after the other (mean)", "decoded": "tokens in all branches (mean)"}
ON, OFF = "#2f6db0", "#9a9a9a"
WIDTH, PANEL, LINE = 12.0, 5.0, 0.17  # inches: of the picture, the height of its panels and of a line of the list
LETTER = 0.075  # inches that a letter of the list takes
POINT = 6.0  # of a marker, in points; closer ones share a label
DPI = 150


def plot(rows: Sequence[Standing], path: Path | BinaryIO, title: str) -> None:
    """To a file, or as SVG to a stream. Two panels, with 95 % intervals; every method has a number, and below is the
    list of them. Whoever is on the frontier is blue and named where there is room; who was told what is right is
    hollow."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns, lines = _listed(rows)
    figure, panels = plt.subplots(
        1, 2, figsize=(WIDTH, PANEL + LINE * lines), sharey=True, layout="constrained", dpi=DPI
    )
    for panel, cost in zip(panels, FRONTIERS, strict=True):
        _points(panel, rows, cost)
        _ticks(panel, [_drawn(row, cost) for row in rows])
        panel.set_xlabel(AXES[cost])
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks([tenth / 10 for tenth in range(11)])
    panels[0].set_ylim(max(-0.03, math.floor(10 * min(row.interval[0] for row in rows) - 0.1) / 10), 1.06)
    panels[0].set_ylabel("share right, 95 % interval")
    names = [panels[0].plot([], [], " ", label=f"{number}  {row.name}")[0] for number, row in enumerate(rows, 1)]
    key = {"on the frontier: nobody is right as often for less": (ON, ON), "all others": (OFF, OFF)}
    key["judged exact: compete with each other only"] = (OFF, "none")
    names += [_marker(panels[0], [], [], *colours, label) for label, colours in key.items()]
    figure.legend(handles=names, loc="outside lower center", ncols=columns, fontsize=8, frameon=False, handlelength=1)
    figure.suptitle(title, fontsize=10)
    figure.canvas.draw()  # now everything is in its place, and what is left is for labels
    figure.set_layout_engine("none")
    for panel, cost in zip(panels, FRONTIERS, strict=True):
        _label(panel, rows, cost)
    figure.savefig(path, dpi=DPI, format=None if isinstance(path, Path) else "svg")
    plt.close(figure)


def _listed(rows: Sequence[Standing]) -> tuple[int, int]:
    """Columns and lines of the list below, with the key at its end."""
    longest = max(40, *(len(row.name) + 4 for row in rows))
    columns = max(1, int(WIDTH / (LETTER * longest + 0.4)))
    return columns, math.ceil((len(rows) + 3) / columns)


def _drawn(row: Standing, cost: str) -> float:
    """The axis is a logarithm's: less than a token is drawn as one."""
    return max(1.0, row.costs[cost])


def _points(panel: Any, rows: Sequence[Standing], cost: str) -> None:
    best = frontier(rows, cost)
    for row in rows:
        low, high = row.interval
        x, colour = _drawn(row, cost), ON if row.name in best else OFF
        panel.plot([x, x], [low, high], color=colour, linewidth=0.8, alpha=0.4, zorder=1)
        _marker(panel, [x], [row.accuracy], colour, "none" if told(row) else colour)
    panel.plot(*zip(*_steps(rows, cost), strict=True), color=ON, linewidth=0.8, zorder=2)


def _steps(rows: Sequence[Standing], cost: str) -> list[tuple[float, float]]:
    """Corners of the frontier of those who were not told what is right."""
    best = frontier(rows, cost)
    ahead = sorted({(_drawn(row, cost), row.accuracy) for row in rows if row.name in best and not told(row)})
    corners = [(x, y) for (_, y), (x, _) in itertools.pairwise(ahead)]
    return sorted([*ahead, *corners]) or [(math.nan, math.nan)]


def _marker(panel: Any, x: Sequence[float], y: Sequence[float], edge: str, face: str, label: str = "") -> Any:
    """A ring is larger than a dot, so that one of each at the same place are both seen."""
    size = POINT + 3 * (face == "none")
    made = {"color": edge, "markerfacecolor": face, "markersize": size, "zorder": 3 + (edge == ON)}
    return panel.plot(x, y, "o", label=label, **made)[0]


def _ticks(panel: Any, costs: Sequence[float]) -> None:
    """From the least cost to the greatest, with room beside both."""
    low, high = min(costs) / 1.3, max(costs) * 1.5
    panel.set_xscale("log")
    panel.set_xlim(low, high)
    wide = range(1, 10) if high < 8 * low else (1, 2, 5)
    panel.set_xticks([tick for power in range(7) for step in wide if low <= (tick := step * 10**power) <= high])
    panel.set_xticks([], minor=True)
    panel.xaxis.set_major_formatter("{x:,.0f}")


def _label(panel: Any, rows: Sequence[Standing], cost: str) -> None:
    """Points that lie on each other have one label: of one on the frontier the name, of the others their numbers."""
    best = frontier(rows, cost)
    pixel = DPI / 72
    there = panel.transData.inverted().transform  # a file may have other pixels
    line = [panel.transData.transform(corner) for corner in _steps(rows, cost)]
    at = [tuple(panel.transData.transform((_drawn(row, cost), row.accuracy))) for row in rows]
    together: dict[tuple[float, float], list[int]] = {}
    for number, point in enumerate(at):
        near = (other for other in together if math.dist(point, other) < POINT * pixel / 2)
        together.setdefault(next(near, point), []).append(number)
    groups = sorted(together.items(), key=lambda group: not any(rows[number].name in best for number in group[1]))
    texts = []
    for _, numbers in groups:
        ahead = [number for number in numbers if rows[number].name in best]
        named = min(ahead, key=lambda number: told(rows[number]), default=None)
        words = [f"{number + 1} {rows[number].name}" if number == named else str(number + 1) for number in numbers]
        said = textwrap.fill(", ".join(words), 42, break_long_words=False, break_on_hyphens=False)
        colour = ON if ahead else "#333333"
        texts.append(panel.text(0, 0, said, fontsize=7, color=colour, transform=None, zorder=5, linespacing=1.0))
    boxes = [text.get_window_extent() for text in texts]
    frame = panel.get_window_extent()
    inside = Box(frame.x0 + 2, frame.y0 + 2, frame.x1, frame.y1)
    drawn = [Box(x, low - 1, right, high + 1) for (x, low), (right, high) in itertools.pairwise(line)]
    sizes = [(box.width, box.height) for box in boxes]
    places = placed([point for point, _ in groups], sizes, inside, POINT * pixel / 2, drawn)
    for text, (point, _), place in zip(texts, groups, places, strict=True):
        if place is None:
            text.remove()  # the list and the table have it
            continue
        text.set(position=there((place.left, place.low)), transform=panel.transData, verticalalignment="bottom")
        nearest = min(max(point[0], place.left), place.right), min(max(point[1], place.low), place.high)
        if math.dist(nearest, point) > 2 * POINT * pixel:
            panel.plot(*zip(there(point), there(nearest), strict=True), color="#777777", linewidth=0.5, zorder=2)
