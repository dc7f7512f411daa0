"""The statistics of a Monte-Carlo tree search, and nothing of models: ask for leaves, tell what they were worth.

All state is in the nodes. Leaves may be told in any order. Values lie in 0..1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class Node:
    """``prior``: how likely its parent held it to be; ``pending``: asked for and not told yet, each a *virtual loss*:
    it counts as a visit that brought nothing, so that k leaves asked for at once are k different ones."""

    parent: Node | None = None
    prior: float = 1.0
    what: Any = None
    children: list[Node] = field(default_factory=list)
    visits: int = 0
    total: float = 0.0
    pending: int = 0

    @property
    def mean(self) -> float:
        """What it brought on average, pending visits counted as nothing; before any visit its prior (RAP: an unvisited
        child is worth its fast reward)."""
        count = self.visits + self.pending
        return self.total / count if count else self.prior

    @property
    def depth(self) -> int:
        """Steps below the root."""
        return len(lineage(self)) - 1

    @property
    def tries(self) -> int:
        return self.visits + self.pending


Policy = Callable[[Node, float], float]


def uct(node: Node, weight: float) -> float:
    """Q + w sqrt(ln N_parent / max(1, N)) (Kocsis & Szepesvari 2006; with the maximum as in RAP, Hao et al. 2023)."""
    assert node.parent
    return node.mean + weight * math.sqrt(math.log(max(1, node.parent.tries)) / max(1, node.tries))


def puct(node: Node, weight: float) -> float:
    """Q + c P sqrt(N_parent) / (1 + N) (Silver et al. 2017); Q before any visit is 0, the prior is in P."""
    assert node.parent
    mean = node.mean if node.tries else 0.0
    return mean + weight * node.prior * math.sqrt(node.parent.tries) / (1 + node.tries)


POLICIES: dict[str, Policy] = {"uct": uct, "puct": puct}


def ask(root: Node, k: int, policy: Policy = uct, weight: float = 1.0) -> list[Node]:
    """At most k different leaves to look at next; of equally good ones the first. Where the tree has fewer leaves
    that anyone would go to, fewer."""
    leaves: list[Node] = []
    for _ in range(k):
        node = root
        while node.children:
            node = max(node.children, key=lambda child: policy(child, weight))
        if node in leaves:
            break
        for place in lineage(node):
            place.pending += 1
        leaves.append(node)
    return leaves


def tell(leaf: Node, value: float) -> None:
    """What a leaf that was asked for was worth: for it and for all above it. Raises ValueError outside of 0..1."""
    if not 0 <= value <= 1:
        raise ValueError(f"a value lies in 0..1, not {value}")
    for place in lineage(leaf):
        place.pending = max(0, place.pending - 1)
        place.visits += 1
        place.total += value


def lineage(node: Node | None) -> list[Node]:
    """A node and all above it."""
    places = []
    while node:
        places.append(node)
        node = node.parent
    return places


def merged(roots: list[Node], key: Callable[[Node], Any]) -> Node:
    """Several searches of one problem as one: what stands at the same place is added up (root parallelism). ``what`` is
    that of the first."""
    whole = Node(None, roots[0].prior, roots[0].what)
    whole.visits, whole.total = sum(root.visits for root in roots), math.fsum(root.total for root in roots)
    alike: dict[Any, list[Node]] = {}
    for child in (child for root in roots for child in root.children):
        alike.setdefault(key(child), []).append(child)
    for nodes in alike.values():
        grown = merged(nodes, key)
        grown.parent = whole
        whole.children.append(grown)
    return whole


def most_visited(root: Node) -> Node:
    """The end of the path of the most visits; of equals the better, then the first."""
    node = root
    while node.children:
        node = max(node.children, key=lambda child: (child.visits, child.mean))
    return node
