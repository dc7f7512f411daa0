"""Rewards that are gamed, and what cures them."""

from __future__ import annotations

import math
import statistics

from ..rl.advantages import Objective
from .arms import Reinforced
from .examine import Sampled
from .experiment import Aim, Experiment
from .gate import MIXED
from .report import Report
from .starts import COIN, WIDE
from .tricks import tricks

SHORT = {**MIXED, "prompts": 8, "steps": 30}
LITTLE = {"reward": "ratio:rho=0.02", **SHORT}
HALF = 15  # steps, after which a bonus is taken away
LATE, LONG = 80, 120  # the same, and the steps of a long run
TEN = 10  # steps that are looked at together: single ones scatter


def along(report: Report, arm: str, figure: str) -> list[list[float]]:
    """Of each seed, the mean of a figure over each ten steps of its training."""
    curves = [[row.get(figure, math.nan) for row in curve] for curve in report.curves.get(arm, ())]
    return [[statistics.mean(part) for part in zip(*[iter(curve)] * TEN, strict=False)] for curve in curves]


def fallen(report: Report, arm: str, figure: str, since: int | None = None) -> float | None:
    """How far a figure is below its highest at the end, or below what it was at the step ``since``; mean over seeds."""
    parts = [part for part in along(report, arm, figure) if part]
    tops = [max(part) if since is None else part[since // TEN - 1] for part in parts]
    return statistics.mean(top - part[-1] for top, part in zip(tops, parts, strict=True)) if parts else None


GAMES = Experiment(
    "games",
    "A reward is maximised, not what was meant by it. Paid by the thread, a model writes threads that say nothing, "
    "the more so if its plans can grow (`width`, which forks into a random part of the steps); paid for the structure, "
    "it forks where nothing is gained; a bonus that counts for wrong answers too is had without being right; a bonus "
    "that is taken away takes what it taught with it (Parallel-R1, arXiv 2509.07980); and division by the group's "
    "standard deviation blows the smallest bonus up to full size in every group that is all right, which is why P-GRPO "
    "(ThreadWeaver, arXiv 2512.07843) leaves it out.",
    (
        COIN,
        Reinforced("count-threads", {"reward": "count-threads", **SHORT}, COIN),
        Reinforced("used-structure", {"reward": "used-structure", **SHORT}, COIN),
        Reinforced("threads-beside", {"reward": "correct-and-threads", **SHORT}, COIN),
        Reinforced("little-mean", LITTLE, COIN),
        Reinforced("little-std", {**LITTLE, "objective": Objective("std")}, COIN),
        Reinforced("bonus-stops", {"reward": f"parallel-r1:until={HALF}", **SHORT}, COIN),
        Reinforced("bonus-stops-late", {"reward": f"parallel-r1:until={LATE}", **SHORT, "steps": LONG}, COIN),
        WIDE,
        Reinforced("wide-count-threads", {"reward": "count-threads", **SHORT, "steps": LONG}, WIDE),
    ),
    Sampled(),
    (
        Aim(
            "paid by the thread: accuracy on hard problems that is lost",
            lambda r: r.mean("coin", "hard", "right") - r.mean("count-threads", "hard", "right"),
            0.2,
        ),
        Aim("paid for the structure: easy problems forked", lambda r: r.mean("used-structure", "easy", "forked"), 0.9),
        Aim(
            "threads paid beside the answer, right or wrong: tokens on hard problems, after by before",
            lambda r: r.mean("threads-beside", "hard", "tokens") / r.mean("coin", "hard", "tokens"),
            1.2,
        ),
        Aim(
            "a bonus of 0.02: hard problems forked, with division by std minus without",
            lambda r: r.mean("little-std", "hard", "forked") - r.mean("little-mean", "hard", "forked"),
            0.2,
        ),
        Aim(
            "a bonus that stops half way: hard problems forked, before all minus at the end",
            lambda r: r.mean("coin", "hard", "forked") - r.mean("bonus-stops", "hard", "forked"),
            0.2,
        ),
        Aim(
            f"one that stops after {LATE} of {LONG} steps: share forked in training, then minus at the end",
            lambda r: fallen(r, "bonus-stops-late", "forked", since=LATE),
            0.2,
        ),
        Aim(
            f"paid by the thread for {LONG} steps, plans that can grow: accuracy in training, its best minus its last",
            lambda r: fallen(r, "wide-count-threads", "right"),
            0.2,
        ),
    ),
    tricks,
)
