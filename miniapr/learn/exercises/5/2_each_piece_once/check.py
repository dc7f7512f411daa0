"""What every row reads, token by token, is the judge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

Piece = tuple[str, int, int]
pieces = st.builds(
    lambda span, start, n: (span, start, start + n), st.sampled_from("AB"), st.integers(0, 2), st.integers(0, 3)
)
views = st.lists(st.lists(pieces, max_size=3, unique=True), max_size=4)


def read(row: Sequence[Piece]) -> list[tuple[str, int]]:
    return [(span, i) for span, start, stop in row for i in range(start, stop)]


def check(work: Any) -> None:
    @given(views)
    def complete(rows: list[list[Piece]]) -> None:
        """Every row gets all that it sees, and nothing else."""
        made = work.plan(rows)
        for number, row in enumerate(rows):
            got = read([piece for piece, seers in made.items() if number in seers])
            assert sorted(got) == sorted(read(row)), f"row {number} gets {sorted(got)}, not {sorted(read(row))}"

    @given(views)
    def once(rows: list[list[Piece]]) -> None:
        """A piece is there once, with its rows in order, and a piece without tokens is not there."""
        for piece, seers in work.plan(rows).items():
            assert piece[1] < piece[2], f"{piece} has no token"
            assert list(seers) == sorted(set(seers)), f"{piece} has the rows {list(seers)}"

    @given(views)
    def order(rows: list[list[Piece]]) -> None:
        """Pieces stand in the order in which they are first seen."""
        seen = list(dict.fromkeys(piece for row in rows for piece in row if piece[1] < piece[2]))
        assert list(work.plan(rows)) == seen, f"the order is {list(work.plan(rows))}, not {seen}"

    @given(views)
    def counted(rows: list[list[Piece]]) -> None:
        """Tokens are counted for each row apart, and for each distinct piece once."""
        true = (sum(len(read(row)) for row in rows), len(read(list({piece for row in rows for piece in row}))))
        found = tuple(work.tokens_read(rows))
        assert found == true, f"{found}, not {true}"

    complete()
    once()
    order()
    counted()
