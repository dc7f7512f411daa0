"""Trained for one join, joined by another; and what it takes to cure that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..model.bundle import Bundle
from ..rl.practice import Practice
from .arms import Taught
from .examine import Sampled
from .experiment import Aim, Experiment
from .little import onward, taught
from .plans import forced
from .reader import Adapted
from .report import Report
from .starts import COIN

JOINS = ("stitch", "stitch_contiguous", "reprefill")


def by_join(bundle: Bundle) -> Mapping[str, Practice]:
    """The same hard problems, and the same threads, joined in each way."""
    return {join: forced(bundle, join=join) for join in JOINS}


def loss(report: Report, arm: str, own: str, other: str) -> float:
    return report.mean(arm, own, "right") - report.mean(arm, other, "right")


def back(report: Report, arm: str, begun: str) -> float:
    """Of what re-prefill loses, the part that an arm brings back."""
    gain = report.mean(arm, "reprefill", "right") - report.mean(begun, "reprefill", "right")
    return gain / loss(report, begun, "stitch", "reprefill")


TO_THE_END = 2_000_000  # tokens, after which the loss hardly falls

# Both joins are shown to what goes on from a model that was trained for the stitch.
FURTHER = onward(replace(COIN.config, joins="both"))

SHIFT = Experiment(
    "shift",
    "What a model sees after a join is not what it was trained on if the join is another: positions overlap or do not, "
    "threads have read each other or have not (Multiverse, arXiv 2506.09991, trains for the stitch; ThreadWeaver, "
    "arXiv 2512.07843, for the text read again). Parallel-Synthesis (arXiv 2606.14672) leaves the model as it is and "
    "trains a low-rank change of the reader and a mapper of the cache. Here: models of a little problem, trained for "
    "one join or for both, with equal tokens: `reprefill` on plain texts, in which each thread reads those before it, "
    "`trie` on each thread as it is written and on the text that is read again; and one that was trained for the "
    "stitch to the end (`coin`), with a low-rank change alone, shown both joins for 200,000 tokens, and beside it all "
    "weights for as long.",
    (
        *(taught(joins, joins, tokens=TO_THE_END) for joins in ("stitch", "reprefill", "both", "trie")),
        COIN,
        Adapted("coin-then-change", replace(FURTHER, adam_rate=1e-2), COIN),
        Adapted("coin-then-longer-change", replace(FURTHER, adam_rate=1e-2, tokens=800_000), COIN),
        Adapted("coin-then-longest-change", replace(FURTHER, adam_rate=1e-2, tokens=2_400_000), COIN),
        Taught("coin-then-all", FURTHER, seeded=True, begin=COIN),
    ),
    Sampled(by_join),
    (
        Aim(
            "trained for stitch: accuracy that re-prefill loses",
            lambda r: loss(r, "stitch", "stitch", "reprefill"),
            0.2,
        ),
        Aim(
            "for re-prefill: accuracy that a stitch loses",
            lambda r: loss(r, "reprefill", "reprefill", "stitch"),
            0.2,
        ),
        Aim(
            "for both: the worse of the two, minus that of training for one",
            lambda r: min(
                r.mean("both", join, "right") - r.mean(join, join, "right") for join in ("stitch", "reprefill")
            ),
            -0.05,
        ),
        Aim(
            "shown the text that is read again, and each thread as it is written: accuracy by re-prefill",
            lambda r: r.mean("trie", "reprefill", "right"),
            0.9,
        ),
        Aim(
            "the same: accuracy that a stitch loses",
            lambda r: loss(r, "trie", "reprefill", "stitch"),
            0.2,
        ),
        Aim(
            "for stitch, to the end: accuracy that re-prefill loses",
            lambda r: loss(r, "coin", "stitch", "reprefill"),
            0.2,
        ),
        Aim(
            "the low-rank change: of what re-prefill loses, the part that it brings back",
            lambda r: back(r, "coin-then-change", "coin"),
            0.8,
        ),
        Aim(
            "the low-rank change: accuracy by stitch, after minus before",
            lambda r: r.mean("coin-then-change", "stitch", "right") - r.mean("coin", "stitch", "right"),
            -0.03,
        ),
        Aim(
            "the same, trained four times as long: the part that it brings back",
            lambda r: back(r, "coin-then-longer-change", "coin"),
            0.8,
        ),
        Aim(
            "the same, trained twelve times as long: the part that it brings back",
            lambda r: back(r, "coin-then-longest-change", "coin"),
            0.8,
        ),
        Aim("all weights: the part that they bring back", lambda r: back(r, "coin-then-all", "coin"), 0.8),
    ),
)
