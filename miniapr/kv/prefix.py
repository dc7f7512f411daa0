"""The prefix cache: causal spans by their tokens, so that equal beginnings are computed once.

A radix tree (SGLang, Zheng et al. 2024, section 3). An edge is a piece of a span; the tokens themselves
are compared, so there are no hashes that could collide (F16). The tree holds references like any other
reader; what a branch matched stays alive through the branch's own references, not through a lock here
that someone could forget to undo (F06, F07).
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from .span import Piece, Span


@dataclass(eq=False, slots=True)
class Node:
    """An edge of the tree and the node at its end; the root has no piece."""

    piece: Piece | None = None
    parent: Node | None = None
    used: int = 0
    children: dict[int, Node] = field(default_factory=dict)  # by the first token of the child's piece


class PrefixTree:
    """From tokens to pieces. What to hold and to let go is returned as data; counting is the caller's.

    Never contains anything but ordinary causal text from position 0 (M3, F17): the caller inserts only that.

    Its leaves lie in a heap, least recently used first, so that forgetting one costs O(log n). An entry is put
    right when it comes up (its leaf may have been used since, or be none any more), and a leaf that somebody
    reads waits aside, by its span, until ``wake``: so nobody walks over what cannot be evicted anyway.
    """

    def __init__(self) -> None:
        self.root = Node()
        self._clock = 0
        self._heap: list[tuple[int, int, Node]] = []  # (used, a number that tells equals apart, leaf)
        self._pushed = 0
        self._read: defaultdict[Span, list[Node]] = defaultdict(list)  # leaves that came up while somebody read them

    def __iter__(self) -> Iterator[Node]:
        stack = list(self.root.children.values())
        while stack:
            node = stack.pop()
            yield node
            stack.extend(node.children.values())

    def match(self, tokens: Sequence[int]) -> tuple[Piece, ...]:
        """Pieces whose tokens, one after the other, are the longest known beginning of ``tokens``."""
        found, node, at = [], self.root, 0
        self._clock += 1
        while at < len(tokens) and (child := node.children.get(tokens[at])):
            assert child.piece is not None
            length = _common(child.piece, tokens, at)
            child.used = self._clock
            found.append(Piece(child.piece.span, child.piece.start, child.piece.start + length))
            if length < len(child.piece):
                break
            node, at = child, at + length
        return tuple(found)

    def insert(self, pieces: Sequence[Piece]) -> tuple[list[Piece], list[Piece]]:
        """Add causal text; returns (pieces to hold from now on, pieces to let go)."""
        hold: list[Piece] = []
        drop: list[Piece] = []
        node, self._clock = self.root, self._clock + 1
        for piece in pieces:
            tokens, at = piece.tokens, 0
            while at < len(tokens):
                child = node.children.get(tokens[at])
                if child is None:
                    new = Piece(piece.span, piece.start + at, piece.stop)
                    if new.start and not (node.piece and (node.piece.span, node.piece.stop) == (new.span, new.start)):
                        return hold, drop  # its beginning is known from another span: a tail alone cannot be held
                    child = node.children[tokens[at]] = Node(new, node, self._clock)
                    self._push(child)
                    hold.append(new)
                assert child.piece is not None
                length = _common(child.piece, tokens, at)
                if length < len(child.piece):  # the text leaves this edge, or ends, in its middle
                    child = self._split(child, length, hold, drop)
                child.used = self._clock
                node, at = child, at + length
        return hold, drop

    def _split(self, node: Node, length: int, hold: list[Piece], drop: list[Piece]) -> Node:
        """Cut an edge after ``length`` tokens; returns the new node for its first part."""
        piece, parent = node.piece, node.parent
        assert piece is not None and parent is not None
        head = Piece(piece.span, piece.start, piece.start + length)
        tail = Piece(piece.span, piece.start + length, piece.stop)
        upper = Node(head, parent, node.used, {tail.tokens[0]: node})
        parent.children[head.tokens[0]] = upper
        node.piece, node.parent = tail, upper
        hold.extend((head, tail))
        drop.append(piece)
        return upper

    def next_leaf(self, idle: Callable[[Piece], bool]) -> Piece | None:
        """Take out the least recently used leaf whose piece is ``idle``. If there is none, the least recently used
        one: its blocks stay with who reads them, and it uncovers an edge above that nobody reads. None: no leaf."""
        while self._heap:
            used, _, leaf = heapq.heappop(self._heap)
            if leaf.children or leaf.parent is None:
                continue
            assert leaf.piece is not None
            if leaf.used != used:
                self._push(leaf)
            elif idle(leaf.piece):
                return self._remove(leaf)
            else:
                self._read[leaf.piece.span].append(leaf)
        read = [leaf for leaves in self._read.values() for leaf in leaves if leaf.parent and not leaf.children]
        return self._remove(min(read, key=lambda leaf: leaf.used)) if read else None

    def wake(self, span: Span) -> None:
        """Somebody has let go of some of the span: its leaves may be idle now."""
        for leaf in self._read.pop(span, ()):
            self._push(leaf)

    def _push(self, leaf: Node) -> None:
        self._pushed += 1
        heapq.heappush(self._heap, (leaf.used, self._pushed, leaf))

    def _remove(self, leaf: Node) -> Piece:
        assert leaf.piece is not None and leaf.parent is not None and not leaf.children
        parent = leaf.parent
        del parent.children[leaf.piece.tokens[0]]
        leaf.parent = None
        if parent.piece is not None and not parent.children:
            self._push(parent)
        return leaf.piece


def _common(piece: Piece, tokens: Sequence[int], at: int) -> int:
    """How many tokens of ``piece`` agree with ``tokens[at:]``."""
    limit = min(len(piece), len(tokens) - at)
    known, start = piece.span.tokens, piece.start
    if known[start : start + limit] == list(tokens[at : at + limit]):
        return limit
    return next(i for i in range(limit) if known[start + i] != tokens[at + i])
