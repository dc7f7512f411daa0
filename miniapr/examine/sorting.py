"""Held-out figures of a model that sorts, by the length of the list and by how many upper levels are forked: the same
weights, the same lists. All goes through the engine and the methods, so what is measured is what a user gets.

Run as ``python -m miniapr.examine.figures FOLDER``.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..engine.engine import Engine
from ..methods.budget import Budget
from ..methods.outcome import Outcome
from ..methods.play import play_all
from ..methods.table import METHODS
from ..model.bundle import Bundle, load
from ..players.sorting import sorting_by_halves
from ..tasks.sorting import LEAF, MOST, Numbers, Sorting, sort
from ..tasks.task import Split
from .shares import quotient, share

LENGTHS = (LEAF, 2 * LEAF, 4 * LEAF, MOST)
AT_ONCE = 32  # lists in the engine


def sorting_figures(
    folder: Path,
    count: int = 100,
    split: Split = "pairs",
    seed: int = 0,
    lengths: Sequence[int] = LENGTHS,
) -> dict[str, Callable[[], dict[str, Any]]]:
    """The figures of the model in ``folder`` on ``count`` lists of each length: what makes them, by their names."""
    bundle, rng = load(folder), random.Random(f"{split} {seed}")
    drawn = {length: [Sorting(length, length).draw(rng, split) for _ in range(count)] for length in lengths}
    return {f"{length} numbers": partial(_by_level, bundle, lists) for length, lists in drawn.items()}


def _by_level(bundle: Bundle, lists: Sequence[Numbers]) -> dict[str, Any]:
    in_line = _sorted(bundle, lists, 0)
    report = {"in line": _row(in_line, lists)}
    for levels in range(1, 4):
        if LEAF << levels <= len(lists[0]):
            found = _sorted(bundle, lists, levels)
            both = [(one, other) for one, other in zip(found, in_line, strict=True) if not (one.spent or other.spent)]
            paths = [[outcome.costs.critical for outcome in those] for those in zip(*both, strict=True)] or [[], []]
            report[f"forked in {levels}"] = _row(found, lists) | {"by that in line": quotient(*paths)}
    return report


def _sorted(bundle: Bundle, lists: Sequence[Numbers], levels: int) -> list[Outcome]:
    """Within twice what the teacher writes: what is longer has no end."""
    player, budget = sorting_by_halves(bundle, levels=levels).player, Budget(2 * sort(lists[0], levels).total)
    method = METHODS["multiverse" if levels else "sequential"]
    engine = Engine(bundle.model, bundle.tokenizer, num_blocks=2048)
    return play_all(engine, [method(numbers, player, budget) for numbers in lists], budget, AT_ONCE)


def _row(found: Sequence[Outcome], lists: Sequence[Numbers]) -> dict[str, Any]:
    """Errors and costs are means over the lists that came to an end; ``right`` is of all."""
    errors = [Sorting().errors(outcome.answer, numbers) for outcome, numbers in zip(found, lists, strict=True)]
    ended = [(wrong, outcome.costs) for wrong, outcome in zip(errors, found, strict=True) if not outcome.spent]
    means = {
        "errors": [wrong for wrong, _ in ended],
        "critical path": [costs.critical for _, costs in ended],
        "largest context": [costs.largest_context for _, costs in ended],
        "tokens": [costs.decoded for _, costs in ended],
    }
    return {"right": share([not wrong for wrong in errors]), "without an end": len(found) - len(ended)} | {
        name: round(statistics.mean(values), 2) if values else None for name, values in means.items()
    }
