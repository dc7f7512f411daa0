"""A model that plans at any width, paid for right answers alone: does it plan wider, and is that all it learns?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..engine.operations import All, Extend, Join, Start
from ..engine.request import Program
from ..engine.sampling import Sampling
from ..methods.adaptive import fork_plan, think, think_thread
from ..methods.grammar import Control
from ..model.bundle import Bundle
from ..players.choose import game_of
from ..tasks import states
from ..train.practice import Practice, practice
from .arms import Reinforced
from .examine import Sampled
from .experiment import Aim, Experiment
from .report import Report
from .starts import WIDE

LONGEST = 200  # tokens of a stretch


def forced(bundle: Bundle) -> Practice:
    """Hard problems whose plan is put there, with every step in it: what is left is to search and to conclude."""
    player, free = game_of(bundle).player, practice(bundle, counts=(3,))
    control, check = player.control, player.check
    assert control and check

    def program(problem: Any, seed: int) -> Program:
        items = bundle.tokenizer.ids(states.steps(problem))
        plan = (control.plan, *items, control.plan_end)
        return whole(player["adaptive"].ask(problem), plan, control, replace(player.sampling, seed=seed))

    def judge(problem: Any, text: str) -> bool:
        return check(problem, player.answer(problem, text, "adaptive"))

    return replace(free, think=program, judge=judge)


def whole(prompt: Any, plan: tuple[int, ...], control: Control, sampling: Sampling) -> Program:
    """A plan that is given, its threads and the conclusion. Gives the text."""
    root = yield Start(prompt, sampling)
    yield Extend(root, plan)
    threads = yield from fork_plan(root, control)
    yield All([think_thread(thread, control, "stitch", LONGEST) for thread in threads])
    yield Join(root, threads, "stitch", (control.join,))
    yield from think(root, control, "stitch", LONGEST)
    return root.text


def free_and_forced(bundle: Bundle) -> Mapping[str, Practice]:
    return {"hard": practice(bundle, counts=(3,)), "forced": forced(bundle)}


def gain(report: Report, kind: str) -> float:
    return report.mean("correct", kind, "right") - report.mean("width", kind, "right")


WIDTH = Experiment(
    "width",
    "APR (arXiv 2504.15466) found that reinforcement learning with a reward for correct answers alone makes a model "
    "spawn more threads, and that little is gained where their number is fixed.",
    (WIDE, Reinforced("correct", {"reward": "correct", "counts": (3,), "steps": 60}, WIDE)),
    Sampled(free_and_forced),
    (
        Aim("accuracy on hard problems: after minus before", lambda r: gain(r, "hard"), 0.2),
        Aim(
            "threads of a fork, after by before",
            lambda r: r.mean("correct", "hard", "width") / r.mean("width", "hard", "width"),
            1.4,
        ),
        Aim(
            "of the gain, the part that is gone where every plan has every step",
            lambda r: 1 - gain(r, "forced") / (gain(r, "hard") or math.nan),
            0.5,
        ),
    ),
)
