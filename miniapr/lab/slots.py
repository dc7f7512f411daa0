"""A prompt that says how many slots of the engine are free: does a model fork as wide as that, and no wider?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..examine.shares import share
from ..model.bundle import Bundle
from ..rl.practice import Practice, practice
from ..rl.rollouts import Rollout
from ..tasks import states
from ..tasks.roles import Teacher
from .examine import Sampled, figures
from .experiment import Aim, Experiment
from .report import Report
from .starts import COIN, taught

TOLD = (1, 2, 3, 5, 9)  # in line, so many threads at a time, all at once
UNTOLD = (4, 7)  # numbers that no demonstration's prompt said

# From the coin's model: it can do both, and has to learn when. The teacher's critical path on hard problems is 43.9,
# 36.9, 30.8, 26.6 and 25.1 tokens, and 43.9, 59.4, 65.4, 75.1 and 99.0 are written in all (means of 3,000 problems).
TAUGHT = taught(
    "slots",
    Teacher(full=1.0, narrow=0.0, tries=0, free=TOLD),
    COIN,
    seeded=True,
    tokens=2_000_000,
    batch_tokens=2048,
    warmup_steps=20,
)


def name(free: int) -> str:
    return f"{free} free"


def told(bundle: Bundle) -> Mapping[str, Practice]:
    """The same hard problems under every number of free slots."""
    hard = practice(bundle, counts=(3,))

    def saying(free: int) -> Practice:
        return replace(hard, draw=lambda dice, split: replace(hard.draw(dice, split), free=free))

    return {name(free): saying(free) for free in sorted(TOLD + UNTOLD)}


def obeys(rollout: Rollout) -> bool:
    """As many threads at a time as slots are free, or as there are steps; in line where one is."""
    free = rollout.problem.free
    return rollout.width == (0 if free == 1 else min(free, len(states.steps(rollout.problem))))


def with_obedience(rollouts: Sequence[Rollout]) -> dict[str, Any]:
    usual = figures(rollouts)
    chosen = {figure: usual[figure] for figure in ("right", "forked", "width", "critical", "tokens")}
    return {"obeys": share([obeys(rollout) for rollout in rollouts]), **chosen}


def saved(report: Report, figure: str, few: int, many: int) -> float:
    """Of what ``many`` free slots take, the part that ``few`` do not."""
    return 1 - report.mean("slots", name(few), figure) / report.mean("slots", name(many), figure)


def obeyed(free: int, least: float) -> Aim:
    said = "" if free in TOLD else ", which no prompt said in training"
    return Aim(f"{free} free{said}: obeys", lambda report: report.mean("slots", name(free), "obeys"), least)


SLOTS = Experiment(
    "slots",
    "Whether a fork pays depends on what else the machine has to do, and the model that plans it does not know. "
    "TAPER (arXiv 2605.06914) lets the scheduler decide who goes on; nobody has trained a model to plan for the slots "
    "that are free. Here the prompt says how many, and the demonstrations fork so wide: in line where one is free, and "
    "where none of so many threads hits, the next so many.",
    (TAUGHT,),
    Sampled(told, figures=with_obedience),
    (
        *(obeyed(free, 0.95) for free in TOLD),
        Aim(
            "right, in the worst of these",
            lambda r: min(r.mean("slots", name(free), "right") for free in TOLD),
            0.9,
        ),
        Aim("9 free against 1: critical path, shorter by", lambda r: saved(r, "critical", 9, 1), 0.38),
        Aim("1 free against 9: tokens, fewer by", lambda r: saved(r, "tokens", 1, 9), 0.5),
        *(obeyed(free, 0.5) for free in UNTOLD),
    ),
)
