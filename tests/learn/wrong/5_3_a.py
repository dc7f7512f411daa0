"""Only the rows that are used are cleaned."""

from __future__ import annotations

from collections.abc import Sequence

import torch


class BlockTables:
    """A table [rows, width] of block ids: row r holds the blocks of branch r, and -1 where it has none.

    The memory is made once: a captured step reads it where it lies.
    """

    def __init__(self, rows: int, width: int) -> None:
        self.table = torch.full((rows, width), -1)

    def fill(self, blocks: Sequence[Sequence[int]]) -> None:
        """The blocks of this step's branches; there may be fewer branches than rows."""
        for row, its in enumerate(blocks):
            self.table[row] = -1
            self.table[row, : len(its)] = torch.tensor(its, dtype=torch.int64)

    def read(self, row: int) -> list[int]:
        """The blocks that the kernel reads for a row."""
        return [block for block in self.table[row].tolist() if block >= 0]
