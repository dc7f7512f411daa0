"""What every branch should see, told token by token and without spans, pieces, blocks or views.

This is a second statement of what fork and the joins mean, so that a view that is wrong is found as well
as a key that is. From it the dense oracle is built, independently of the package's own.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from miniapr.model.decoder import Decoder

_birth = itertools.count()


@dataclass(eq=False)
class Node:
    """A token once computed: where it stood and what it saw, each with the shift under which it saw it."""

    token: int
    position: int
    before: tuple[tuple[Node, int], ...]
    voice: int = 0
    birth: int = field(default_factory=lambda: next(_birth))
    weave: Loom | None = None
    member: int = 0
    time: int = 0  # in a weave

    @property
    def sees(self) -> tuple[tuple[Node, int], ...]:
        """In a weave not known before the others have written what belongs to the same time."""
        return self.before if self.weave is None else self.weave.seen(self.member, self.time, self)


class Loom:
    """A weave as a clock: each member writes at most one token at a time, and sees whatever the others have written up
    to that time. "contiguous": as one text, in which the others come first and the own text last."""

    def __init__(self, common: Sequence[tuple[Node, int]], start: int, members: int, positions: str) -> None:
        self.common, self.start, self.positions = tuple(common), start, positions
        self.written: list[list[Node]] = [[] for _ in range(members)]
        self.begun = False
        self.now = 0  # the earliest time at which something can be added

    def settle(self) -> None:
        """All that was written has been computed: whoever goes on does so after it."""
        self.now = max((node.time + 1 for nodes in self.written for node in nodes), default=0)

    def next(self, member: int) -> int:
        return max(self.now, self.written[member][-1].time + 1 if self.written[member] else 0)

    def text(self, member: int, time: int) -> list[tuple[Node, int]]:
        """What ``member`` sees at a time, each with its place, in the order of its view."""
        by_time = [[node for node in nodes if node.time <= time] for nodes in self.written]
        others = [] if self.positions == "private" else by_time[:member] + by_time[member + 1 :]
        order = [*others, by_time[member]]
        placed = [(node, node.position + shift) for node, shift in self.common]
        nodes = [node for nodes in order for node in nodes]
        if self.positions in ("contiguous", "private"):
            return placed + [(node, self.start + n) for n, node in enumerate(nodes)]
        return placed + [(node, node.position) for node in nodes]

    def share(self, member: int) -> None:
        """What it wrote goes behind what all have in common; what was seen before stays as it was."""
        for node in [node for nodes in self.written for node in nodes if node.weave]:
            node.before, node.weave = node.sees, None
        nodes, self.written[member] = self.written[member], []
        self.common += tuple((node, self.start + n - node.position) for n, node in enumerate(nodes))
        self.start += len(nodes)

    def seen(self, member: int, time: int, reader: Node) -> tuple[tuple[Node, int], ...]:
        text = self.text(member, time)
        own = dict(text)[reader] - reader.position  # by how much the reader itself is further on
        return tuple((node, place - node.position - own) for node, place in text if node is not reader)


class Shadow:
    """A branch: what it sees in order, its next position, and from where on what it sees is its own."""

    def __init__(self, sees: Sequence[tuple[Node, int]] = (), position: int = 0, voice: int = 0) -> None:
        self.sees, self.position, self.own_from, self.voice = list(sees), position, len(sees), voice
        self.born_at = position
        self.weave: tuple[Loom, int] | None = None  # and the number in it
        self.last = self.sees[-1][0] if self.sees else None  # whose logits it goes on from

    @staticmethod
    def woven(shadows: Sequence[Shadow], positions: str, slot: int) -> None:
        first = shadows[0]
        common, start = first.sees[: first.own_from], first.born_at
        loom = Loom(common, start, len(shadows), positions)
        for number, shadow in enumerate(shadows):
            seed = [node.token for node, _ in shadow.own]
            del shadow.sees[shadow.own_from :]
            shadow.position = shadow.born_at = start + (number * slot if positions == "slots" else 0)
            shadow.weave = loom, number
            shadow.append(seed)

    @property
    def tokens(self) -> list[int]:
        return [node.token for node, _ in self.sees]

    @property
    def own(self) -> list[tuple[Node, int]]:
        return self.sees[self.own_from :]

    def append(self, tokens: Sequence[int]) -> Shadow:
        for token in tokens:
            node = Node(token, self.position, tuple(self.sees), self.voice)
            if self.weave:
                node.weave, node.member = self.weave
                node.time = node.weave.next(node.member)
                node.weave.written[node.member].append(node)
            self.sees.append((node, 0))
            self.position += 1
            self.last = node
        return self

    @property
    def seen(self) -> tuple[list[tuple[Node, int]], int]:
        """All that its next token would see, and where that token would stand."""
        if not self.weave:
            return list(self.sees), self.position
        loom, member = self.weave
        text = loom.text(member, 10**9)
        as_text = loom.positions in ("contiguous", "private")
        end = loom.start + len(text) - len(loom.common) if as_text else self.position
        return [(node, place - node.position) for node, place in text], end

    def share(self) -> None:
        assert self.weave
        loom, member = self.weave
        shares = bool(loom.written[member])
        loom.share(member)
        if shares:
            self.position = loom.start

    def follow(self) -> None:
        """Somebody has shared: what it sees first has grown."""
        assert self.weave
        loom, member = self.weave
        self.sees = [*loom.common, *((node, 0) for node in loom.written[member])]

    def fork(self, keep: int | None = None, voice: int | None = None) -> Shadow:
        voice = self.voice if voice is None else voice
        if keep is None or keep >= len(self.sees):
            return Shadow(self.sees, self.position, voice)
        return Shadow(self.sees[:keep], _end(self.sees[:keep]), voice)

    def joined(self, how: str, branches: Sequence[Shadow], message: Sequence[int] = (), keep: int = 0) -> Shadow:
        """A shadow in this one's place that goes on from ``branches``."""
        new = Shadow(self.sees, self.position, self.voice)
        new.own_from, new.born_at = self.own_from, self.born_at
        if how == "stitch":
            new.sees += [seen for branch in branches for seen in branch.own]
            new.position = max(self.position, *(branch.position for branch in branches))
        elif how in ("stitch_contiguous", "stitch_copied"):
            for branch in branches:
                moved = new.position - branch.born_at
                new.sees += [(node, shift + moved) for node, shift in branch.own]
                new.position += branch.position - branch.born_at
        elif how == "reprefill":
            new.append([node.token for branch in branches for node, _ in branch.own])
        elif how == "select":
            (branch,) = branches
            new.sees, new.position = branch.seen
            if branch.own_from < new.own_from:
                new.own_from, new.born_at = branch.own_from, branch.born_at
        else:
            assert how == "message"
            del new.sees[keep:]
            new.own_from = min(new.own_from, keep)
            new.position = _end(new.sees)
            new.append(message)
        if how == "select":
            new.last = branches[0].last
        else:
            new.last = new.sees[-1][0] if new.sees else None
        return new

    def logits(self, model: Decoder) -> Tensor:
        """After its last token, by the dense decoder."""
        return oracle(model, [self])[0]


