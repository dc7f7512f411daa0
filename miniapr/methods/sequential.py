"""One line of thought from the prompt to the answer."""

from __future__ import annotations

from typing import Any

from ..engine.operations import Start
from ..engine.request import Program
from .budget import Budget, Spend
from .judges import best
from .method import method
from .player import Player


@method("sequential", forks="never", sees="-", joins="-", needs=("chain",))
def sequential(problem: Any, player: Player, budget: Budget) -> Program:
    """One line of thought, greedily, to its end: what every other method is measured against."""
    role = player["chain"]
    root = yield Start(role.ask(problem), player.greedy)
    (done,) = yield Spend([root], role, budget)
    return best([player.candidate(problem, root)], "none", spent=done.finish == "length")
