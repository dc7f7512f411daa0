"""What `miniapr think` and `miniapr race` have in common: their options, and from these a model, a game, an engine."""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from ..engine.engine import Engine
from ..methods.method import Method, methods_of
from ..methods.play import Runs
from ..methods.player import LacksRole, Player
from ..methods.race import Entry
from ..methods.table import METHODS
from ..model.bundle import Bundle, load, shipped
from ..players import TASKS, Game, game_of
from ..players.game import NotTrained
from .command import problem_of

DEFAULT = "countdown"
LIST = (17, 4, 88, 23, 61, 9, 42, 75, 30, 56, 12, 99, 3, 68, 35, 81)  # what is sorted if nothing is given

T = TypeVar("T")


class Told(argparse.Action):
    """An option that has a usual value, and of which one must know whether it was given: ``told`` has its name then."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        setattr(namespace, self.dest, values)
        namespace.told = {*getattr(namespace, "told", ()), self.dest}


def add_problem(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--random", action="store_true", help="draw a problem, from --seed")
    parser.add_argument("--prompt", help="what to think about, for a language model")


def add_common(parser: argparse.ArgumentParser) -> None:
    """What think and race have in common."""
    parser.add_argument("--task", choices=TASKS, help=f"{TASKS[0]}; of a named model the first it was trained for")
    parser.add_argument(
        "--numbers", type=int, nargs="+", metavar="N", help="of countdown, each used once; or to be sorted"
    )
    parser.add_argument("--target", type=int, metavar="T", help="what to make of them, in countdown")
    parser.add_argument("--count", type=int, metavar="N", help="how many numbers a problem has that is drawn")
    parser.add_argument(
        "--levels",
        type=int,
        default=3,
        action=Told,
        metavar="L",
        help="of sorting: upper ones that may fork, 0 to 3 (3)",
    )
    parser.add_argument("--budget", type=int, default=1000, metavar="TOKENS", help="decoded in all branches (1000)")
    parser.add_argument("--critical", type=int, metavar="TOKENS", help="decoded one after the other, at most")
    parser.add_argument("--width", type=int, metavar="K", help="branches at once, of methods that have a width")
    parser.add_argument(
        "--model", help="a name that `miniapr models` lists, a folder, a .gguf; else a shipped one that can"
    )
    parser.add_argument("--temperature", type=float, default=1.0, help="where tries must differ (1)")
    parser.add_argument("--seed", type=int, default=0, help="of the dice and of --random")
    parser.add_argument("--blocks", type=int, default=1024, help="blocks of 16 tokens in the pool")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument(
        "--file", type=Path, metavar="FILE.py", help="methods of your own, see docs/methods.md; it is run"
    )


def known_methods(file: Path | None) -> dict[str, Method]:
    """The table's, and those of a file. Raises ValueError for one by a name that another has."""
    known = dict(METHODS)
    for method in methods_of(file) if file else ():
        if method.name in known:
            raise ValueError(f"{str(file)!r} defines {method.name}, and a method of that name is there already")
        known[method.name] = method
    return known


def with_width(one: Entry, width: int | None) -> Entry:
    """What --width says goes to the methods that have one and were not told theirs."""
    if width is None or "width" not in one.method.options or "width" in one.options:
        return one
    return Entry(one.name, one.method, {**one.options, "width": width})


def with_judge(one: Entry, player: Player) -> Entry:
    """A question that people ask has no verifier: where the method would ask it and was told nothing else, the model's
    own value judges."""
    if player.check or one.method.options.get("judge") != "exact" or "judge" in one.options:
        return one
    return Entry(one.name, one.method, {**one.options, "judge": "value"})


def task_of(args: argparse.Namespace) -> str | None:
    """The task that is meant: of a model that was named the first that it was trained for, else the usual one."""
    return args.task or (None if args.model else TASKS[0])


