"""What carries over: from one search order to another, and what a reward taught from one task to another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..model.bundle import Bundle
from ..rl.practice import Practice, practice
from ..tasks.roles import Teacher
from .arms import Given, Reinforced, Taught
from .examine import Sampled
from .experiment import Aim, Experiment
from .gate import MIXED
from .little import onward
from .plans import any_order, forced, reversed_order
from .report import Report
from .starts import ALONE, COIN, RECIPE


def by_order(bundle: Bundle) -> Mapping[str, Practice]:
    return {
        "own plan": practice(bundle, counts=(3,)),
        "in order": forced(bundle),
        "reversed": forced(bundle, reversed_order),
        "any order": forced(bundle, any_order),
    }


def lost(report: Report, arm: str, kind: str) -> float:
    return report.mean(arm, "in order", "right") - report.mean(arm, kind, "right")


def lists(bundle: Bundle, count: int) -> Practice:
    return practice(bundle, counts=(count,), task="sorting", levels=1)


def on_lists(bundle: Bundle) -> Mapping[str, Practice]:
    """Puzzles, and lists that the model forks or does not, as it likes; of those that know both."""
    if "sort" not in bundle.about["roles"]:
        return by_order(bundle)
    hard = {"puzzles": practice(bundle, counts=(3,))}
    return {**hard, **{f"lists of {count}": lists(bundle, count) for count in LISTS}}


def forked(report: Report, arm: str, before: str, kind: str) -> float:
    """Share forked, after minus before."""
    return report.mean(arm, kind, "forked") - report.mean(before, kind, "forked")


SHUFFLED = replace(RECIPE, teacher=Teacher(full=1.0, narrow=0.0, tries=0, line=0.5, shuffled=1.0))

# Puzzles and lists, forked or in line by a coin that no prompt shows. It begins with the model that sorts, since that
# takes longer to learn than the puzzles of this lab.
LISTS = (12, 16)
GENTLY = {**MIXED, "rate": 1.5e-4}  # at the usual rate what it knows of lists is shaken, in whatever direction
BOTH = Taught(
    "two-tasks",
    replace(
        COIN.config,
        tokens=3_000_000,
        layers=4,
        intermediate_size=256,
        roles=replace(
            COIN.config.roles,
            shares=replace(ALONE, adaptive=0.55, sort=0.4, merge=0.05),
            levels=1,
            levels_hidden=True,
            longest=max(LISTS),
        ),
    ),
    begin=Given("sorting", "sorting"),
)

TRANSFER = Experiment(
    "transfer",
    "Whether what is learned from one search carries over to another is open: models taught by a solver's traces (APR, "
    "arXiv 2504.15466; Stream of Search, arXiv 2404.03683) have been tested on the searches that they were taught. "
    "Here every plan of the demonstrations names all first steps, sums before differences before products (`coin`); or "
    "the model was shown plans in any order after that, for 200,000 tokens (`any-order`). The test puts "
    "plans there: in the order of the demonstrations, reversed, in any. The threads are the same in all of them; only "
    "who reads their results has to find them at other places. And `two-tasks` knows puzzles and lists, and forks both "
    "by a coin: rewarded on puzzles alone for forking (`puzzles-ratio`) or for not (`puzzles-relative`), does it fork "
    "lists more or less often? `gently`: the same at 0.3 of the rate.",
    (
        COIN,
        Taught("any-order", onward(replace(COIN.config, roles=SHUFFLED)), seeded=True, begin=COIN),
        BOTH,
        Reinforced("puzzles-ratio", {"reward": "ratio", **MIXED}, BOTH),
        Reinforced("puzzles-relative", {"reward": "relative", **MIXED}, BOTH),
        Reinforced("gently-ratio", {"reward": "ratio", **GENTLY}, BOTH),
        Reinforced("gently-relative", {"reward": "relative", **GENTLY}, BOTH),
    ),
    Sampled(on_lists),
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
        Aim(
            "rewarded for forking puzzles: lists of 16 forked, after minus before",
            lambda r: forked(r, "puzzles-ratio", "two-tasks", "lists of 16"),
            0.2,
        ),
        Aim(
            "rewarded for puzzles in line: lists of 16 forked, before minus after",
            lambda r: -forked(r, "puzzles-relative", "two-tasks", "lists of 16"),
            0.1,
        ),
        Aim(
            "rewarded for forking puzzles: accuracy on lists of 16, after minus before",
            lambda r: r.mean("puzzles-ratio", "lists of 16", "right") - r.mean("two-tasks", "lists of 16", "right"),
            -0.03,
        ),
        Aim(
            "gently for forking puzzles: lists of 16 forked, minus after gently for puzzles in line",
            lambda r: (
                r.mean("gently-ratio", "lists of 16", "forked") - r.mean("gently-relative", "lists of 16", "forked")
            ),
            0.1,
        ),
        Aim(
            "gently for forking puzzles: accuracy on lists of 16, after minus before",
            lambda r: r.mean("gently-ratio", "lists of 16", "right") - r.mean("two-tasks", "lists of 16", "right"),
            -0.05,
        ),
    ),
)
