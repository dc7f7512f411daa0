"""`miniapr methods`: the ways of thinking, and what each is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from ..methods.method import Method
from ..methods.options import unknown
from ..methods.table import METHODS
from .text import console

COLUMNS = {"forks": "who forks", "sees": "a child sees", "joins": "join", "where": "runs on"}
KEYS = ("name", "forks", "sees", "positions", "needs", "where", "paper")  # of a row in JSON, beside what is told anew


def as_dict(method: Method) -> dict[str, Any]:
    """The object that ``--json`` prints; its keys are fixed."""
    row = {key: getattr(method, key) for key in KEYS}
    return {**row, "needs": list(method.needs), "join": method.joins, "about": method.about, "options": method.options}


def print_methods(as_json: bool, name: str | None = None, methods: Mapping[str, Method] = METHODS) -> None:
    """Two lines each, and all that there is to say of one; as JSON objects with name, needs, join, paper and more.
    Raises ValueError for a name that there is not."""
    if name is not None and name not in methods:
        raise unknown(name, methods, "method")
    chosen = [methods[name]] if name is not None else list(methods.values())
    if as_json:
        print(json.dumps([as_dict(method) for method in chosen], indent=2))
    elif name is not None:
        _print_one(chosen[0])
    else:
        _print_all(chosen)


def _print_all(methods: Iterable[Method]) -> None:
    """What it is, and below it where it was published and the positions of its children."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("method\n  published", style="bold", overflow="fold")
    for column, title in COLUMNS.items():
        table.add_column(f"{title}\n{'positions' if column == 'sees' else ''}", overflow="fold")
    for method in methods:
        table.add_row(method.name, *(getattr(method, column) for column in COLUMNS))
        below = {"sees": method.positions if method.forks != "never" else "-"}
        published = Text(f"  {method.paper.partition(',')[0] or 'ours'}", "not bold dim")
        table.add_row(published, *(Text(below.get(column, ""), "dim") for column in COLUMNS))
    console().print(table)
    console().print(Text("\nminiapr methods NAME says more; miniapr think NAME runs it, miniapr race all.", "dim"))


def _print_one(method: Method) -> None:
    out = console()
    out.print(Text.assemble((method.name, "bold cyan"), f"  {method.about}\n"))
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    rows = {title: getattr(method, column) for column, title in COLUMNS.items()}
    options = ", ".join(f"{option}={value}" for option, value in method.options.items())
    rows |= {"positions": method.positions, "needs the roles": ", ".join(method.needs)}
    for title, said in (rows | {"options": options or "none", "published": method.paper or "ours"}).items():
        table.add_row(title, said)
    entries = _entries(method.more)
    for entry in entries:
        if len(parts := re.split(r"\s{2,}", entry, maxsplit=1)) == 2:
            table.add_row(f"  {parts[0]}", parts[1])
    out.print(table)
    for entry in entries:
        if not re.search(r"\s{2,}", entry):
            out.print(Text(f"\n{entry}"))


def _entries(text: str) -> list[str]:
    """Paragraphs, and lines of the form ``option  what it is``, each without the breaks of its source."""
    entries: list[str] = []
    for paragraph in text.split("\n\n"):
        for number, line in enumerate(paragraph.splitlines()):
            if number and (line[0] == " " or not re.match(r"[\w, ]+?\s{2,}\S", line)):
                entries[-1] += f" {line.strip()}"
            else:
                entries.append(line.strip())
    return entries
