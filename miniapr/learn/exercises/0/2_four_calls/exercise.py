"""Adaptive parallel reasoning in four calls of the engine."""

from __future__ import annotations

from collections.abc import Sequence

import miniapr


def think(engine: miniapr.Engine, control: miniapr.Control, prompt: Sequence[int], how: str) -> miniapr.Branch:
    """Decode, and where the model has written a plan: fork, decode, join by ``how`` and decode again."""
    root = engine.start(prompt)
    engine.decode([root], until=control.ends)
    # <solution>
    items = miniapr.read_plan(root.tokens, control, width=16).items
    if items:
        branches = engine.fork(root, [(control.thread, *item) for item in items])
        engine.decode(branches, until=control.ends)
        root = engine.join(root, branches, how, then=[control.join])
        engine.decode([root], until=control.ends)
    # </solution>
    # <stub>
    # # ... here
    # </stub>
    return root
