"""Does a reward that pays for a short critical path, only where the answer is right, teach when to fork?"""

from __future__ import annotations

from ..train.rl import RLConfig
from .experiment import Aim, Arm, Experiment
from .report import Report

COUNTS = {"counts": (2, 3, 3, 3)}
PAID = ("ratio", "relative")


def shorter(report: Report) -> float | None:
    return min(1 - report.mean(arm, "hard", "critical") / report.before("coin", "hard", "critical") for arm in PAID)


GATE = Experiment(
    "gate",
    "ThreadWeaver (arXiv 2512.07843) pays C + C x P with P = 1 - longest path / all tokens: parallel thinking is paid, "
    "but only where the answer is right. A reward for correct answers alone is said to let forks die out where serial "
    "thinking is the more accurate (Parallel-R1, arXiv 2509.07980).",
    (
        Arm("correct", {"reward": "correct", **COUNTS}),
        Arm("ratio", {"reward": "ratio", **COUNTS}),
        Arm("relative", {"reward": "relative", **COUNTS}),
    ),
    (
        Aim("hard problems are forked by the plain ratio", lambda r: r.mean("ratio", "hard", "forked"), 0.8),
        Aim("and by the ratio to the serial length", lambda r: r.mean("relative", "hard", "forked"), 0.8),
        Aim("their critical path is shorter than before, by both", shorter, 0.18),
        Aim(
            "accuracy on hard problems: after minus before, the worse of both",
            lambda r: min(r.mean(arm, "hard", "right") for arm in PAID) - r.before("coin", "hard", "right"),
            -0.03,
        ),
        Aim(
            "easy problems forked, by the plain ratio minus by that to the serial length",
            lambda r: r.mean("ratio", "easy", "forked") - r.mean("relative", "easy", "forked"),
            0.2,
        ),
        Aim(
            "hard problems forked before, minus after training for correct answers alone",
            lambda r: r.before("coin", "hard", "forked") - r.mean("correct", "hard", "forked"),
            0.2,
        ),
    ),
    RLConfig("").steps,
)
