"""Texts, written out token by token, are the judge."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

Thought = tuple[int | None, int, int]


@st.composite
def trees(draw: st.DrawFn) -> list[Thought]:
    tree: list[Thought] = [(None, draw(st.integers(1, 3)), draw(st.integers(0, 2)))]
    for number in range(1, draw(st.integers(1, 5))):
        parent = draw(st.none() | st.integers(0, number - 1))
        tree.append((parent, draw(st.integers(1 if parent is None else 0, 3)), draw(st.integers(0, 2))))
    return tree


def texts(tree: list[Thought]) -> list[list[tuple[int, int, bool]]]:
    """Every token of every thought's whole text: who wrote it, its number, whether it was decoded."""
    written: list[list[tuple[int, int, bool]]] = []
    for number, (parent, given_, decoded) in enumerate(tree):
        own = [(number, i, i >= given_) for i in range(given_ + decoded)]
        written.append([*(written[parent] if parent is not None else []), *own])
    return written


def check(work: Any) -> None:
    @settings(max_examples=30)
    @given(trees())
    def all_that_is_sent(tree: list[Thought]) -> None:
        """Each request carries the whole text before its first decoded token."""
        requests = [len(text) - tree[n][2] for n, text in enumerate(texts(tree)) if tree[n][2]]
        found = work.sent(tree)
        assert found == sum(requests), f"sent is {found}; the requests are {requests}, in all {sum(requests)}"

    @settings(max_examples=30)
    @given(trees())
    def computed_once(tree: list[Thought]) -> None:
        """A given token is computed once, if anything was decoded behind it."""
        used = {token for n, text in enumerate(texts(tree)) if tree[n][2] for token in text if not token[2]}
        found = work.prefilled(tree)
        assert found == len(used), f"prefilled is {found}; {len(used)} given tokens are needed by somebody"

    all_that_is_sent()
    computed_once()
