"""Held-out figures of an organizer and of an outline, each with its interval: by the methods that ask for them.

Run as ``python -m miniapr.examine.figures FOLDER``.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..engine.engine import Engine
from ..methods.budget import Budget
from ..methods.play import play_all
from ..methods.table import METHODS
from ..model.bundle import load
from ..players.steps import countdown_by_steps
from ..tasks.roles import sequential
from ..tasks.states import State
from .shares import quotient, share

BY_ROLE = {"organizer": "asyncthink", "outline": "apar"}
AT_ONCE = 32  # problems in the engine


def apart_figures(
    folder: Path, problems: Sequence[State], tokens: int = 600
) -> dict[str, Callable[[], dict[str, Any]]]:
    """What makes the figures of such roles as the model in ``folder`` has, by their names."""
    known = load(folder).about.get("roles", ())
    return {role: partial(_played, folder, name, problems, tokens) for role, name in BY_ROLE.items() if role in known}


def _played(folder: Path, name: str, problems: Sequence[State], tokens: int) -> dict[str, Any]:
    """How often a method is right, and its critical path beside that of the teacher's line on the same problems."""
    bundle = load(folder)
    player, budget = countdown_by_steps(bundle).player, Budget(tokens)
    engine = Engine(bundle.model, bundle.tokenizer, num_blocks=16_384, max_batch_tokens=2048, record=False)
    ended = play_all(engine, [METHODS[name](problem, player, budget) for problem in problems], budget, AT_ONCE)
    assert player.check
    costs = [outcome.costs for outcome in ended]
    return {
        "right": share([player.check(p, outcome.answer) for p, outcome in zip(problems, ended, strict=True)]),
        "decoded": round(statistics.mean(cost.decoded for cost in costs), 2),
        "branches": round(statistics.mean(len(outcome.tree) for outcome in ended), 2),
        "critical path by that of the teacher's line": quotient(
            [cost.critical for cost in costs], [sequential(problem).critical for problem in problems]
        ),
    }
