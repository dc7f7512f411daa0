"""`miniapr race`: every method on the same problems, within the same budget."""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ..engine.engine import Engine
from ..interrupt import INTERRUPTED, Interrupt
from ..methods.budget import Budget
from ..methods.play import play
from ..methods.player import Player
from ..methods.race import Entry, Row, entry, race, seeded
from ..methods.table import BASELINES
from ..model.bundle import Bundle
from ..players import Game, game_of
from ..stepper.trace import Trace
from .command import PLOTS, check_outputs, set_threads
from .setting import add_common, given, known_methods, task_of, with_model, with_width
from .text import console

# Two tables, each as narrow as a terminal: what came of it, and what the engine saw.
RESULT = {"decoded": "decoded", "critical": "critical", "passes": "passes", "seconds": "ms"}
ENGINE = {
    "largest_context": "context",
    "prefilled": "prefilled",
    "recomputed": "again",
    "reused": "reused",
    "resent": "a client sends",
    "most_blocks": "blocks",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `miniapr race`."""
    parser.add_argument(
        "--methods",
        nargs="+",
        metavar="METHOD",
        help="beside the baselines (all that the model plays); name:option=value",
    )
    parser.add_argument(
        "--problems", type=int, default=20, metavar="N", help="held-out ones; or so often the one that is given (20)"
    )
    add_common(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table, and every outcome's costs")
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="table, plot, and the first problem by each method to step through"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="accuracy against critical path and tokens")


def run(args: argparse.Namespace) -> int:
    """Race, with a bar; the table of what was done also after Ctrl-C. Returns the exit code."""
    if args.problems < 1:
        raise ValueError(f"--problems must be at least 1, is {args.problems}")
    if args.plot and args.plot.suffix.lower() not in PLOTS:
        raise ValueError(f"a plot's name ends in {', '.join(PLOTS)}; got {str(args.plot)!r}")
    check_outputs(args.json, args.plot, args.html)
    ready = with_model(args, lambda bundle: _prepare(args, bundle), lambda ready: len(ready.entries))
    set_threads(args.threads, ready.bundle)
    engine = Engine(ready.bundle.model, ready.bundle.tokenizer, num_blocks=args.blocks, record=False)
    rows: dict[str, Row] = {}
    with Interrupt() as interrupt, _progress() as progress:
        task = progress.add_task("", total=len(ready.problems) * len(ready.entries))
        for row in race(engine, ready.entries, ready.game.player, ready.problems, args.seed, ready.budget):
            rows[row.name] = row
            progress.update(task, advance=1, description=row.name)
            if row.name == ready.entries[-1].name and not progress.console.is_terminal:  # where no bar is seen
                print(f"{row.problems} of {len(ready.problems)} problems", file=sys.stderr)
            if interrupt():
                break
    ordered = [rows[one.name] for one in ready.entries if one.name in rows]
    _write(args, ordered, ready)
    if args.html and ordered:
        _page(args, ordered, _recorded(args, ready), ready.bundle.name)
    show(ordered, ready.left_out, args)
    return INTERRUPTED if interrupt.requested else 0


@dataclass(frozen=True)
class _Ready:
    """All that a race needs. ``left_out``: methods that the model does not play, and why."""

    bundle: Bundle
    game: Game
    budget: Budget
    problems: Sequence[Any]
    entries: Sequence[Entry]
    left_out: dict[str, str]


def _prepare(args: argparse.Namespace, bundle: Bundle) -> _Ready:
    """Raises ValueError for what this model cannot do."""
    game, budget = game_of(bundle, args.temperature, task_of(args), args.levels), Budget(args.budget, args.critical)
    if game.draw is None:
        raise ValueError(f"{bundle.name} plays no task with a verifier: there is nothing to count")
    if args.numbers is None and args.target is None:
        dice = random.Random(args.seed)
        problems = [game.draw(dice, args.count) for _ in range(args.problems)]
    else:
        problems = [given(args, game)] * args.problems
    entries, left_out = _entries(args, problems[0], game.player, budget)
    return _Ready(bundle, game, budget, problems, entries, left_out)


def _recorded(args: argparse.Namespace, ready: _Ready) -> dict[str, Trace]:
    """The first problem once more, as it went: the same dice, on an engine that keeps its events."""
    traces = {}
    for one in ready.entries:
        engine = Engine(ready.bundle.model, ready.bundle.tokenizer, num_blocks=args.blocks, record=True)
        dice = seeded(ready.game.player, args.seed, 0)
        play(engine, one.method(ready.problems[0], dice, ready.budget, **one.options), ready.budget)
        traces[one.name] = Trace.of(engine, f"{one.name}: {ready.game.show(ready.problems[0])}")
    return traces


def _page(args: argparse.Namespace, rows: Sequence[Row], traces: dict[str, Trace], model: str) -> None:
    from .race_page import page

    note = f"{rows[0].problems} problems, at most {args.budget} tokens each in all branches; costs are means. "
    note += "Below: the first problem."
    args.html.write_text(page(rows, traces, f"miniapr race: {model}", note), encoding="utf-8")
    print(f"wrote {args.html}", file=sys.stderr)


def _entries(
    args: argparse.Namespace, problem: Any, player: Player, budget: Budget
) -> tuple[list[Entry], dict[str, str]]:
    """The baselines and what was asked for, each once; what was not asked for and cannot be played is left out."""
    known, entries, left_out = known_methods(args.file), list[Entry](), dict[str, str]()
    for words in dict.fromkeys((*BASELINES, *(args.methods or known))):
        one = with_width(entry(words, known), args.width)
        try:
            one.method(problem, player, budget, **one.options).close()
        except ValueError as error:
            if args.methods and words in args.methods:
                raise
            left_out[words] = str(error)
        else:
            entries.append(one)
    return entries, left_out


def _progress() -> Progress:
    columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}")
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _write(args: argparse.Namespace, rows: Sequence[Row], ready: _Ready) -> None:
    model = ready.bundle.name
    if args.json:
        told: dict[str, Any] = {
            "model": model,
            "task": ready.game.task,
            "budget": {"tokens": args.budget, "critical": args.critical},
            "problems": args.problems,
            "count": args.count,
            "levels": args.levels if ready.game.task == "sorting" else None,
            "width": args.width,
            "seed": args.seed,
            "temperature": args.temperature,
            "rows": [row.as_dict() for row in rows],
            "left_out": ready.left_out,
        }
        args.json.write_text(json.dumps(told, indent=2) + "\n")
        print(f"wrote {args.json}", file=sys.stderr)
    if args.plot and rows:
        from .race_plot import plot

        plot(rows, args.plot, f"{model}, {args.budget} tokens a problem, {rows[0].problems} problems")
        print(f"wrote {args.plot}", file=sys.stderr)


def show(rows: Sequence[Row], left_out: dict[str, str], args: argparse.Namespace, out: Console | None = None) -> None:
    """A row a method; costs are means over its problems."""
    out = out or console()
    result, engine = _table("right", "95 %", *RESULT.values(), "judge"), _table(*ENGINE.values())
    for row in rows:
        low, high = row.interval
        costs = row.costs | {"seconds": 1000 * row.costs["seconds"]}
        share = f"{100 * row.accuracy:.0f} %", f"{100 * low:.0f}-{100 * high:.0f}"
        result.add_row(row.name, *share, *(f"{costs[name]:.0f}" for name in RESULT), row.judge)
        engine.add_row(row.name, *(f"{costs[name]:.0f}" for name in ENGINE))
    out.print(result)
    out.print()
    out.print(engine)
    done = rows[0].problems if rows else 0
    out.print(Text(f"\n{done} problems, at most {args.budget} tokens each in all branches; costs are means.", "dim"))
    if left_out:
        out.print(Text(f"Left out, since the model has no role for them: {', '.join(left_out)}.", "dim"))


def _table(*titles: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("method", style="bold", overflow="fold")
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    return table
