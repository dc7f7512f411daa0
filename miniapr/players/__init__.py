"""Players: how a task's problems are put to a model, and its words read back. One for each pair of the two."""

from .choose import TASKS, game_of
from .game import Game

__all__ = ["TASKS", "Game", "game_of"]
