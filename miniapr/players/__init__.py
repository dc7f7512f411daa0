"""Players: how a task's problems are put to a model, and its words read back. One for each pair of the two."""

from .choose import Game, game_of

__all__ = ["Game", "game_of"]
