"""Plain lists, copied at each fork, are the judge."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

# What is done, in order: (branch, None): it forks in two; (branch, token): it writes. Branches are counted as made.
steps = st.lists(st.tuples(st.integers(0, 3), st.none() | st.integers(0, 2)), max_size=10)


def run(work: Any, steps: list[tuple[int, int | None]]) -> tuple[list[Any], list[list[int]], list[list[object]]]:
    """Branches, their texts, and for each token of a text an object that stands for its place in memory."""
    texts: list[list[Any]] = [[]]
    places: list[list[Any]] = [[]]
    branches = [work.Branch((), work.Span(0))]
    for number, token in steps:
        i = number % len(branches)
        if token is None:
            made = work.fork(branches[i], 2)
            assert len(made) == 2, f"fork(branch, 2) made {len(made)} children"
            branches += made
            texts += [list(texts[i]) for _ in made]
            places += [list(places[i]) for _ in made]
        else:
            branches[i].open.tokens.append(token)
            texts[i].append(token)
            places[i].append(object())
    return branches, texts, places


def check(work: Any) -> None:
    @given(st.lists(st.integers(0, 9), max_size=3), st.integers(0, 4))
    def children(tokens: list[int], k: int) -> None:
        """A fork makes k children that read what the parent wrote."""
        parent = work.Branch((), work.Span(0, list(tokens)))
        made = work.fork(parent, k)
        assert len(made) == k, f"{len(made)} children, not {k}"
        for child in [parent, *made]:
            assert work.text(child) == tokens, f"it reads {work.text(child)}, not {tokens}"

    @given(steps)
    def apart(steps: list[tuple[int, int | None]]) -> None:
        """Whoever writes after a fork, parent or child, writes for itself alone."""
        branches, texts, _ = run(work, steps)
        for number, (branch, wanted) in enumerate(zip(branches, texts, strict=True)):
            got = work.text(branch)
            assert got == wanted, f"branch {number} reads {got}, not {wanted}"

    @given(steps)
    def positions(steps: list[tuple[int, int | None]]) -> None:
        """Each span begins where the one before it ends, and none in a view is empty."""
        for number, branch in enumerate(run(work, steps)[0]):
            at = 0
            for span in (*branch.view, branch.open):
                assert span.position == at, f"branch {number} has a span at position {span.position}, not {at}"
                at += len(span.tokens)
            assert all(span.tokens for span in branch.view), f"branch {number} has an empty span in its view"

    @given(steps)
    def memory(steps: list[tuple[int, int | None]]) -> None:
        """Two branches share all that was written before they parted, and no more."""
        branches, _, places = run(work, steps)
        for i in range(len(branches)):
            for j in range(i):
                wanted = len(set(places[i]) & set(places[j]))
                got = work.shared(branches[i], branches[j])
                assert got == wanted, f"branches {j} and {i} share {got} tokens, not {wanted}"

    children()
    apart()
    positions()
    memory()
