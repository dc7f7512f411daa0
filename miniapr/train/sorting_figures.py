"""Held-out figures of a model that sorts, by the length of the list and by how many upper levels are forked: the same
weights, the same lists. All goes through the engine and the methods, so what is measured is what a user gets.

Run as ``python -m miniapr.train.figures FOLDER``.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..engine.engine import Engine
from ..methods.budget import Budget
from ..methods.table import METHODS
from ..model.bundle import Bundle, load
from ..players.sorting import sorting_by_halves
from ..tasks.sorting import LEAF, MOST, Numbers, Sorting
from ..tasks.task import Split
from .shares import quotient, share

LENGTHS = (LEAF, 2 * LEAF, 4 * LEAF, MOST)
BUDGET = Budget(tokens=4000)  # the teacher needs 1,500 at most
AT_ONCE = 32  # lists in the engine


def sorting_figures(
    folder: Path,
    count: int = 100,
    split: Split = "pairs",
    seed: int = 0,
    lengths: Sequence[int] = LENGTHS,
    budget: Budget = BUDGET,
) -> dict[str, Any]:
    """The report of the model in ``folder`` on ``count`` lists of each length."""
    bundle, rng = load(folder), random.Random(f"{split} {seed}")
    report: dict[str, Any] = {}
    for length in lengths:
        lists = [Sorting(length, length).draw(rng, split) for _ in range(count)]
        in_line = _sorted(bundle, lists, 0, budget)
        report[f"{length} numbers"] = {"in line": _row(in_line)} | {
            f"forked in {levels}": _row(found := _sorted(bundle, lists, levels, budget))
            | {"by that in line": quotient(_critical(found), _critical(in_line))}
            for levels in range(1, 4)
            if LEAF << levels <= length
        }
    return report


def _sorted(bundle: Bundle, lists: Sequence[Numbers], levels: int, budget: Budget) -> list[tuple[int, int, int]]:
    """Of each list: errors, critical path, tokens in all."""
    player = sorting_by_halves(bundle, levels=levels).player
    method = METHODS["multiverse" if levels else "sequential"]
    engine = Engine(bundle.model, bundle.tokenizer, num_blocks=2048, record=False)
    found = []
    for begin in range(0, len(lists), AT_ONCE):
        some = lists[begin : begin + AT_ONCE]
        requests = [engine.submit(method(numbers, player, budget), budget.limits) for numbers in some]
        for numbers, request in zip(some, requests, strict=True):
            errors = Sorting().errors(engine.wait(request).answer, numbers)
            found.append((errors, max(branch.critical for branch in request.branches), request.cost.decoded))
    return found


def _critical(found: Sequence[tuple[int, int, int]]) -> list[int]:
    return [critical for _, critical, _ in found]


def _row(found: Sequence[tuple[int, int, int]]) -> dict[str, Any]:
    errors, critical, decoded = zip(*found, strict=True)
    return {
        "right": share([not error for error in errors]),
        "errors": round(statistics.mean(errors), 2),
        "critical path": round(statistics.mean(critical), 1),
        "tokens": round(statistics.mean(decoded), 1),
    }
