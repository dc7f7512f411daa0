"""Does a reward that pays for a short critical path, only where the answer is right, teach when to fork?"""

from __future__ import annotations

from .arms import Reinforced
from .examine import Sampled
from .experiment import Aim, Experiment
from .report import Report
from .starts import COIN

HALF = {"counts": (2, 3)}  # as many easy problems as hard ones
MOST = {"counts": (2, 3, 3, 3)}


def shorter(report: Report, arm: str) -> float:
    return 1 - report.mean(arm, "hard", "critical") / report.mean("coin", "hard", "critical")


def apart(report: Report, arm: str) -> float:
    return report.mean(arm, "hard", "forked") - report.mean(arm, "easy", "forked")


GATE = Experiment(
    "gate",
    "ThreadWeaver (arXiv 2512.07843) pays C + C x P with P = 1 - longest path / all tokens: parallel thinking is paid, "
    "but only where the answer is right. A reward for correct answers alone is said to let forks die out where serial "
    "thinking is the more accurate (Parallel-R1, arXiv 2509.07980). P relative to the serial length (`relative`) makes "
    "a fork cost where it does not pay: it should tell easy problems from hard ones.",
    (
        COIN,
        Reinforced("correct", {"reward": "correct", **HALF}, COIN),
        Reinforced("ratio", {"reward": "ratio", **HALF}, COIN),
        Reinforced("relative", {"reward": "relative", **HALF}, COIN),
        Reinforced("relative-mostly-hard", {"reward": "relative", **MOST}, COIN),
    ),
    Sampled(),
    (
        Aim("ratio: hard problems forked", lambda r: r.mean("ratio", "hard", "forked"), 0.8),
        Aim("ratio: their critical path, shorter by", lambda r: shorter(r, "ratio"), 0.18),
        Aim(
            "ratio: accuracy on them, after minus before",
            lambda r: r.mean("ratio", "hard", "right") - r.mean("coin", "hard", "right"),
            -0.03,
        ),
        Aim("relative: hard problems forked", lambda r: r.mean("relative", "hard", "forked"), 0.8),
        Aim("relative: hard problems forked, minus easy ones", lambda r: apart(r, "relative"), 0.2),
        Aim(
            "relative, where three of four problems are hard: the same",
            lambda r: apart(r, "relative-mostly-hard"),
            0.2,
        ),
        Aim(
            "correct: hard problems forked, before minus after",
            lambda r: r.mean("coin", "hard", "forked") - r.mean("correct", "hard", "forked"),
            0.2,
        ),
    ),
)
