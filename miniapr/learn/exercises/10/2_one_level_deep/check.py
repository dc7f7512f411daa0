from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

DEPTH = 3
paths = st.tuples(*[st.integers(0, 2)] * DEPTH)


def moves(path: tuple[int, ...]) -> list[int]:
    return [0, 1, 2] if len(path) < DEPTH else []


def nodes(root: Any) -> list[Any]:
    return [root, *(below for child in root.children for below in nodes(child))]


def check(work: Any) -> None:
    @settings(max_examples=10)
    @given(paths)
    def comes_to_ends(best: tuple[int, ...]) -> None:
        """In time, ends are looked at, and not only what is near the root."""
        seen: list[tuple[int, ...]] = []

        def look(path: tuple[int, ...]) -> float:
            seen.append(path)
            return 0.5

        search = work.Search(look, moves)
        for _ in range(40):
            search.step()
        deepest = max(map(len, seen))
        assert deepest == DEPTH, f"after 40 looks nothing deeper than {deepest} steps was seen"

    @settings(max_examples=10)
    @given(paths, st.integers(1, 30))
    def counts_agree(best: tuple[int, ...], looks: int) -> None:
        """A node has had as many visits, and found as much, as all below it, and its own look."""
        seen: list[tuple[int, ...]] = []

        def look(path: tuple[int, ...]) -> float:
            seen.append(path)
            return 1.0 if path == best else 0.25

        search = work.Search(look, moves)
        for _ in range(looks):
            search.step()
        for node in nodes(search.root):
            below = [path for path in seen if path[: len(node.path)] == node.path]
            found = sum(1.0 if path == best else 0.25 for path in below)
            assert node.visits == len(below), f"{node.path} has {node.visits} visits; {len(below)} looks were below it"
            assert abs(node.total - found) < 1e-9, f"{node.path} has {node.total} in all; below it {found} was found"

    @settings(max_examples=10)
    @given(paths)
    def finds_the_best(best: tuple[int, ...]) -> None:
        """The answer is the place where the way to it is better at every step."""

        def look(path: tuple[int, ...]) -> float:
            return sum(a == b for a, b in zip(path, best, strict=False)) / DEPTH

        search = work.Search(look, moves)
        for _ in range(150):
            search.step()
        assert search.answer() == best, f"the answer is {search.answer()}, not {best}"

    comes_to_ends()
    counts_agree()
    finds_the_best()
