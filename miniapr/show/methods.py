"""`miniapr methods`: the ways of thinking, and what each is."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from rich.table import Table
from rich.text import Text

from ..methods.method import Method
from ..methods.table import METHODS
from .text import console


def as_dict(method: Method) -> dict[str, Any]:
    """The object that ``--json`` prints; its keys are fixed."""
    row = {field.name: getattr(method, field.name) for field in fields(method) if field.name not in ("play", "joins")}
    return {**row, "needs": list(method.needs), "join": method.joins, "about": method.about, "options": method.options}


def print_methods(as_json: bool, methods: Iterable[Method] = METHODS.values()) -> None:
    """A table; as JSON a list of objects with name, needs, join, paper and more."""
    if as_json:
        print(json.dumps([as_dict(method) for method in methods], indent=2))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("method", no_wrap=True)
    for title in ("who forks", "a child sees", "join", "needs"):
        table.add_column(title, overflow="fold")
    for method in methods:
        needs = f"{', '.join(method.needs)}; {method.where}"
        table.add_row(Text(method.name, "bold"), method.forks, method.sees, method.joins, needs)
    console().print(table)
    console().print(Text("\nminiapr think METHOD runs one, miniapr race all of them.", "dim"))
