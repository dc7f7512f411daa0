"""What `miniapr think` and `miniapr race` have in common: their options, and from these a model, a game, an engine."""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from ..engine.engine import Engine
from ..methods.method import Method, methods_of
from ..methods.play import Runs
from ..methods.race import Entry
from ..methods.table import METHODS
from ..model.bundle import Bundle, load, shipped
from ..players import TASKS, Game
from .command import problem_of

DEFAULT = "countdown"
LIST = (17, 4, 88, 23, 61, 9, 42, 75, 30, 56, 12, 99, 3, 68, 35, 81)  # what is sorted if nothing is given

T = TypeVar("T")


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
        "--levels", type=int, default=3, metavar="L", help="of sorting: upper ones that may fork, 0 to 3 (3)"
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
    return METHODS | ({method.name: method for method in methods_of(file)} if file else {})


def with_width(one: Entry, width: int | None) -> Entry:
    """What --width says goes to the methods that have one and were not told theirs."""
    if width is None or "width" not in one.method.options or "width" in one.options:
        return one
    return Entry(one.name, one.method, {**one.options, "width": width})


def task_of(args: argparse.Namespace) -> str | None:
    """The task that is meant: of a model that was named the first that it was trained for, else the usual one."""
    return args.task or (None if args.model else TASKS[0])


def with_model(args: argparse.Namespace, make: Callable[[Bundle], T], worth: Callable[[T], int] | None = None) -> T:
    """What ``make`` gives for the model that was named; if none was, for the first of those shipped that can, the usual
    one before all others, or with ``worth`` for the one that is worth most. Those for which it raises ValueError
    cannot; if none can, the usual one says why."""
    names = [args.model] if args.model else [DEFAULT, *(name for name in shipped() if name != DEFAULT)]
    refused, made = None, list[T]()
    for name in names:
        try:
            made.append(make(load(name)))
        except ValueError as error:
            refused = refused or error
        if made and worth is None:
            return made[0]
    if made and worth:
        return max(made, key=worth)
    assert refused
    raise refused


def problem_for(args: argparse.Namespace, bundle: Bundle, game: Game) -> Any:
    if game.draw is None:
        if not (args.prompt or "").strip():
            raise ValueError(f"{bundle.name} plays no puzzles: give it a --prompt")
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
        raise ValueError("--count is of problems that are drawn: --random draws one")
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
