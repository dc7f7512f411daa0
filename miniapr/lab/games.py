"""Rewards that are gamed, and what cures them."""

from __future__ import annotations

from ..train.advantages import Objective
from .arms import Reinforced
from .examine import Sampled
from .experiment import Aim, Experiment
from .gate import MIXED
from .starts import COIN
from .tricks import tricks

SHORT = {**MIXED, "prompts": 8, "steps": 30}
LITTLE = {"reward": "ratio:rho=0.02", **SHORT}
HALF = 15  # steps, after which a bonus is taken away

GAMES = Experiment(
    "games",
    "A reward is maximised, not what was meant by it. Paid by the thread, a model writes threads that say nothing; "
    "paid for the structure, it forks where nothing is gained; a bonus that counts for wrong answers too is had "
    "without being right; a bonus that is taken away takes what it taught with it (Parallel-R1, arXiv 2509.07980); and "
    "division by the group's standard deviation blows the smallest bonus up to full size in every group that is all "
    "right, which is why P-GRPO (ThreadWeaver, arXiv 2512.07843) leaves it out.",
    (
        COIN,
        Reinforced("count-threads", {"reward": "count-threads", **SHORT}, COIN),
        Reinforced("used-structure", {"reward": "used-structure", **SHORT}, COIN),
        Reinforced("threads-beside", {"reward": "correct-and-threads", **SHORT}, COIN),
        Reinforced("little-mean", LITTLE, COIN),
        Reinforced("little-std", {**LITTLE, "objective": Objective("std")}, COIN),
        Reinforced("bonus-stops", {"reward": f"parallel-r1:until={HALF}", **SHORT}, COIN),
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
    ),
    tricks,
)
