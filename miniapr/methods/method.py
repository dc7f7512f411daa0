"""A method: a program of about a page that ends with an Outcome, and its row in the table of all.

@method("two-tries", forks="always, once", sees="the prompt", joins="select", needs=("chain",))
def two_tries(problem, player, budget, width=2):
    root = yield Start(player["chain"].ask(problem), player.sampling)
    tries = yield Fork(root, width)
    yield Spend(tries, player["chain"], budget)
    return best([player.candidate(problem, branch) for branch in tries], "none")
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engine.request import Operation, Program
from .budget import Budget
from .options import options_of
from .player import Player

SERVER, ENGINE, TRAINED = "any server", "engine", "trained model"

WIDTHS = ("width", "children", "rollouts", "trees")  # options that say how many branches a fork has
COUNTS = (*WIDTHS, "levels", "length", "window")  # and others of which none is nothing


@dataclass(frozen=True)
class Method:
    """``method(problem, player, budget, **options)`` is a program. Whatever it could not do it says before it starts.

    forks      who decides to fork, and when
    sees       what a child sees
    positions  of the children
    joins      how branches become one again
    needs      roles of the player; "exact": the task's verifier; "control": a model that forks by itself
    where      "any server", "engine" (it needs keys and values, or log-probabilities), "trained model"
    """

    name: str
    play: Callable[..., Program]
    forks: str
    sees: str
    joins: str
    positions: str = "after the prefix"
    needs: tuple[str, ...] = ()
    where: str = SERVER
    paper: str = ""

    @property
    def options(self) -> dict[str, Any]:
        """What can be set, with what it is otherwise."""
        return options_of(self.play, given=3)

    @property
    def about(self) -> str:
        """The first sentence of its documentation."""
        return (inspect.getdoc(self.play) or "").partition("\n\n")[0].replace("\n", " ")

    @property
    def more(self) -> str:
        """What its documentation says after that: its options above all."""
        return (inspect.getdoc(self.play) or "").partition("\n\n")[2]

    def __call__(self, problem: Any, player: Player, budget: Budget, **options: Any) -> Program:
        """Raises ValueError for a role that the player lacks, an unknown option, or more width than the budget has."""
        unknown = sorted(options.keys() - self.options.keys())
        if unknown:
            known = ", ".join(self.options) or "none"
            raise ValueError(f"{self.name} has no option {', '.join(unknown)}; it has {known}")
        player.require(self.needs)
        for name, value in (self.options | options).items():
            least = 1 if name in COUNTS else 0
            if not isinstance(value, int):
                continue
            if value < least:
                raise ValueError(f"{name} of {self.name} must be at least {least}, is {value}")
            if name in WIDTHS and value > budget.width:
                raise ValueError(f"{self.name} has {name} {value}, the budget's limit on width is {budget.width}")
        program = self.play(problem, player, budget, **options)
        return _begun(next(program), program)  # what comes before its first operation is done now, checks above all


def _begun(operation: Operation, program: Program) -> Program:
    """A program that has given its first operation, as one that has not."""
    with closing(program):
        while True:
            try:
                try:
                    value = yield operation
                except Exception as error:
                    operation = program.throw(error)
                else:
                    operation = program.send(value)
            except StopIteration as end:
                return end.value


def method(name: str, **row: Any) -> Callable[[Callable[..., Program]], Method]:
    """Make a Method of a program. ``row``: see there."""
    return lambda play: Method(name, play, **row)


def methods_of(file: Path) -> list[Method]:
    """The methods that a file of one's own defines. The file is run. Raises ValueError if there is none in it."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise ValueError(f"{str(file)!r} is no Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{str(file)!r} could not be run: {type(error).__name__}: {error}") from error
    defined = vars(module)
    found = [value for value in defined.values() if isinstance(value, Method) and value.play.__globals__ is defined]
    if not found:
        raise ValueError(f"{str(file)!r} defines no method: put @method(...) before one")
    return found
