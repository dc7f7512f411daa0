"""Plans that are put there, whatever the model would have planned: what is left to it is to search and to conclude."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..engine.operations import All, Extend, Join, Start
from ..engine.request import Program
from ..engine.sampling import Sampling
from ..methods.adaptive import fork_plan, think, think_thread
from ..methods.grammar import Control
from ..model.bundle import Bundle
from ..players.choose import game_of
from ..rl.practice import Practice, practice
from ..tasks import states

LONGEST = 200  # tokens of a stretch

Order = Callable[[Sequence[str], random.Random], list[str]]


def in_order(steps: Sequence[str], dice: random.Random) -> list[str]:
    return list(steps)


def reversed_order(steps: Sequence[str], dice: random.Random) -> list[str]:
    return list(reversed(steps))


def any_order(steps: Sequence[str], dice: random.Random) -> list[str]:
    return dice.sample(steps, len(steps))


def forced(bundle: Bundle, order: Order = in_order, join: str = "stitch") -> Practice:
    """Hard problems whose plan is put there, with every step in it, in an order; its threads are joined by ``join``."""
    player, free = game_of(bundle).player, practice(bundle, counts=(3,))
    control, check = player.control, player.check
    assert control and check

    def program(problem: Any, seed: int) -> Program:
        steps = order(list(states.steps(problem)), random.Random(f"{problem} {seed}"))
        plan = (control.plan, *bundle.tokenizer.ids(steps), control.plan_end)
        return whole(player["adaptive"].ask(problem), plan, control, replace(player.sampling, seed=seed), join)

    def judge(problem: Any, text: str) -> bool:
        return check(problem, player.answer(problem, text, "adaptive"))

    return replace(free, think=program, judge=judge)


def whole(prompt: Any, plan: tuple[int, ...], control: Control, sampling: Sampling, join: str) -> Program:
    """A plan that is given, its threads and the conclusion. Gives the text."""
    root = yield Start(prompt, sampling)
    yield Extend(root, plan)
    threads = yield from fork_plan(root, control)
    yield All([think_thread(thread, control, join, LONGEST) for thread in threads])
    yield Join(root, threads, join, (control.join,))
    yield from think(root, control, join, LONGEST)
    return root.text
