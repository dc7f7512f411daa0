"""What a command needs to let a model play a task: a player, problems, a judge that is always right."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..methods.player import Player
from ..tasks.countdown import Problem


@dataclass(frozen=True)
class Game:
    """A player with its task.

    draw    a problem from a generator; None: problems are questions that people ask
    put     a problem of numbers and a target as the player knows it
    verdict what the verifier says of an answer, in words; None: there is none
    show    a problem in a line
    """

    player: Player
    show: Callable[[Any], str]
    draw: Callable[[random.Random], Any] | None = None
    put: Callable[[Problem], Any] = lambda problem: problem
    verdict: Callable[[Any, str | None], str] | None = None