def _end(sees: Sequence[tuple[Node, int]]) -> int:
    """The position after everything that is seen."""
    return max((node.position + shift + 1 for node, shift in sees), default=0)


def oracle(model: Decoder, shadows: Sequence[Shadow]) -> list[Tensor]:
    """The logits after each shadow's last token, from one dense pass over all that they stand on."""
    if not shadows:
        return []
    seen: dict[Node, None] = {}
    stack = [node for shadow in shadows for node, _ in shadow.sees]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen[node] = None
            stack.extend(other for other, _ in node.sees)
    nodes = sorted(seen, key=lambda node: node.birth)  # nothing sees what was born later
    index = {node: i for i, node in enumerate(nodes)}
    visible, shift = torch.eye(len(nodes), dtype=torch.bool), torch.zeros(len(nodes), len(nodes), dtype=torch.int64)
    for i, node in enumerate(nodes):
        there = [index[other] for other, _ in node.sees]
        visible[i, there] = True
        shift[i, there] = torch.tensor([by for _, by in node.sees], dtype=torch.int64)
    tokens = torch.tensor([node.token for node in nodes])
    positions = torch.tensor([node.position for node in nodes])
    voices = torch.tensor([[node.voice for node in nodes]]) if model.config.voices else None
    logits = model.dense(tokens[None], positions[None], visible[None], shift[None], voices=voices)[0]
    return [logits[index[shadow.last]] for shadow in shadows if shadow.last]
