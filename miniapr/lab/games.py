"""Rewards that are gamed, and what cures them."""

from __future__ import annotations

from ..train.advantages import Objective
from .arms import Reinforced
from .examine import Sampled
from .experiment import Aim, Experiment
from .starts import COIN

COUNTS = {"counts": (2, 3, 3, 3)}
LITTLE = {"reward": "ratio:rho=0.02", **COUNTS}

GAMES = Experiment(
    "games",
    "A reward is maximised, not what was meant by it. Paid by the thread, a model writes threads that say nothing; "
    "paid for the structure, it forks where nothing is gained; a bonus that counts for wrong answers too is had "
    "without being right; and division by the group's standard deviation blows the smallest bonus up to full size in "
    "every group that is all right, which is why P-GRPO (ThreadWeaver, arXiv 2512.07843) leaves it out.",
    (
        COIN,
        Reinforced("count-threads", {"reward": "count-threads", **COUNTS}, COIN),
        Reinforced("used-structure", {"reward": "used-structure", **COUNTS}, COIN),
        Reinforced("threads-beside", {"reward": "correct-and-threads", **COUNTS}, COIN),
        Reinforced("little-mean", LITTLE, COIN),
        Reinforced("little-std", {**LITTLE, "objective": Objective("std")}, COIN),
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
    ),
)
