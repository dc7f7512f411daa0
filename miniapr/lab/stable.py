"""How surely reinforcement ends where it should, and what says early that it will not."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from ..rl.advantages import Objective
from ..tasks.roles import Teacher
from .arms import Arm, Reinforced
from .examine import Sampled
from .experiment import Aim, Experiment
from .gate import MIXED
from .report import Report
from .starts import COIN, taught

SHORT = {**MIXED, "prompts": 8, "steps": 20, "reward": "ratio"}
FIRST = 5  # steps that are to tell how a run will end

# Nearly always in line: nothing is left to choose from.
SURE = taught("sure", Teacher(full=1.0, narrow=0.0, tries=0, line=0.98), COIN)

ARMS: tuple[Arm, ...] = (
    Reinforced("plain", SHORT, COIN),
    Reinforced("std", {**SHORT, "objective": Objective("std")}, COIN),
    Reinforced("kl", {**SHORT, "objective": Objective(kl=0.1)}, COIN),
    Reinforced("again", {**SHORT, "updates": 4}, COIN),
    Reinforced("again-clipped", {**SHORT, "updates": 4, "objective": Objective(clip=(0.2, 0.2))}, COIN),
    Reinforced("fast", {**SHORT, "rate": 2e-3}, COIN),
    Reinforced("small-groups", {**SHORT, "samples": 3, "prompts": 21}, COIN),
    Reinforced("from-sure", SHORT, SURE),
)


def early(report: Report, figure: str) -> float:
    """Over all runs: how a figure's mean of the first steps goes with the share of hard problems forked at the end;
    Pearson's correlation."""
    names = [arm.name for arm in ARMS if arm.name in report.curves]
    before = [statistics.mean(row[figure] for row in curve[:FIRST]) for name in names for curve in report.curves[name]]
    after = [value for name in names for value in report.values(name, "hard", "forked")]
    return correlation(before, after)


def correlation(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Pearson's; NaN where one of the two does not vary."""
    try:
        return statistics.correlation(xs, ys)
    except statistics.StatisticsError:
        return math.nan


def spread(report: Report, arm: str) -> float:
    values = report.values(arm, "hard", "forked")
    return max(values) - min(values)


STABLE = Experiment(
    "stable",
    "Training of this kind is said to be fragile: over many updates of a batch it needs a clip (PPO, arXiv "
    "1707.06347), a high rate ruins it, small groups make it noisy, a model that was taught one way only has nothing "
    "to choose from, and the share of groups without a gradient is said to predict how a run ends. The ratio's reward, "
    "twenty short steps, and one thing changed at a time.",
    (COIN, SURE, *ARMS),
    Sampled(),
    (
        Aim("plain: hard problems forked", lambda r: r.mean("plain", "hard", "forked"), 0.7),
        Aim("plain: the same over all seeds but for at most 20 points", lambda r: -spread(r, "plain"), -0.2),
        Aim(
            "from a model that is sure: hard problems forked, less than plain by",
            lambda r: r.mean("plain", "hard", "forked") - r.mean("from-sure", "hard", "forked"),
            0.3,
        ),
        Aim(
            "four updates a batch: accuracy on hard problems, with a clip minus without",
            lambda r: r.mean("again-clipped", "hard", "right") - r.mean("again", "hard", "right"),
            0.05,
        ),
        Aim(
            "four times the rate: accuracy on hard problems that is lost",
            lambda r: r.mean("plain", "hard", "right") - r.mean("fast", "hard", "right"),
            0.05,
        ),
        Aim(
            "more groups without variance in the first steps, fewer forks at the end: correlation over all runs, "
            "its sign changed",
            lambda r: -early(r, "flat"),
            0.5,
        ),
        Aim(
            "more entropy at the first token in the first steps, more forks at the end: correlation over all runs",
            lambda r: early(r, "decision"),
            0.5,
        ),
    ),
)
