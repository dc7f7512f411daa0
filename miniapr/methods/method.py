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
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..engine.branch import Branch, Tree
from ..engine.request import Operation, Program
from ..remote.lacks import CONTROL, KEYS, LACKS, LOGPROBS
from .budget import Budget
from .options import DEMANDS, RESERVE, WIDTHS, check_number, check_word, options_of
from .outcome import Outcome
from .player import LacksRole, Player

__all__ = ["ENGINE", "KEYS", "LOGPROBS", "SERVER", "TRAINED", "Method", "method", "methods_of"]

SERVER, ENGINE, TRAINED = "any server", "engine", "trained model"


@dataclass(frozen=True)
class Method:
    """``method(problem, player, budget, **options)`` is a program. Whatever it could not do it says before it starts.

    forks      who decides to fork, and when
    sees       what a child sees
    positions  of the children
    joins      how branches become one again
    needs      roles of the player; "exact": the task's verifier; "control": a model that forks by itself
    where      "any server", "engine" (it needs keys and values, or log-probabilities), "trained model"
    engine     what it needs of an engine, whatever is set: KEYS, LOGPROBS (``remote/lacks.py``). What it needs for a
               join or a judge that is chosen, and for "control", need not be said
    words      what an option may be that is one of several words
    sums       options that are the width of one fork together
    """

    name: str
    play: Callable[..., Program]
    forks: str
    sees: str
    joins: str
    positions: str = "after prefix"
    needs: tuple[str, ...] = ()
    where: str = SERVER
    paper: str = ""
    engine: tuple[str, ...] = ()
    words: Mapping[str, Collection[str]] = field(default_factory=dict, hash=False)
    sums: tuple[str, ...] = ()

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
        """Raises ValueError for an unknown option, or a value that it cannot have, LacksRole for what the player cannot
        do, and ValueError again for what the budget has no room for."""
        self._check_options(options)
        player.require(self.needs, self.name)
        for option, word in (self.options | options).items():
            self._check_player(player, option, word)
        self._check_room(budget, options)
        program = self.play(problem, player, budget, **options)
        return _begun(next(program), program, budget)  # what comes before its first operation is done now: checks

    def demands(self, options: Mapping[str, Any]) -> set[str]:
        """What an engine must have for it: keys and values, log-probabilities, control tokens."""
        chosen = (_demands(option, word) for option, word in (self.options | dict(options)).items())
        control = (CONTROL,) if "control" in self.needs else ()
        return {*self.engine, *control, *(one for demands in chosen for one in demands if one in LACKS)}

    def check_engine(self, lacks: Collection[str], options: Mapping[str, Any]) -> None:
        """Raises ValueError, before anything is asked of an engine, for what it ``lacks``."""
        for lacking in sorted(self.demands(options) & set(lacks)):
            other = [
                f"{option}={word}"
                for option, value in (self.options | dict(options)).items()
                if lacking in _demands(option, value)
                for word in self.words.get(option, ())
                if not set(_demands(option, word)) & set(lacks)
            ]
            instead = f"; it can do with {' or '.join(other)}" if other else ""
            raise ValueError(f"{self.name} {LACKS[lacking]}{instead}")

    def _check_options(self, options: Mapping[str, Any]) -> None:
        if unknown := sorted(options.keys() - self.options.keys()):
            known = ", ".join(self.options) or "none"
            raise ValueError(f"{self.name} has no option {', '.join(unknown)}; it has {known}")
        for option, value in options.items():
            if option in self.words and not callable(value):  # a join may be a function of one's own
                check_word(value, option, self.name, self.words[option])
            elif isinstance(value, int | float):
                check_number(value, option, self.name, self.options[option])

    def _check_player(self, player: Player, option: str, word: Any) -> None:
        """Whether it can do what a word demands that was chosen; if not, which other word would do."""
        missing = player.lacks(set(_demands(option, word)) - LACKS.keys())
        if not missing:
            return
        can = (other for other in self.words.get(option, ()) if not player.lacks({*_demands(option, other)} - {*LACKS}))
        instead = " or ".join(f"{option}={other}" for other in can)
        raise LacksRole(
            f"{player.name} does not play {', '.join(missing)}, which {option}={word} of {self.name} needs"
            + (f"; {instead} would do" if instead else ""),
            (*self.needs, *missing),
        )

    def _check_room(self, budget: Budget, options: Mapping[str, Any]) -> None:
        """The width of every fork; and a reserve that was set: one that was not gives way to the budget."""
        chosen = self.options | dict(options)
        wide = {option: chosen[option] or 0 for option in WIDTHS if option in chosen}
        if self.sums:
            wide[" + ".join(self.sums)] = sum(chosen[option] for option in self.sums)
        for option, width in wide.items():
            if width > budget.width:
                raise ValueError(f"{self.name} has {option} {width}, the budget's limit on width is {budget.width}")
        if (kept := options.get(RESERVE, 0)) and kept >= budget.tokens:
            raise ValueError(f"{self.name} is to keep {kept} tokens for its end, the budget has {budget.tokens} in all")


def _demands(option: str, word: Any) -> tuple[str, ...]:
    return DEMANDS.get(option, {}).get(word, ()) if isinstance(word, str) else ()


def _begun(operation: Operation, program: Program, budget: Budget) -> Program:
    """A program that has given its first operation, as one that has not. What it comes to was ended by the budget also
    where a line of it was as long as may be."""
    tree = None
    with closing(program):
        while True:
            try:
                try:
                    value = yield operation
                except Exception as error:
                    operation = program.throw(error)
                else:
                    tree = value.request if tree is None and isinstance(value, Branch) else tree
                    operation = program.send(value)
            except StopIteration as end:
                cut = isinstance(end.value, Outcome) and tree is not None and _cut(tree, budget)
                return replace(end.value, spent=True) if cut else end.value


def _cut(tree: Tree, budget: Budget) -> bool:
    """Whether the critical path that may be ended a branch."""
    most = budget.critical
    ended = (branch for branch in tree.branches if branch.completion and branch.completion.finish == "length")
    return most is not None and any(branch.critical >= most for branch in ended)


def method(name: str, **row: Any) -> Callable[[Callable[..., Program]], Method]:
    """Make a Method of a program. ``row``: see there. Raises ValueError for one that says too little, or what there is
    not."""
    known = {one.name: one for one in fields(Method) if one.name not in ("name", "play")}
    needed = {key for key, one in known.items() if one.default is MISSING and one.default_factory is MISSING}
    if missing := [key for key in known if key in needed - row.keys()]:
        raise ValueError(f"@method({name!r}) must say {', '.join(missing)}: words for people, see docs/methods.md")
    if unknown := sorted(row.keys() - known.keys()):
        raise ValueError(f"@method({name!r}) can say {', '.join(known)}; there is no {', '.join(unknown)}")
    for key in ("needs", "engine", "sums"):
        if isinstance(row.get(key, ()), str):
            raise ValueError(f"@method({name!r}): {key} is a tuple, such as ({row[key]!r},), not {row[key]!r}")
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
        kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
        raise ValueError(f"{str(file)!r} could not be run: {kind}{error}") from error
    defined = vars(module)
    found = [value for value in defined.values() if isinstance(value, Method) and value.play.__globals__ is defined]
    if not found:
        raise ValueError(f"{str(file)!r} defines no method: put @method(...) before one")
    return found
