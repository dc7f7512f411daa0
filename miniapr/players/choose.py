"""Which player a model has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..model.bundle import Bundle
from ..tasks.terse import Countdown
from .game import Game, NotTrained
from .sorting import sorting_by_halves
from .steps import countdown_by_steps
from .talking import talking

TASKS = ("countdown", "sorting")


def game_of(bundle: Bundle, temperature: float = 1.0, task: str | None = None, levels: int = 3) -> Game:
    """By what the model says of itself: the first task that it was trained for, unless one is named. ``levels``: see
    sorting. Raises NotTrained for a model without a known player, or one that was not trained for the task."""
    game = _game_of(bundle, temperature, task, levels)
    config = getattr(bundle.model, "config", None)
    context = config.max_position_embeddings if config else None
    return replace(game, player=replace(game.player, context=context))


def _game_of(bundle: Bundle, temperature: float, task: str | None, levels: int) -> Game:
    games = _games(bundle, temperature, levels)
    if not games and bundle.tokenizer.template is not None and task is None:
        return talking(bundle, temperature)
    if not games and task is None:
        raise NotTrained(f"no player is known for {bundle.name}: it names no roles, and it has no chat template")
    if task is not None and task not in games:
        trained = f"it was trained for {', '.join(games)}" if games else "it was trained for no task"
        raise NotTrained(f"the model {bundle.name} was not trained for {task}; {trained}")
    chosen = task or next(iter(games))
    return replace(games[chosen](), task=chosen)


def _games(bundle: Bundle, temperature: float, levels: int) -> dict[str, Callable[[], Game]]:
    known, games = set(bundle.about.get("roles", bundle.control)), dict[str, Callable[[], Game]]()
    if known & set(Countdown().roles):
        games["countdown"] = lambda: countdown_by_steps(bundle, temperature)
    if "sort" in known:
        games["sorting"] = lambda: sorting_by_halves(bundle, temperature, levels)
    return games
