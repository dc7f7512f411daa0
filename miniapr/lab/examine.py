"""What a model does on held-out problems at temperature 1: as it is sampled, not as it is at its surest."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..examine.shares import share
from ..model.bundle import Bundle
from ..rl.practice import Practice, practice
from ..rl.rollouts import Rollout
from ..rl.sampler import Sampler
from .report import Found

AT_ONCE = 200  # rollouts in the engine together


def easy_and_hard(bundle: Bundle) -> dict[str, Practice]:
    """Problems of two numbers and of three."""
    return {"easy": practice(bundle, counts=(2,)), "hard": practice(bundle, counts=(3,))}


def figures(rollouts: Sequence[Rollout]) -> dict[str, Any]:
    """Shares with their 95 % intervals over problems, and means: of the width over those that forked."""
    forked = [rollout for rollout in rollouts if rollout.forked]
    return {
        "right": share([rollout.correct for rollout in rollouts]),
        "right forked": share([rollout.correct for rollout in forked]),
        "right in line": share([rollout.correct for rollout in rollouts if not rollout.forked]),
        "forked": share([rollout.forked for rollout in rollouts]),
        "width": round(statistics.mean(rollout.width for rollout in forked), 2) if forked else None,
        "critical": round(statistics.mean(rollout.critical for rollout in rollouts), 2),
        "tokens": round(statistics.mean(rollout.total for rollout in rollouts), 2),
    }


@dataclass(frozen=True)
class Sampled:
    """Problems of the split "pairs", by kind: the same ones for every model. One rollout of each; where there are
    several, a quarter of the problems."""

    kinds: Callable[[Bundle], Mapping[str, Practice]] = easy_and_hard
    samples: int = 1
    figures: Callable[[Sequence[Rollout]], dict[str, Any]] = figures
    tokens: int = 600  # of one rollout

    def __call__(self, bundle: Bundle, count: int) -> Found:
        sampler, found = Sampler(bundle.model, bundle.tokenizer, tokens=self.tokens), {}
        count = count if self.samples == 1 else max(1, count // 4)
        at_once = max(1, AT_ONCE // self.samples)
        for kind, practised in self.kinds(bundle).items():
            dice = random.Random("lab")  # kinds differ in what is done, where they can
            problems = [practised.draw(dice, "pairs") for _ in range(count)]
            rollouts = []
            for begin in range(0, count, at_once):
                rollouts += sampler.roll(practised, problems[begin : begin + at_once], self.samples)
            found[kind] = self.figures(rollouts)
            if self.samples > 1:
                groups = batched([rollout.correct for rollout in rollouts], self.samples)
                found[kind][f"one of {self.samples}"] = share([any(group) for group in groups])
        return found


def batched(values: Sequence[bool], size: int) -> list[Sequence[bool]]:
    return [values[begin : begin + size] for begin in range(0, len(values), size)]
