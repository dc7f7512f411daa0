"""Which player a model has."""

from __future__ import annotations

from ..model.bundle import Bundle
from .game import Game
from .lines import countdown_in_lines
from .steps import countdown_by_steps
from .talking import talking


def game_of(bundle: Bundle, temperature: float = 1.0) -> Game:
    """By what the model says of itself. Raises ValueError for one that no player is known for."""
    if "chain" in bundle.control:
        return countdown_by_steps(bundle, temperature)
    if "sequential" in bundle.control:
        return countdown_in_lines(bundle, temperature)
    if bundle.tokenizer.template is not None:
        return talking(bundle, temperature)
    raise ValueError(f"no player is known for {bundle.name}: it names no roles, and it has no chat template")
