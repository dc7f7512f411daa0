"""The figures of an experiment: a panel each, kinds of problems from left to right, a line for each arm."""

from __future__ import annotations

import statistics
from pathlib import Path

from .report import Report, bounds, number


def picture(report: Report, path: Path, title: str) -> None:
    """Means, with the range over seeds or, of one, the interval over problems; the file's suffix says the format."""
    from matplotlib.figure import Figure

    figures, kinds = report.figures, list(dict.fromkeys(kind for runs in report.runs.values() for kind in runs[0]))
    columns = min(4, len(figures))
    rows = -(-len(figures) // columns)
    figure = Figure(figsize=(3.4 * columns + 2, 2.9 * rows + 0.5), layout="constrained", dpi=110)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel, (name, share) in zip(panels, figures.items(), strict=False):
        for place, (arm, runs) in enumerate(report.runs.items()):
            aside = 0.5 * ((place + 0.5) / len(report.runs) - 0.5)  # or the intervals would hide each other
            for at, kind in enumerate(kinds):
                values = [run[kind][name] for run in runs if run.get(kind, {}).get(name) is not None]
                if values:
                    (low, high), mean = bounds(values), statistics.mean(map(number, values))
                    panel.plot([at + aside] * 2, [low, high], color=f"C{place % 10}", lw=1.2)
                    panel.plot(at + aside, mean, "o", color=f"C{place % 10}", ms=4, label=None if at else arm)
        panel.set_title(f"{name} (share)" if share else name, fontsize=9, loc="left")
        panel.set_xticks(range(len(kinds)), kinds, fontsize=7, rotation=0 if len(kinds) < 4 else 40)
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_ylim(bottom=0)
    for panel in panels[len(figures) :]:
        panel.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path)
