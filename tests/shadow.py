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
    sees: tuple[tuple[Node, int], ...]
    voice: int = 0
    birth: int = field(default_factory=lambda: next(_birth))


class Shadow:
    """A branch: what it sees in order, its next position, and from where on what it sees is its own."""

    def __init__(self, sees: Sequence[tuple[Node, int]] = (), position: int = 0, voice: int = 0) -> None:
        self.sees, self.position, self.own_from, self.voice = list(sees), position, len(sees), voice
        self.born_at = position

    @property
    def tokens(self) -> list[int]:
        return [node.token for node, _ in self.sees]

    @property
    def own(self) -> list[tuple[Node, int]]:
        return self.sees[self.own_from :]

    def append(self, tokens: Sequence[int]) -> Shadow:
        for token in tokens:
            self.sees.append((Node(token, self.position, tuple(self.sees), self.voice), 0))
            self.position += 1
        return self

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
            new.sees, new.position = list(branch.sees), branch.position
            if branch.own_from < new.own_from:
                new.own_from, new.born_at = branch.own_from, branch.born_at
        else:
            assert how == "message"
            del new.sees[keep:]
            new.own_from = min(new.own_from, keep)
            new.position = _end(new.sees)
            new.append(message)
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
    return [logits[index[shadow.sees[-1][0]]] for shadow in shadows]
