"""The test is itself tested: green on the sound engine, red on each of the faulty ones."""

from __future__ import annotations

import random
from typing import Any

from miniapr.learn.tiny import Text, Thread, Tiny


class Twins(Tiny):
    """Every child begins with the engine's seed."""

    def child_generator(self, parent: Thread, path: Text) -> random.Random:
        return self.generator(())


class Common(Tiny):
    """All children draw from the parent's generator."""

    def child_generator(self, parent: Thread, path: Text) -> random.Random:
        return parent.rng


def check(work: Any) -> None:
    def sound() -> None:
        """Your test is green on the sound engine."""
        work.test(Tiny)

    def faulty() -> None:
        """Your test is red on twins, and on siblings who share a generator."""
        for what, engine in (("children are twins", Twins), ("children share one generator", Common)):
            try:
                work.test(engine)
            except Exception:
                continue
            raise AssertionError(f"it is green on an engine whose {what}")

    sound()
    faulty()
