"""The models that experiments begin with: small, and unsure of what is to be learned.

A model that always does the same gives reinforcement learning nothing to choose from. So what an experiment is about is
decided by a coin in the demonstrations, of which the prompt says nothing: whether a problem is forked or told in line,
or which part of the steps a plan names.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from ..tasks.countdown import Ranges
from ..tasks.roles import Teacher
from ..train.config import TrainConfig
from ..train.roles import Recipe, Shares
from .arms import Taught

ALONE = Shares(**{**{field.name: 0.0 for field in fields(Shares)}, "adaptive": 1.0})

# 0.38 M parameters. Three numbers of 1..12 are hard: a fork halves the critical path. Two numbers of 1..24 are easy:
# there it makes the path longer. They are half of the problems: to tell a hit is learned last, and they show many.
# Without division: whether one comes out even is learned late too.
RANGES = Ranges(3, 1, 12, 1, 60, operators="+-*")
RECIPE = Recipe(ALONE, ranges=RANGES, four=0.0, two=0.5, two_high=2, unsolvable=0.0)
SMALL = TrainConfig(
    joins="stitch",
    tokens=6_000_000,
    batch_tokens=3072,
    chunk_size=1024,
    hidden_size=96,
    intermediate_size=208,
    layers=3,
    heads=3,
    autocast=False,
    roles=RECIPE,
)


def taught(name: str, teacher: Teacher, begin: Taught | None = None, *, seeded: bool = False, **options: Any) -> Taught:
    """A start. Every thread is told, and no line is tried before the plan. One that begins with another has to learn
    only what its teacher does otherwise. ``options``: of the training, where they are others."""
    config = replace(SMALL, roles=replace(RECIPE, teacher=teacher))
    if begin:
        config = replace(config, tokens=SMALL.tokens // 6, constant=0.0, muon_rate=0.01, adam_rate=2e-3)
    return Taught(name, replace(config, **options), seeded, begin)


# Forked at once, or in line to the end.
COIN = taught("coin", Teacher(full=1.0, narrow=0.0, tries=0, line=0.5))
# The same, but the coin leans on the kind of problem: what tells the kinds apart is then of use to the model.
LEAN, MORE = (
    taught(name, Teacher(full=1.0, narrow=0.0, tries=0, line=0.5, lean=lean), COIN)
    for name, lean in (("lean", 0.1), ("lean-more", 0.3))
)
# Always forked, into a random part of the steps.
WIDE = taught("width", Teacher(full=1.0, narrow=1.0, tries=0), COIN)
