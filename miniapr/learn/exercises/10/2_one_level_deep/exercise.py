"""A small tree search."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Path = tuple[int, ...]


@dataclass(eq=False)
class Node:
    path: Path
    parent: Node | None = None
    children: list[Node] = field(default_factory=list)
    visits: int = 0
    total: float = 0.0


class Search:
    """Grows a tree from the empty path."""

    def __init__(self, look: Callable[[Path], float], moves: Callable[[Path], Sequence[int]]) -> None:
        self.look, self.moves, self.root = look, moves, Node(())

    def step(self) -> None:
        """Look at one more leaf."""
        leaf = self.select()
        value = self.look(leaf.path)
        if not leaf.children:
            leaf.children = [Node((*leaf.path, move), leaf) for move in self.moves(leaf.path)]
        self.tell(leaf, value)

    def select(self) -> Node:
        """The leaf that is to be looked at next."""
        node = self.root
        # <solution>
        while node.children:
            node = max(node.children, key=self.worth)
        # </solution>
        # <stub>
        # if node.children:
        #     node = max(node.children, key=self.worth)
        # </stub>
        return node

    def worth(self, child: Node) -> float:
        """UCT; a child that nobody has looked at goes first."""
        if not child.visits:
            return math.inf
        assert child.parent
        return child.total / child.visits + math.sqrt(math.log(child.parent.visits) / child.visits)

    def tell(self, leaf: Node, value: float) -> None:
        """What was found: the leaf and all above it are told."""
        # <solution>
        node: Node | None = leaf
        while node:
            node.visits += 1
            node.total += value
            node = node.parent
        # </solution>
        # <stub>
        # leaf.visits += 1
        # leaf.total += value
        # if leaf.parent:
        #     leaf.parent.visits += 1
        # </stub>

    def answer(self) -> Path:
        """The end of the path of the most visits."""
        node = self.root
        while node.children and any(child.visits for child in node.children):
            node = max(node.children, key=lambda child: child.visits)
        return node.path
