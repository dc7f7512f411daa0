"""A model that plans at any width, paid for right answers alone: does it plan wider, and is that all it learns?"""

from __future__ import annotations

from collections.abc import Mapping

from ..model.bundle import Bundle
from ..rl.practice import Practice, practice
from .arms import Reinforced
from .examine import Sampled
from .experiment import Aim, Experiment
from .plans import forced
from .report import Report
from .starts import WIDE


def free_and_forced(bundle: Bundle) -> Mapping[str, Practice]:
    return {"hard": practice(bundle, counts=(3,)), "forced": forced(bundle)}


def gain(report: Report, kind: str) -> float:
    return report.mean("correct", kind, "right") - report.mean("width", kind, "right")


WIDTH = Experiment(
    "width",
    "APR (arXiv 2504.15466) found that reinforcement learning with a reward for correct answers alone makes a model "
    "spawn more threads, and that little is gained where their number is fixed.",
    (WIDE, Reinforced("correct", {"reward": "correct", "counts": (3,), "prompts": 8}, WIDE)),
    Sampled(free_and_forced),
    (
        Aim("accuracy on hard problems: after minus before", lambda r: gain(r, "hard"), 0.2),
        Aim(
            "threads of a fork, after by before",
            lambda r: r.mean("correct", "hard", "width") / r.mean("width", "hard", "width"),
            1.4,
        ),
        Aim(
            "of the gain, the part that is gone where every plan has every step",
            lambda r: 1 - gain(r, "forced") / gain(r, "hard") if gain(r, "hard") > 0 else None,
            0.5,
        ),
    ),
)
