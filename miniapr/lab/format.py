"""Do demonstrations teach an ability, or only the format in which it is written?"""

from __future__ import annotations

from collections.abc import Mapping

from ..model.bundle import Bundle
from ..rl.practice import Practice, practice
from .arms import Arm, Reinforced
from .examine import Sampled
from .experiment import Aim, Experiment
from .little import taught
from .plans import forced
from .report import Report
from .starts import COIN


def free_and_forked(bundle: Bundle) -> Mapping[str, Practice]:
    """Hard problems: as the model likes, and with the plan put there."""
    return {"free": practice(bundle, counts=(3,)), "forked": forced(bundle)}


def rewarded(begin: Arm) -> Reinforced:
    """A short run for right answers alone, on hard problems."""
    options = {"reward": "correct", "counts": (3,), "prompts": 8, "samples": 8, "steps": 40, "tokens": 200}
    return Reinforced(f"{begin.name}-rl", options, begin)


def gain(report: Report, arm: str, figure: str) -> float:
    return report.mean(f"{arm}-rl", "free", figure) - report.mean(arm, "free", figure)


LINE, EASY, ALL = taught("line", line=1.0), taught("tags-on-easy", line=0.5, forks=2), taught("tags", line=0.5)

FORMAT = Experiment(
    "format",
    "Parallel-R1 (arXiv 2509.07980) and NPR (arXiv 2512.07461) say that demonstrations teach the format, and "
    "reinforcement the ability; ThreadWeaver (arXiv 2512.07843) saw that base models cannot use the format without "
    "ability. A model from nothing is the clean case: shown lines alone, and then told to fork (`line`); shown forks "
    "of problems of two numbers alone (`tags-on-easy`); shown forks of all (`tags`), each by a coin. Then a short "
    "reinforcement for right answers alone, which is said to raise pass@1 and not pass@16.",
    (LINE, EASY, ALL, COIN, rewarded(LINE), rewarded(EASY), rewarded(ALL), rewarded(COIN)),
    Sampled(free_and_forked, samples=16),
    (
        Aim(
            "told to fork: accuracy of the one that was shown forks, minus that of the one shown lines alone",
            lambda r: r.mean("tags", "forked", "right") - r.mean("line", "forked", "right"),
            0.3,
        ),
        Aim(
            "shown forks of easy problems alone: hard ones forked, of those that were not told to",
            lambda r: r.mean("tags-on-easy", "free", "forked"),
            0.2,
        ),
        Aim(
            "told to fork: of the accuracy in line, what the one shown easy forks alone keeps",
            lambda r: r.mean("tags-on-easy", "forked", "right") / r.mean("tags-on-easy", "free", "right in line"),
            0.8,
        ),
        Aim(
            "reinforced: pass@1 of `coin`, which is nearly always right before",
            lambda r: gain(r, "coin", "right"),
            0.01,
        ),
        Aim(
            "what its pass@16 gains less than its pass@1",
            lambda r: gain(r, "coin", "right") - gain(r, "coin", "one of 16"),
            0.0,
        ),
        Aim("reinforced: pass@1 of the one shown all", lambda r: gain(r, "tags", "right"), 0.03),
        Aim(
            "what its pass@16 gains less than its pass@1",
            lambda r: gain(r, "tags", "right") - gain(r, "tags", "one of 16"),
            0.0,
        ),
    ),
)
