"""The lists themselves are the judge."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

steps = st.lists(st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=3), min_size=1, max_size=4)


def check(work: Any) -> None:
    @given(st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=3))
    def first(blocks: list[list[int]]) -> None:
        """After the first step, each row reads its branch's blocks."""
        tables = work.BlockTables(3, 4)
        tables.fill(blocks)
        for row in range(3):
            true = blocks[row] if row < len(blocks) else []
            assert tables.read(row) == true, f"row {row} reads blocks {tables.read(row)}, not {true}"

    @given(steps)
    def later(batches: list[list[list[int]]]) -> None:
        """After every step, each row reads its branch's blocks and no others."""
        tables = work.BlockTables(3, 4)
        for number, blocks in enumerate(batches):
            tables.fill(blocks)
            for row in range(3):
                true = blocks[row] if row < len(blocks) else []
                found = tables.read(row)
                assert found == true, f"in step {number} row {row} reads blocks {found}, not {true}"

    @given(steps)
    def in_place(batches: list[list[list[int]]]) -> None:
        """The table stays where it was made."""
        tables = work.BlockTables(3, 4)
        table = tables.table
        for blocks in batches:
            tables.fill(blocks)
            assert tables.table is table, "there is a new tensor: a captured step would go on reading the old one"

    first()
    later()
    in_place()
