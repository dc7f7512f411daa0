"""Does a reward that pays for a short critical path, only where the answer is right, teach when to fork?"""

from __future__ import annotations

from .arms import Reinforced
from .examine import Sampled
from .experiment import Aim, Experiment
from .report import Report
from .starts import COIN, LEAN, MORE

# The teacher's critical path in line and forked is 44.8 and 24.9 tokens for hard problems, 6.6 and 10.9 for easy ones
# (means of 1,500). So a fork saves 0.44 of what is usual or loses 0.65 of it, and with two easy problems to three hard
# ones the two pulls weigh alike. But of the problem's own line it saves 0.07 of a hard one in the mean, as a quarter is
# solved in 14 tokens: ``relative`` pulls in line, though forks would nearly halve what is waited for.
MIXED = {"counts": (2, 2, 3, 3, 3), "prompts": 12}
USUAL = {"reward": "relative-usual", **MIXED}


def shorter(report: Report, arm: str, begun: str = "coin") -> float:
    return 1 - report.mean(arm, "hard", "critical") / report.mean(begun, "hard", "critical")


def apart(report: Report, arm: str) -> float:
    """Hard problems forked, minus easy ones."""
    return report.mean(arm, "hard", "forked") - report.mean(arm, "easy", "forked")


def leaning(start: str) -> tuple[Aim, ...]:
    """Of a start that forks hard problems more often than easy ones from the beginning."""
    after = f"{start}-usual"
    return (
        Aim(f"{after}: hard problems forked", lambda r: r.mean(after, "hard", "forked"), 0.8),
        Aim(f"{after}: hard minus easy", lambda r: apart(r, after), 0.4),
        Aim(f"{after}: hard minus easy, more than before by", lambda r: apart(r, after) - apart(r, start), 0.2),
        Aim(f"{after}: critical path, shorter by", lambda r: shorter(r, after, start), 0.18),
    )


GATE = Experiment(
    "gate",
    "ThreadWeaver (arXiv 2512.07843) pays C + C x P with P = 1 - longest path / all tokens: parallel thinking is paid, "
    "but only where the answer is right. A reward for correct answers alone is said to let forks die out where serial "
    "thinking is the more accurate (Parallel-R1, arXiv 2509.07980). P relative to the serial length makes a fork cost "
    "where it does not pay: it should tell easy problems from hard ones, be it the problem's own length (`relative`) "
    "or what is usual for its like (`usual`); from a model that forks both kinds alike, or from one that forks hard "
    "problems more often than easy ones (shown 60 and 40 %, `lean`, or 80 and 20 %, `lean-more`).",
    (
        COIN,
        Reinforced("correct", {"reward": "correct", **MIXED}, COIN),
        Reinforced("ratio", {"reward": "ratio", **MIXED}, COIN),
        Reinforced("relative", {"reward": "relative", **MIXED}, COIN),
        Reinforced("usual", USUAL, COIN),
        Reinforced("usual-long", {**USUAL, "steps": 120}, COIN),
        Reinforced("usual-large", {**USUAL, "prompts": 24}, COIN),
        LEAN,
        Reinforced("lean-usual", USUAL, LEAN),
        MORE,
        Reinforced("lean-more-usual", USUAL, MORE),
        Reinforced("lean-more-ratio", {"reward": "ratio", **MIXED}, MORE),
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
        Aim("relative: their critical path, shorter by", lambda r: shorter(r, "relative"), 0.18),
        Aim("relative: hard problems forked, minus easy ones", lambda r: apart(r, "relative"), 0.2),
        Aim(
            "easy problems forked: under the ratio, minus under relative",
            lambda r: r.mean("ratio", "easy", "forked") - r.mean("relative", "easy", "forked"),
            0.2,
        ),
        Aim("usual: hard problems forked", lambda r: r.mean("usual", "hard", "forked"), 0.8),
        Aim("usual: their critical path, shorter by", lambda r: shorter(r, "usual"), 0.18),
        Aim("usual: hard problems forked, minus easy ones", lambda r: apart(r, "usual"), 0.2),
        Aim("usual, three times as long: hard minus easy", lambda r: apart(r, "usual-long"), 0.2),
        Aim("usual, twice as many problems a step: hard minus easy", lambda r: apart(r, "usual-large"), 0.2),
        *(aim for start in ("lean", "lean-more") for aim in leaning(start)),
        Aim(
            "from lean-more: easy problems forked: under the ratio, minus under usual",
            lambda r: r.mean("lean-more-ratio", "easy", "forked") - r.mean("lean-more-usual", "easy", "forked"),
            0.2,
        ),
        Aim(
            "correct: hard problems forked, before minus after",
            lambda r: r.mean("coin", "hard", "forked") - r.mean("correct", "hard", "forked"),
            0.2,
        ),
    ),
)
