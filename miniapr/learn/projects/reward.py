"""The open task "reward": train a model by a reward, and see how long it makes one wait for a right answer."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from pathlib import Path

import torch

from ...model.decoder import Decoder
from ...rl.advantages import Objective, advantages
from ...rl.rewards import Reward, pay, read_reward
from ...rl.rollouts import Rollout
from ...rl.sampler import Sampler
from ...rl.update import learn, lessons
from ...train.optim import Optimizer
from .. import maze
from . import Project, Score, mean_cost
from .own import function

STEPS, PROMPTS, SAMPLES, EXAMINED, WRONG = 16, 12, 8, 64, 60
TEXT = f"""\
Write `reward(rollout, step) -> float`: what a rollout in chapter 14's maze is paid. It knows `rollout.correct`,
`.critical`, `.total`, `.serial`, `.forked`, `.width`, the tree itself as `.root`, and `.problem`.

The model of that chapter, which throws a coin for each problem, is trained by it for {STEPS} steps of {PROMPTS}
problems with {SAMPLES} tries each, from one seed. Then it thinks about problems that it has not seen, easy and
hard ones, at temperature 1. A problem costs the critical path of the answer, or {WRONG} where that is wrong.
The less the better: fork where it pays, stay right, learn fast.

Do not pay for what you do not want. What is best, if the model was left as it is?"""


@functools.cache
def start() -> Decoder:
    """The model that every reward begins with."""
    return maze.taught(steps=200, batch=24)


def trained(reward: Reward, seed: int = 1) -> Decoder:
    """The start after reinforcement. Raises ValueError for a reward that is no finite number."""
    model, dice = Decoder(start().config), random.Random(seed)
    model.load_state_dict(start().state_dict())
    sampler, optimizer = Sampler(model, maze.Signs(), tokens=300, blocks=4096), Optimizer(model, None, 1e-3)  # type: ignore[arg-type]
    for step in range(STEPS):
        problems = [maze.draw(dice, number % 2 == 0) for number in range(PROMPTS)]
        tries = sampler.roll(maze.PRACTICE, problems, SAMPLES, dice.getrandbits(40))
        paid = torch.tensor(pay(reward, tries, step), dtype=torch.float64).view(PROMPTS, SAMPLES)
        learn(model, optimizer, lessons(tries, advantages(paid, "mean").flatten().tolist(), "token"), Objective())
        sampler.renew(model)
    return model


def score(reward: Reward | None) -> Score:
    """Of a reward; None: of the model that was left as it is."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so that the weights follow from the seed
    try:
        model = trained(reward) if reward else start()
        sampler = Sampler(model, maze.Signs(), tokens=300, blocks=4096)  # type: ignore[arg-type]
        problems = [maze.draw(random.Random(1000 + number), number % 2 == 0) for number in range(EXAMINED)]
        tries = sampler.roll(maze.PRACTICE, problems, 4)
    finally:
        torch.set_num_threads(threads)
    says = f"{_share(tries, lambda t: t.correct):.0%} right, forked: easy "
    says += f"{_share([t for t in tries if not t.problem.hard], lambda t: t.forked):.0%}, hard "
    says += f"{_share([t for t in tries if t.problem.hard], lambda t: t.forked):.0%}"
    return Score(mean_cost(t.critical if t.correct else WRONG for t in tries), says)


def _share(tries: list[Rollout], which: Callable[[Rollout], bool]) -> float:
    return sum(map(which, tries)) / max(1, len(tries))


PROJECT = Project(
    "reward",
    "A reward that teaches when to fork",
    TEXT,
    "tokens until the answer",
    {
        "no training": lambda: score(None),
        "correct": lambda: score(read_reward("correct")),
        "ratio": lambda: score(read_reward("ratio")),
        "relative:rho=1": lambda: score(read_reward("relative:rho=1")),
    },
    lambda file: score(function(Path(file), "reward")),
)
