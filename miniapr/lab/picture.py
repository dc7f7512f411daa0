"""The figures of an experiment: a panel each, kinds of problems one below the other, a line for each arm."""

from __future__ import annotations

import statistics
from pathlib import Path

from .report import Report, bounds, number


def picture(report: Report, path: Path, title: str) -> None:
    """Means, with the range over seeds or, of one, the interval over problems; the file's suffix says the format."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figures, kinds = report.figures, list(dict.fromkeys(kind for runs in report.runs.values() for kind in runs[0]))
    colours = colormaps["tab10" if len(report.runs) <= 10 else "tab20"].colors  # type: ignore[attr-defined]
    columns = min(4, len(figures))
    rows = -(-len(figures) // columns)
    tall = max(1.6, 0.14 * len(kinds) * max(2, len(report.runs)))  # inches: a line for each arm of each kind
    figure = Figure(figsize=(3.2 * columns + 2.5, (tall + 0.5) * rows + 0.4), layout="constrained", dpi=110)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    panels = grid.flatten()
    for panel, (name, share) in zip(panels, figures.items(), strict=False):
        for place, runs in enumerate(report.runs.values()):
            aside = 0.7 * ((place + 0.5) / len(report.runs) - 0.5)  # or the intervals would hide each other
            for at, kind in enumerate(kinds):
                values = [run[kind][name] for run in runs if run.get(kind, {}).get(name) is not None]
                if values:
                    (low, high), mean = bounds(values), statistics.mean(map(number, values))
                    panel.plot([low, high], [at + aside] * 2, color=colours[place % len(colours)], lw=1.2)
                    panel.plot(mean, at + aside, "o", color=colours[place % len(colours)], ms=4, clip_on=False)
        panel.set_title(f"{name} (share)" if share else name, fontsize=9, loc="left")
        panel.tick_params(labelsize=8)
        panel.grid(axis="x", lw=0.3)
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_xlim(left=0)
    for line in grid:
        line[0].set_yticks(range(len(kinds)), kinds)
    panels[0].set_ylim(len(kinds) - 0.5, -0.5)  # the first one above
    for panel in panels[len(figures) :]:
        panel.set_axis_off()
    handles = [Line2D([], [], color=colours[i % len(colours)], marker="o", ms=4) for i in range(len(report.runs))]
    figure.legend(handles, list(report.runs), loc="outside right center", fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path)
