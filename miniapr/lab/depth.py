"""Sorting by the same weights at several depths of recursion; and deeper than was taught."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..engine.sampling import Sampling
from ..methods.budget import Budget
from ..methods.table import METHODS
from ..model.bundle import Bundle
from ..players.choose import game_of
from ..tasks.sorting import LEAF
from ..train.practice import Practice
from ..train.roles import Recipe
from ..train.rollouts import Rollout, Unit
from .arms import Given, Taught
from .examine import Sampled, figures
from .experiment import Aim, Experiment
from .report import Report
from .starts import ALONE, SMALL

TOKENS = 1000  # of a list of 32, in all branches; the teacher needs 500


def by_depth(bundle: Bundle) -> Mapping[str, Practice]:
    """Lists of each length, forked in the upper levels, as far as there are any: the same lists at every depth."""
    lengths = (LEAF, 2 * LEAF, 4 * LEAF)
    pairs = [(n, depth) for n in lengths for depth in range(3) if depth == 0 or LEAF << depth <= n]
    return {name(n, depth): sorting(bundle, n, depth) for n, depth in pairs}


def name(length: int, depth: int) -> str:
    return f"{length} numbers, depth {depth}"


def sorting(bundle: Bundle, length: int, depth: int) -> Practice:
    """Greedily: to copy a number is not a thing to be sampled."""
    game = game_of(bundle, task="sorting", levels=depth)
    draw, check, player = game.draw, game.player.check, replace(game.player, sampling=Sampling())
    assert draw and check
    return Practice(
        lambda problem, seed: METHODS["multiverse"](problem, player, Budget(tokens=TOKENS)),
        lambda problem, outcome: check(problem, outcome.answer),
        lambda dice, split: draw(dice, length, split),
        player["adaptive"].ask,
    )


def with_context(rollouts: Sequence[Rollout]) -> dict[str, Any]:
    """The usual figures, and the largest context: tokens that one token had before it, at most."""
    return {
        **{figure: figures(rollouts)[figure] for figure in ("right", "critical", "tokens")},
        "largest context": round(statistics.mean(context(rollout.root, 0)[1] for rollout in rollouts), 1),
    }


def context(unit: Unit, before: int) -> tuple[int, int]:
    """Tokens that who goes on after ``unit`` sees, where it saw ``before``; and the largest context within it."""
    seen = before + len(unit.given) + len(unit.written)
    below = [context(thread, seen) for thread in unit.threads]
    after, largest = seen + sum(end - seen for end, _ in below), max([seen - 1, *(most for _, most in below)])
    if unit.then is None:
        return after, largest
    end, most = context(unit.then, after)
    return end, max(largest, most)


def by_line(report: Report, length: int, depth: int, figure: str) -> float:
    """A figure at a depth, by that of the line."""
    return report.mean("sorting", name(length, depth), figure) / report.mean("sorting", name(length, 0), figure)


def deeper(report: Report, arm: str) -> float:
    """What is lost at the second level, on 32 numbers."""
    return report.mean(arm, name(32, 2), "right") - report.mean(arm, name(32, 1), "right")


SHALLOW = Recipe(replace(ALONE, adaptive=0.0, sort=0.6, merge=0.4), levels=1, four=0.0)

DEPTH = Experiment(
    "depth",
    "Recursion keeps what is attended to small and the path short (Recursive Models, arXiv 2603.02112); others saw it "
    "only cost time beyond one level (arXiv 2603.02615). Nobody has trained nested threads that share keys and values. "
    "Here one model sorts by halves, and the prompt says how many upper levels are forked: the same work by the same "
    "weights, in line or nested. `shallow` was never shown more than one level.",
    (
        Given("sorting", "sorting"),
        Taught("shallow", replace(SMALL, joins="both", layers=4, intermediate_size=256, roles=SHALLOW), seeded=True),
    ),
    Sampled(by_depth, figures=with_context, tokens=TOKENS),
    (
        Aim("16 numbers: the critical path that one level saves", lambda r: 1 - by_line(r, 16, 1, "critical"), 0.3),
        Aim("32 numbers: what two levels save", lambda r: 1 - by_line(r, 32, 2, "critical"), 0.4),
        Aim(
            "32 numbers: accuracy at depth 2, minus that in line",
            lambda r: r.mean("sorting", name(32, 2), "right") - r.mean("sorting", name(32, 0), "right"),
            -0.03,
        ),
        Aim(
            "32 numbers: the largest context, smaller at depth 2 by",
            lambda r: 1 - by_line(r, 32, 2, "largest context"),
            0.0,
        ),
        Aim("taught one level: accuracy at two, minus that at one", lambda r: deeper(r, "shallow"), -0.1),
    ),
)
