"""Both sides as tables in the terminal, and as a picture."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from .phases import PHASES
from .sides import SIDES, Sides

COLOURS = dict(zip(SIDES, ("#66b08a", "#4477aa", "#d9a03f", "#d9663f"), strict=True))


def print_sides(found: Sides, out: Console) -> None:
    model = found.model
    out.print(f"[bold]miniapr sides[/]  model {model['name']} ({model['parameters'] / 1e6:.1f} M parameters)\n")
    if found.thoughts:
        out.print(thoughts_table(found))
    if found.grid:
        out.print(grid_table(found))
        out.print("Share of the join in the whole time, medians; in brackets its milliseconds.", style="italic")


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)


def thoughts_table(found: Sides) -> Table:
    """One column a side, one row a quantity, summed over the thoughts."""
    table = _table()
    table.add_column(f"{len(found.thoughts)} thoughts", style="dim")
    for side in found.runs:
        table.add_column(side.replace(", ", "\n"), justify="right")
    for name in ("forks", "requests", "decoded", "prefilled", "reused", "critical_path"):
        table.add_row(name.replace("_", " "), *(f"{found.sum(side, name):,.0f}" for side in found.runs))
    table.add_section()
    for phase in PHASES:
        table.add_row(f"{phase}, s", *(f"{found.seconds(side, phase):.3f}" for side in found.runs))
    table.add_row("total, s", *(f"{found.sum(side, 'total'):.3f}" for side in found.runs), style="bold")
    table.add_section()
    table.add_row("same conclusion, %", *(f"{100 * found.agreement(side):.0f}" for side in found.runs))
    return table


def grid_table(found: Sides) -> Table:
    table = _table()
    table.add_column("branches", justify="right", style="dim")
    table.add_column("tokens each", justify="right", style="dim")
    for side in SIDES:
        table.add_column(side.replace(", ", "\n"), justify="right")
    for cell in found.grid:
        values = (f"{100 * cell.join_share(side):.1f} % ({1000 * cell.join_seconds(side):.1f})" for side in cell.sides)
        table.add_row(str(cell.branches), str(cell.length), *values)
    return table


def plot_sides(found: Sides, path: Path) -> None:
    """The share of the join against the length of the threads, one panel for each number of branches."""
    from matplotlib.figure import Figure

    counts = sorted({cell.branches for cell in found.grid})
    figure = Figure(figsize=(3.4 * len(counts), 3.4), layout="constrained", facecolor="white")
    axes = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
    for axis, count in zip(axes, counts, strict=True):
        cells = [cell for cell in found.grid if cell.branches == count]
        for side, colour in COLOURS.items():
            shares = [100 * cell.join_share(side) for cell in cells]
            axis.plot([cell.length for cell in cells], shares, marker="o", color=colour, label=side)
        axis.set_xscale("log", base=2)
        axis.set_xticks([cell.length for cell in cells], [str(cell.length) for cell in cells])
        axis.set_title(f"{count} branches")
        axis.set_xlabel("tokens of each branch")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("join, % of the whole time")
    axes[0].set_ylim(bottom=0)
    axes[0].legend(frameon=False, fontsize=7)
    figure.savefig(path, dpi=150)