def with_model(args: argparse.Namespace, make: Callable[[Bundle], T], worth: Callable[[T], int] | None = None) -> T:
    """What ``make`` gives for the model that was named; if none was, for the first of those shipped that can, the usual
    one before all others, or with ``worth`` for the one that is worth most. Those for which it raises ValueError
    cannot; if none can, the one that came furthest says why, of equals the first: who knows the task before who does
    not, and who plays the method before who does not."""
    if task := task_of(args):
        _check_levels(args, task)
    names = [args.model] if args.model else [DEFAULT, *(name for name in shipped() if name != DEFAULT)]
    refused, made = list[ValueError](), list[T]()
    for name in names:
        try:
            made.append(make(load(name)))
        except ValueError as error:
            refused.append(error)
        if made and worth is None:
            return made[0]
    if made and worth:
        return max(made, key=worth)
    furthest = max(refused, key=lambda error: (not isinstance(error, NotTrained), not isinstance(error, LacksRole)))
    if isinstance(furthest, LacksRole) and (who := _who_plays(args, furthest.needs)):
        raise ValueError(f"{furthest}; {who}") from furthest
    raise furthest


def _who_plays(args: argparse.Namespace, needs: Collection[str]) -> str:
    """Which shipped model plays all that, if one does that was not asked, and how it is asked; of a puzzle's task."""
    asked = args.task or TASKS[0]
    for task in (asked, *(other for other in TASKS if other != asked)):
        for name in shipped() if not getattr(args, "prompt", None) else ():
            try:
                lacking = game_of(load(name), task=task).player.lacks(needs)
            except ValueError:
                continue
            if not lacking:
                how = [f"--model {name}"] * bool(args.model) + [f"--task {task}"] * (task != asked)
                return f"the model {name} does: {' '.join(how)}"
    return ""


def _check_levels(args: argparse.Namespace, task: str) -> None:
    """Raises ValueError for levels of a task that has none."""
    if task != "sorting" and "levels" in getattr(args, "told", ()):
        raise ValueError(f"--levels is of sorting, and {task or 'a question'} has none: give --task sorting as well")


def problem_for(args: argparse.Namespace, bundle: Bundle, game: Game) -> Any:
    """The problem that is given or drawn. Raises ValueError for what does not go together, or with the model."""
    _check_levels(args, game.task)
    if game.draw is None:
        said = {f"--{name}": getattr(args, name) for name in ("numbers", "target", "count", "random")}
        puzzle = [name for name, value in said.items() if value is not None and value is not False]
        if puzzle or not (args.prompt or "").strip():
            instead = f", not {' and '.join(puzzle)}" if puzzle else ""
            raise ValueError(f"{bundle.name} plays no puzzles: give it a --prompt{instead}")
        return args.prompt
    if args.prompt is not None:
        raise ValueError(f"{bundle.name} plays puzzles: --numbers and --target, or --random, not --prompt")
    if not args.random:
        return given(args, game)
    if args.numbers or args.target is not None:
        raise ValueError("--random draws a problem: --numbers and --target do not go with it")
    return game.draw(random.Random(args.seed), args.count)


def given(args: argparse.Namespace, game: Game) -> Any:
    """The problem that was given, or the usual one. Raises ValueError for what is none."""
    if args.count is not None:
        drawn = "--random draws one" if args.numbers is None and args.target is None else "this one is given"
        raise ValueError(f"--count is of problems that are drawn: {drawn}")
    if game.targets:
        return game.put(problem_of(args.numbers, args.target))
    if args.target is not None:
        raise ValueError("a list that is sorted has no --target")
    return game.put(LIST if args.numbers is None else args.numbers)


@contextmanager
def engine_of(args: argparse.Namespace, bundle: Bundle, record: bool = True) -> Iterator[Runs]:
    """The engine of this process, or one that asks a server."""
    if not getattr(args, "engine", None):
        yield Engine(bundle.model, bundle.tokenizer, num_blocks=args.blocks, record=record)
        return
    from ..remote.client import Server
    from ..remote.connect import connect

    key = os.environ.get("MINIAPR_ENGINE_KEY") or os.environ.get("OPENAI_API_KEY")
    engine = connect(Server(args.engine, args.model or bundle.name, key), bundle.tokenizer)
    try:
        yield engine
    finally:
        engine.close()
