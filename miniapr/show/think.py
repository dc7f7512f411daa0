"""`miniapr think METHOD`: one way of thinking on one problem: its tree, its answer, what it cost."""

from __future__ import annotations

import argparse
import json
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from ..engine.engine import Engine
from ..methods.budget import Budget
from ..methods.method import Method, methods_of
from ..methods.outcome import Costs, Outcome, Thought
from ..methods.play import Runs, play
from ..methods.race import Entry, entry
from ..methods.table import METHODS
from ..model.bundle import Bundle, load
from ..players import TASKS, Game, game_of
from ..stepper.trace import Trace
from .command import INTERRUPTED, check_outputs, problem_of, set_threads
from .interrupt import Interrupt
from .text import console

LIST = (17, 4, 88, 23, 61, 9, 42, 75, 30, 56, 12, 99, 3, 68, 35, 81)  # what is sorted if nothing is given
LONGEST = 300  # characters of a branch's text in the tree


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `miniapr think`."""
    parser.add_argument(
        "method", help="a name that `miniapr methods` lists; with options: best-of-n:width=4,judge=value"
    )
    add_problem(parser)
    add_common(parser)
    parser.add_argument("--engine", metavar="URL", help="think on this OpenAI-compatible server instead")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the tree")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="write all events, as JSON: what the stepper draws")


def add_problem(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--random", action="store_true", help="draw a problem, from --seed")
    parser.add_argument("--prompt", help="what to think about, for a language model")


def add_common(parser: argparse.ArgumentParser) -> None:
    """What think and race have in common."""
    parser.add_argument("--task", choices=TASKS, help="the first that the model was trained for, unless told")
    parser.add_argument(
        "--numbers", type=int, nargs="+", metavar="N", help="of countdown, each used once; or to be sorted"
    )
    parser.add_argument("--target", type=int, metavar="T", help="what to make of them, in countdown")
    parser.add_argument("--count", type=int, metavar="N", help="how many numbers a problem has that is drawn")
    parser.add_argument(
        "--levels", type=int, default=3, metavar="L", help="of sorting: upper ones that may fork, 0 to 3"
    )
    parser.add_argument("--budget", type=int, default=1000, metavar="TOKENS", help="decoded in all branches (1000)")
    parser.add_argument("--critical", type=int, metavar="TOKENS", help="decoded one after the other, at most")
    parser.add_argument("--width", type=int, metavar="K", help="branches at once, of methods that have a width")
    parser.add_argument("--model", default="countdown", help="a name that `miniapr models` lists, a folder, a .gguf")
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


def think(args: argparse.Namespace) -> int:
    """Run it, show it, write it. Returns the exit code."""
    with Interrupt() as interrupt:
        chosen = with_width(entry(args.method, known_methods(args.file)), args.width)
        budget = Budget(args.budget, args.critical)
        check_outputs(args.trace)
        bundle = load(args.model)
        set_threads(args.threads, bundle)
        game = game_of(bundle, args.temperature, args.task, args.levels)
        problem = _problem(args, bundle, game)
        program = chosen.method(problem, game.player.seeded(args.seed), budget, **chosen.options)
        with engine_of(args, bundle) as engine:
            try:
                outcome = play(engine, program, budget, interrupt)
            finally:
                if args.trace and isinstance(engine, Engine):
                    Trace.of(engine, f"{chosen.name}: {game.show(problem)}").save(args.trace)
    if outcome is None:
        return INTERRUPTED
    if args.json:
        print(json.dumps(as_dict(chosen, game, problem, outcome), indent=2))
    else:
        show(chosen, game, problem, outcome)
    return 0


def _problem(args: argparse.Namespace, bundle: Bundle, game: Game) -> Any:
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
    engine = connect(Server(args.engine, args.model, key), bundle.tokenizer)
    try:
        yield engine
    finally:
        engine.close()


def as_dict(chosen: Entry, game: Game, problem: Any, outcome: Outcome) -> dict[str, Any]:
    """The object that ``--json`` prints; its keys are fixed."""
    check = game.player.check
    return {
        "method": chosen.name,
        "options": chosen.method.options | dict(chosen.options),
        "problem": game.show(problem),
        "outside": game.outside(problem),
        "answer": outcome.answer,
        "correct": check(problem, outcome.answer) if check else None,
        "judge": outcome.judge,
        "spent": outcome.spent,
        "candidates": [asdict(candidate) for candidate in outcome.candidates],
        "costs": asdict(outcome.costs),
        "tree": [asdict(thought) for thought in outcome.tree],
    }


def show(chosen: Entry, game: Game, problem: Any, outcome: Outcome, out: Console | None = None) -> None:
    """The tree with its texts, the answer and who chose it, the costs."""
    out = out or console()
    out.print(Text.assemble(("miniapr think ", "bold"), (chosen.name, "bold cyan"), f"  {game.player.name}"))
    out.print(Text.assemble(("Problem  ", "dim"), (game.show(problem), "bold"), "\n"))
    if outside := game.outside(problem):
        out.print(Text(f"Expect little: {outside}.\n", "yellow"))
    for root in (thought for thought in outcome.tree if thought.parent is None):
        out.print(_grown(root, outcome.tree, {c.branch: c.score for c in outcome.candidates}))
    who = {"none": "", "exact": "  (chosen by the task's verifier)"}.get(
        outcome.judge, f"  (chosen by {outcome.judge})"
    )
    out.print(Text.assemble(("\nAnswer   ", "dim"), (outcome.answer or "none", "bold"), (who, "dim")))
    if game.verdict:
        right = game.player.check is not None and game.player.check(problem, outcome.answer)
        verdict = game.verdict(problem, outcome.answer)
        out.print(Text.assemble(("Verdict  ", "dim"), (verdict, "bold green" if right else "bold red")))
    if outcome.spent:
        out.print(Text("The budget was spent: this is the best so far.", "yellow"))
    out.print(_costs(outcome.costs))


def _grown(thought: Thought, all: tuple[Thought, ...], scores: dict[int | None, float | None]) -> Tree:
    text = " ".join(thought.text.split())
    line = Text.assemble((f"{thought.branch} ", "bold cyan"), text[:LONGEST] + "..." * (len(text) > LONGEST))
    if scores.get(thought.branch) is not None:
        line.append(f"  score {scores[thought.branch]:.4g}", "magenta")
    if thought.joins:
        line.append(f"  joined {', '.join(map(str, thought.joins))}", "green")
    grown = Tree(line, guide_style="dim")
    for child in (other for other in all if other.parent == thought.branch):
        grown.add(_grown(child, all, scores))
    return grown


def _costs(costs: Costs) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for title in ("decoded", "critical", "prefilled", "again", "reused", "a client sends", "context", "blocks", "ms"):
        table.add_column(title, justify="right")
    numbers = (
        costs.decoded,
        costs.critical,
        costs.prefilled,
        costs.recomputed,
        costs.reused,
        costs.resent,
        costs.largest_context,
        costs.most_blocks,
        round(1000 * costs.seconds),
    )
    table.add_row(*map(str, numbers))
    return table
