"""Spans are taken for the same whatever part of them is seen."""

from __future__ import annotations

from collections.abc import Sequence

Piece = tuple[str, int, int]  # span, start, stop: its tokens start..stop - 1


def plan(rows: Sequence[Sequence[Piece]]) -> dict[Piece, list[int]]:
    """The distinct pieces of a step, in the order in which they are first seen, each with the rows that see it."""
    found: dict[Piece, list[int]] = {}
    known: dict[str, Piece] = {}
    for number, pieces in enumerate(rows):
        for piece in pieces:
            if piece[1] < piece[2]:
                found.setdefault(known.setdefault(piece[0], piece), []).append(number)
    return found


def tokens_read(rows: Sequence[Sequence[Piece]]) -> tuple[int, int]:
    """Tokens whose keys and values are read: (if every row reads for itself, if each distinct piece is read once)."""
    apart = sum(stop - start for pieces in rows for _, start, stop in pieces)
    return apart, sum(stop - start for _, start, stop in plan(rows))
