"""Demonstrations made by one search order, tested on another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..model.bundle import Bundle
from ..tasks.roles import Teacher
from ..train.practice import Practice, practice
from .arms import Taught
from .examine import Sampled
from .experiment import Aim, Experiment
from .little import onward
from .plans import any_order, forced, reversed_order
from .report import Report
from .starts import COIN, RECIPE


def by_order(bundle: Bundle) -> Mapping[str, Practice]:
    return {
        "own plan": practice(bundle, counts=(3,)),
        "in order": forced(bundle),
        "reversed": forced(bundle, reversed_order),
        "any order": forced(bundle, any_order),
    }


def lost(report: Report, arm: str, kind: str) -> float:
    return report.mean(arm, "in order", "right") - report.mean(arm, kind, "right")


MIXED = replace(RECIPE, teacher=Teacher(full=1.0, narrow=0.0, tries=0, line=0.5, shuffled=1.0))

TRANSFER = Experiment(
    "transfer",
    "Whether what is learned from one search carries over to another is open: models taught by a solver's traces (APR, "
    "arXiv 2504.15466; Stream of Search, arXiv 2404.03683) have been tested on the searches that they were taught. "
    "Here every plan of the demonstrations names all first steps, sums before differences before products (`coin`); or "
    "the model was shown plans in any order after that, for 200,000 tokens (`any-order`). The test puts "
    "plans there: in the order of the demonstrations, reversed, in any. The threads are the same in all of them; only "
    "who reads their results has to find them at other places.",
    (COIN, Taught("any-order", onward(replace(COIN.config, roles=MIXED)), seeded=True, begin=COIN)),
    Sampled(by_order),
    (
        Aim("taught in order: accuracy that a reversed plan loses", lambda r: lost(r, "coin", "reversed"), 0.1),
        Aim("taught in order: accuracy that plans in any order lose", lambda r: lost(r, "coin", "any order"), 0.1),
        Aim(
            "taught in any order: accuracy on reversed plans, minus that on ordered ones",
            lambda r: -lost(r, "any-order", "reversed"),
            -0.05,
        ),
        Aim(
            "taught in any order: accuracy on ordered plans, minus that of one taught in order",
            lambda r: r.mean("any-order", "in order", "right") - r.mean("coin", "in order", "right"),
            -0.05,
        ),
    ),
)
