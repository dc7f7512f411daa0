"""Selection in a Monte-Carlo tree search."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(eq=False)
class Node:
    parent: Node | None = None
    children: list[Node] = field(default_factory=list)
    visits: int = 0
    total: float = 0.0
    pending: int = 0


def worth(child: Node) -> float:
    """How good a child looks to its parent."""
    # <solution>
    assert child.parent
    n, above = child.visits + child.pending, child.parent.visits + child.parent.pending
    mean = child.total / n if n else 1.0
    return mean + math.sqrt(math.log(max(1, above)) / max(1, n))
    # </solution>
    # <stub>
    # raise NotImplementedError
    # </stub>


def ask(root: Node, k: int) -> list[Node]:
    """Up to k different leaves to look at next, each marked."""
    # <solution>
    leaves: list[Node] = []
    for _ in range(k):
        node = root
        while node.children:
            node = max(node.children, key=worth)
        if node in leaves:
            break
        leaves.append(node)
        place: Node | None = node
        while place:
            place.pending += 1
            place = place.parent
    return leaves
    # </solution>
    # <stub>
    # raise NotImplementedError
    # </stub>
