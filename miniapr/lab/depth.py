"""Recursion by the same weights at several depths, of lists and of puzzles; and deeper than was taught."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from typing import Any

from ..methods.budget import Budget
from ..methods.table import METHODS
from ..model.bundle import Bundle
from ..players.choose import game_of
from ..tasks.sorting import LEAF
from ..train.roles import Recipe
from .arms import Given, Taught
from .experiment import Aim, Experiment
from .report import Found, Report
from .solve import figures, solve
from .starts import ALONE, SMALL

OF_A_LIST, OF_A_PUZZLE = (
    Budget(tokens=1000),
    Budget(tokens=6000),
)  # the teacher needs 500 for 32 numbers, 2,300 for four


def examine(bundle: Bundle, count: int) -> Found:
    """Lists or puzzles, whatever the model plays: the same ones at every depth."""
    return lists(bundle, count) if game_of(bundle).task == "sorting" else puzzles(bundle, count)


def name(count: int, depth: int) -> str:
    return f"{count} numbers, depth {depth}"


def lists(bundle: Bundle, count: int) -> Found:
    """Lists of each length, forked and stitched in the upper levels, as far as there are any."""
    found = Found()
    for length in (LEAF, 2 * LEAF, 4 * LEAF):
        problems = drawn(bundle, length, count)
        for depth in range(3):
            if depth == 0 or LEAF << depth <= length:
                player = game_of(bundle, task="sorting", levels=depth).player
                found[name(length, depth)] = figures(solve(bundle, player, METHODS["multiverse"], problems, OF_A_LIST))
    return found


def puzzles(bundle: Bundle, count: int) -> Found:
    """Three numbers in line, then called in contexts of their own; four, a quarter as many, as no model that ships was
    shown their lines."""
    player, found = game_of(bundle).player, Found()
    line = replace(player, roles={**player.roles, "chain": player["sequential"]})
    for numbers, depths in ((3, (0, 1, 2)), (4, (1, 2))):
        problems = drawn(bundle, numbers, count if numbers == 3 else max(1, count // 4))
        for depth in depths:
            who, think = (player, partial(METHODS["apr"], levels=depth)) if depth else (line, METHODS["sequential"])
            found[name(numbers, depth)] = figures(solve(bundle, who, think, problems, OF_A_PUZZLE))
    return found


def drawn(bundle: Bundle, numbers: int, count: int) -> list[Any]:
    """Held-out problems of so many numbers."""
    dice, draw = random.Random("lab"), game_of(bundle).draw
    assert draw
    return [draw(dice, numbers) for _ in range(count)]


def saved(report: Report, arm: str, kinds: tuple[str, str], figure: str) -> float:
    """The part of a figure that the second of two kinds does without."""
    return 1 - report.mean(arm, kinds[1], figure) / report.mean(arm, kinds[0], figure)


def gained(report: Report, arm: str, before: str, after: str) -> float:
    return report.mean(arm, after, "right") - report.mean(arm, before, "right")


SHALLOW = Recipe(replace(ALONE, adaptive=0.0, sort=0.6, merge=0.4), levels=1, four=0.0)

DEPTH = Experiment(
    "depth",
    "Recursion keeps what is attended to small and the path short (Recursive Models, arXiv 2603.02112); others saw it "
    "only cost time beyond one level (arXiv 2603.02615). Nobody has trained nested threads that share keys and values. "
    "Here one model sorts by halves, and the prompt says how many upper levels are forked: the same work by the same "
    "weights, in line or nested, stitched. `shallow` was never shown more than one level. And `countdown` calls, in "
    "contexts of their own: its children tell a line each, or call in their turn.",
    (
        Given("sorting", "sorting"),
        Given("countdown", "countdown"),
        Taught("shallow", replace(SMALL, joins="both", layers=4, intermediate_size=256, roles=SHALLOW), seeded=True),
    ),
    examine,
    (
        Aim(
            "16 numbers: the critical path that one level saves",
            lambda r: saved(r, "sorting", (name(16, 0), name(16, 1)), "critical"),
            0.3,
        ),
        Aim(
            "32 numbers: what two levels save",
            lambda r: saved(r, "sorting", (name(32, 0), name(32, 2)), "critical"),
            0.4,
        ),
        Aim(
            "32 numbers: accuracy at depth 2, minus that in line",
            lambda r: gained(r, "sorting", name(32, 0), name(32, 2)),
            -0.03,
        ),
        Aim(
            "32 numbers: the largest context, smaller at depth 2 by",
            lambda r: saved(r, "sorting", (name(32, 0), name(32, 2)), "largest context"),
            0.0,
        ),
        Aim(
            "taught one level: accuracy at two, minus that at one",
            lambda r: gained(r, "shallow", name(32, 1), name(32, 2)),
            -0.1,
        ),
        Aim(
            "puzzle of 3 numbers: accuracy of calls at depth 2, minus that in line",
            lambda r: gained(r, "countdown", name(3, 0), name(3, 2)),
            -0.05,
        ),
        Aim(
            "its largest context, smaller at depth 2 than in line by",
            lambda r: saved(r, "countdown", (name(3, 0), name(3, 2)), "largest context"),
            0.2,
        ),
        Aim(
            "puzzle of 4 numbers: the largest context, smaller at depth 2 than at depth 1 by",
            lambda r: saved(r, "countdown", (name(4, 1), name(4, 2)), "largest context"),
            0.2,
        ),
        Aim(
            "its critical path, shorter at depth 2 than at depth 1 by",
            lambda r: saved(r, "countdown", (name(4, 1), name(4, 2)), "critical"),
            0.2,
        ),
    ),
)
