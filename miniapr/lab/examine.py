"""What a model does on held-out problems at temperature 1: as it is sampled, not as it is at its surest."""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ..train.practice import Practice
from ..train.rollouts import Rollout
from ..train.sampler import Sampler
from ..train.shares import share

AT_ONCE = 200  # problems in the engine together


def examine(sampler: Sampler, kinds: Mapping[str, Practice], count: int, seed: int = 0) -> dict[str, Any]:
    """One rollout of each of ``count`` problems of the split "pairs", by kind: the same ones for every model."""
    report = {}
    for kind, practice in kinds.items():
        dice = random.Random(f"lab {kind}")
        problems = [practice.draw(dice, "pairs") for _ in range(count)]
        rollouts = []
        for begin in range(0, count, AT_ONCE):
            rollouts += sampler.roll(practice, problems[begin : begin + AT_ONCE], 1, seed)
        report[kind] = figures(rollouts)
    return report


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
