"""Marks only the leaf, not those above it."""

import math
from dataclasses import dataclass, field


@dataclass(eq=False)
class Node:
    parent: object = None
    children: list = field(default_factory=list)
    visits: int = 0
    total: float = 0.0
    pending: int = 0


def worth(child):
    n, above = child.visits + child.pending, child.parent.visits + child.parent.pending
    mean = child.total / n if n else 1.0
    return mean + math.sqrt(math.log(max(1, above)) / max(1, n))


def ask(root, k):
    leaves = []
    for _ in range(k):
        node = root
        while node.children:
            node = max(node.children, key=worth)
        if node in leaves:
            break
        leaves.append(node)
        node.pending += 1
    return leaves
