"""The leaf is told twice."""

import math
from dataclasses import dataclass, field


@dataclass(eq=False)
class Node:
    path: tuple
    parent: object = None
    children: list = field(default_factory=list)
    visits: int = 0
    total: float = 0.0


class Search:
    def __init__(self, look, moves):
        self.look, self.moves, self.root = look, moves, Node(())

    def step(self):
        leaf = self.select()
        value = self.look(leaf.path)
        if not leaf.children:
            leaf.children = [Node((*leaf.path, move), leaf) for move in self.moves(leaf.path)]
        self.tell(leaf, value)

    def select(self):
        node = self.root
        while node.children:
            node = max(node.children, key=self.worth)
        return node

    def worth(self, child):
        if not child.visits:
            return math.inf
        return child.total / child.visits + math.sqrt(math.log(child.parent.visits) / child.visits)

    def tell(self, leaf, value):
        leaf.visits += 1
        leaf.total += value
        node = leaf
        while node:
            node.visits += 1
            node.total += value
            node = node.parent

    def answer(self):
        node = self.root
        while node.children and any(child.visits for child in node.children):
            node = max(node.children, key=lambda child: child.visits)
        return node.path
