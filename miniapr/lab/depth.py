"""Sorting by the same weights at several depths of recursion."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..engine.engine import Engine
from ..methods.budget import Budget
from ..methods.outcome import Outcome
from ..methods.play import play
from ..methods.table import METHODS
from ..model.bundle import Bundle
from ..players.sorting import sorting_by_halves
from ..tasks.sorting import LEAF, Numbers, Sorting
from ..train.shares import share
from .arms import Given
from .experiment import Aim, Experiment
from .report import Found, Report

BUDGET = Budget(tokens=4000)  # the teacher needs 1,500 at most


@dataclass(frozen=True)
class Deeper:
    """Lists of each length, forked in the upper 0 to 3 levels: the same lists at every depth. A quarter as many lists
    as other experiments have problems."""

    lengths: tuple[int, ...] = (LEAF, 2 * LEAF, 4 * LEAF)

    def __call__(self, bundle: Bundle, count: int) -> Found:
        found, dice = Found(), random.Random("lab")
        for length in self.lengths:
            lists = [Sorting(length, length).draw(dice) for _ in range(max(1, count // 4))]
            for depth in range(4):
                if depth == 0 or LEAF << depth <= length:
                    found[name(length, depth)] = figures(lists, sort(bundle, lists, depth))
        return found


def name(length: int, depth: int) -> str:
    return f"{length} numbers, depth {depth}"


def sort(bundle: Bundle, lists: Sequence[Numbers], depth: int) -> list[Outcome]:
    player = sorting_by_halves(bundle, levels=depth).player
    method = METHODS["multiverse" if depth else "sequential"]
    engine = Engine(bundle.model, bundle.tokenizer, num_blocks=1024)
    outcomes = [play(engine, method(numbers, player, BUDGET), BUDGET) for numbers in lists]
    return [outcome for outcome in outcomes if outcome]


def figures(lists: Sequence[Numbers], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    errors = [Sorting().errors(outcome.answer, numbers) for outcome, numbers in zip(outcomes, lists, strict=True)]
    costs = [outcome.costs for outcome in outcomes]
    return {
        "right": share([not error for error in errors]),
        "errors": round(statistics.mean(errors), 2),
        "critical": round(statistics.mean(cost.critical for cost in costs), 1),
        "tokens": round(statistics.mean(cost.decoded for cost in costs), 1),
        "largest context": round(statistics.mean(cost.largest_context for cost in costs), 1),
    }


def by_line(report: Report, length: int, depth: int, figure: str) -> float:
    """A figure at a depth, by that of the line."""
    before = report.mean("sorting", name(length, 0), figure)
    return report.mean("sorting", name(length, depth), figure) / before


DEPTH = Experiment(
    "depth",
    "Recursion keeps what is attended to small and the path short (Recursive Models, arXiv 2603.02112); others saw it "
    "only cost time beyond one level (arXiv 2603.02615). Nobody has trained nested threads that share keys and values. "
    "Here one model sorts by halves, and the prompt says how many upper levels are forked: the same work by the same "
    "weights, in line or nested.",
    (Given("sorting", "sorting"),),
    Deeper(),
    (
        Aim(
            "16 numbers: the critical path that one level saves",
            lambda r: 1 - by_line(r, 16, 1, "critical"),
            0.3,
        ),
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
    ),
)
