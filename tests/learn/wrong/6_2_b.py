"""Keeps every branch's KV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Branch:
    """``written``: of how many of its tokens, from the first on, the KV is there."""

    tokens: list[int]
    written: int


def rejoin(prefix: list[int], branches: Sequence[Branch]) -> tuple[list[int], int, list[int]]:
    """The joined text; how many tokens of it, from the first on, need no computing; and the tokens that do.

    All of the prefix is there. Of the branches only the first one's KV is that of causal text.
    """
    text = [*prefix, *(token for branch in branches for token in branch.tokens)]
    kept = len(prefix) + sum(branch.written for branch in branches)
    return text, kept, text[kept:]
