"""The problem of experiments that train many models: so small that each is trained to its end in a few minutes.

Three numbers of 1..12, sums and differences alone, every problem forked into all first steps: `<plan> a+b a+c b+c a-b
a-c b-c </plan>`, six threads, an answer. A text has 60 tokens, its critical path 20.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..tasks.countdown import Ranges
from ..tasks.roles import Teacher
from ..train.config import TrainConfig
from ..train.roles import Recipe
from .arms import Taught
from .starts import ALONE, SMALL

TEACHER = Teacher(full=1.0, narrow=0.0, tries=0)
RECIPE = Recipe(
    ALONE,
    TEACHER,
    Ranges(3, 1, 12, 1, 24, operators="+-"),
    four=0.0,
    two=0.3,
    two_high=1,
    unsolvable=0.0,
)
LITTLE = replace(SMALL, tokens=900_000, batch_tokens=2048, warmup_steps=50)


def onward(config: TrainConfig, tokens: int = 200_000) -> TrainConfig:
    """To go on from a model that has learned most of it: at half the rate, which falls from the start."""
    slow = replace(config, muon_rate=config.muon_rate / 2, adam_rate=config.adam_rate / 2)
    return replace(slow, tokens=tokens, constant=0.0, warmup_steps=20)


def taught(name: str, joins: str = "stitch", tokens: int = LITTLE.tokens, **teacher: Any) -> Taught:
    """One model a seed. ``teacher``: what is other than above."""
    roles = replace(RECIPE, teacher=replace(TEACHER, **teacher))
    return Taught(name, replace(LITTLE, joins=joins, tokens=tokens, roles=roles), True)
