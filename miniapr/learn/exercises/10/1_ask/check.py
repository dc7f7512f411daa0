"""The search of the package is the judge: the same questions, again and again."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from miniapr.methods.search import bandit

shapes = st.lists(st.integers(0, 3), min_size=1, max_size=5)
values = st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=6)


def grown(node: Any, shape: list[int]) -> list[Any]:
    """A tree in order of birth: node i has shape[i] children."""
    nodes = [node()]
    for number, count in enumerate(shape):
        for _ in range(count if number < len(nodes) else 0):
            nodes.append(node(parent=nodes[number]))
            nodes[number].children.append(nodes[-1])
    return nodes


def told(nodes: list[Any], leaf: Any, value: float) -> None:
    while leaf:
        leaf.visits, leaf.total, leaf.pending = leaf.visits + 1, leaf.total + value, max(0, leaf.pending - 1)
        leaf = leaf.parent


def compared(work: Any, shape: list[int], found: list[float], k: int) -> None:
    mine, true = grown(work.Node, shape), grown(bandit.Node, shape)
    for number, value in enumerate(found, start=1):
        leaves, wanted = work.ask(mine[0], k), bandit.ask(true[0], k)
        asked, right = [mine.index(leaf) for leaf in leaves], [true.index(leaf) for leaf in wanted]
        assert asked == right, f"question {number}: the leaves are {asked}, not {right} (nodes in order of birth)"
        marks, wanted_marks = [node.pending for node in mine], [node.pending for node in true]
        assert marks == wanted_marks, f"question {number}: the marks are {marks}, not {wanted_marks}"
        for leaf, same in zip(leaves, wanted, strict=True):
            told(mine, leaf, value)
            bandit.tell(same, value)


def check(work: Any) -> None:
    @settings(max_examples=30)
    @given(shapes, values)
    def one_by_one(shape: list[int], found: list[float]) -> None:
        """One leaf at a time: the best child of the best child, and so on."""
        compared(work, shape, found, 1)

    @settings(max_examples=30)
    @given(shapes, values, st.integers(2, 4))
    def several(shape: list[int], found: list[float], k: int) -> None:
        """Several at once are different ones."""
        compared(work, shape, found, k)

    one_by_one()
    several()
