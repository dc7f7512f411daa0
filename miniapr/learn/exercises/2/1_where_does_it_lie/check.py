"""Blocks that are filled slot by slot are the judge."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

tables = st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True)
sizes = st.integers(1, 5)


@st.composite
def stretches(draw: st.DrawFn) -> tuple[list[int], int, int, int]:
    table, size = draw(tables), draw(sizes)
    stop = draw(st.integers(0, len(table) * size))
    return table, size, draw(st.integers(0, stop)), stop


def filled(table: list[int], block_size: int) -> list[int]:
    """The slot of each token, when the blocks are filled one after the other."""
    return [slot for block in table for slot in range(block * block_size, (block + 1) * block_size)]


def check(work: Any) -> None:
    @given(stretches())
    def where(stretch: tuple[list[int], int, int, int]) -> None:
        """Tokens fill the blocks of the table in order, slot by slot (table, block size, start, stop)."""
        table, size, start, stop = stretch
        found, true = list(work.slots(table, size, start, stop)), filled(table, size)[start:stop]
        assert found == true, f"slots are {found}, not {true}"

    @given(st.integers(0, 20), sizes)
    def how_many(tokens: int, size: int) -> None:
        """Enough blocks, and not one too many."""
        found, true = work.blocks_needed(tokens, size), len(range(0, tokens, size))
        assert found == true, f"{found} blocks, not {true}"

    @given(tables, sizes, st.integers(0, 49))
    def back(table: list[int], size: int, slot: int) -> None:
        """A slot leads back to its token, and a slot of others to None."""
        slots = filled(table, size)
        true = slots.index(slot) if slot in slots else None
        found = work.token_at(table, size, slot)
        assert found == true and (found is None) == (true is None), f"token {found}, not {true}"

    where()
    how_many()
    back()
