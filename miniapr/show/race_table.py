"""A race in the terminal: what came of it, and what the engine saw."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..methods.race import FRONTIERS, Row, frontier
from .text import console

NAME = 20  # columns for a method's name at least: with these, both tables are as narrow as a terminal

# Two tables: what came of it, and what the engine saw.
RESULT = {"decoded": "decoded", "critical": "critical", "passes": "passes", "seconds": "ms"}
ENGINE = {
    "largest_context": "context",
    "prefilled": "prefilled",
    "recomputed": "again",
    "reused": "reused",
    "resent": "a client\nsends",
    "saved": "saved",
    "most_blocks": "blocks",
}


def show(rows: Sequence[Row], title: str, said: Sequence[str], out: Console | None = None) -> None:
    """A row a method; costs are means over its problems."""
    out = out or console()
    best, result, engine = {cost: frontier(rows, cost) for cost in FRONTIERS}, list[list[str]](), list[list[str]]()
    for row in rows:
        low, high = row.interval
        costs = row.costs | {"seconds": 1000 * row.costs["seconds"]}
        share = f"{100 * row.accuracy:.0f} %", f"{100 * low:.0f}-{100 * high:.0f}"
        stars = {cost: "*" if row.name in names else " " for cost, names in best.items()}
        result.append([row.name, *share, *(f"{costs[name]:.0f}{stars.get(name, '')}" for name in RESULT), row.judge])
        engine.append([row.name, *(f"{costs[name]:.0f}" for name in ENGINE)])
    out.print(Text.assemble(("miniapr race ", "bold"), f" {title}\n"))
    out.print(_table(["right", "95 %", *RESULT.values(), "judge"], result, out.width))
    out.print()
    out.print(_table(list(ENGINE.values()), engine, out.width))
    out.print()
    for sentence in said:
        out.print(Text(sentence, "dim"))


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Table:
    """``rows``: a name, and a cell for each title. A name has what the cells leave of the width."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("method", style="bold", overflow="fold")
    for number, title in enumerate(titles, 1):
        width -= 2 + max(map(len, [*title.split("\n"), *(row[number] for row in rows)]))
        table.add_column(title, justify="right", no_wrap=True)
    for name, *cells in rows:
        table.add_row(folded(name, max(NAME, width)), *cells)
    return table


def folded(name: str, width: int) -> str:
    """A method's name, broken before its options where it is too long, not within them."""
    lines = [""]
    for part in re.findall(r"[^:,]+[:,]?", name):
        if lines[-1] and len(lines[-1] + part) > width:
            lines.append("  ")
        lines[-1] += part
    return "\n".join(lines)
