"""A table that prints well and can be asked: what ``kernels.check`` and ``kernels.time`` return."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import Generic, TypeVar

Row = TypeVar("Row")


def named(operations: Sequence[str], known: Collection[str]) -> Collection[str]:
    """The operations asked for; all that are known if none is. Raises ValueError for a name that does not exist."""
    if unknown := set(operations) - set(known):
        raise ValueError(f"no operation {', '.join(sorted(unknown))}: there are {', '.join(known)}")
    return operations or known


@dataclass(frozen=True)
class Table(Generic[Row]):
    """Rows are dataclasses; a field's metadata may give the column's ``title`` and ``format``."""

    rows: Sequence[Row]
    note: str = ""

    def __str__(self) -> str:
        columns = fields(self.rows[0])  # type: ignore[arg-type]
        lines = [[str(column.metadata.get("title", column.name)) for column in columns]]
        for row in self.rows:
            lines.append([format(getattr(row, c.name), c.metadata.get("format", "")) for c in columns])
        widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
        text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
        return "\n".join([line.rstrip() for line in [*text, self.note] if line.strip()])
