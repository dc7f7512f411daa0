"""The test is itself tested: green on the sound engine, red on each of the faulty ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from miniapr.learn.tiny import Thread, Tiny


class Short(Tiny):
    """Joins what is left of a branch."""

    def join(self, parent: Thread, children: Sequence[Thread]) -> Thread:
        joined = Thread(parent.tokens[:], parent.cells[:], 0, parent.rng, len(parent.tokens), parent.path, causal=False)
        joined.position = max(parent.position, *(len(child.tokens) for child in children))
        for child in children:
            cells = self.lookup(child.tokens)[child.first :]
            self.hold(cells)
            joined.cells += cells
            joined.tokens += child.own
        parent.cells = []
        return joined


class Unheld(Tiny):
    """Looks first and takes hold later: what is missing of one branch is given the cells of the next."""

    def join(self, parent: Thread, children: Sequence[Thread]) -> Thread:
        order = dict(self.known)
        found = [self.lookup(child.tokens) for child in children]
        self.known = order  # looking is not using, it thought
        joined = Thread(parent.tokens[:], parent.cells[:], 0, parent.rng, len(parent.tokens), parent.path, causal=False)
        joined.position = max(parent.position, *(len(child.tokens) for child in children))
        for child, cells in zip(children, found, strict=True):
            self.hold(cells)
            again = Thread(child.tokens[: len(cells)], cells, len(cells), child.rng)
            for token in child.tokens[len(cells) :]:
                self.append(again, token)
            self.drop(again.cells[: child.first])
            joined.cells += again.cells[child.first :]
            joined.tokens += child.own
        parent.cells = []
        return joined


def check(work: Any) -> None:
    def sound() -> None:
        """Your test is green on the sound engine."""
        work.test(Tiny)

    def faulty() -> None:
        """Your test is red on every engine that loses values at a join."""
        for number, engine in enumerate((Short, Unheld), start=1):
            try:
                work.test(engine)
            except Exception:
                continue
            raise AssertionError(f"it is green on faulty engine {number} of 2")

    sound()
    faulty()
