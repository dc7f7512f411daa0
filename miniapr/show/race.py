"""`miniapr race`: every method on the same problems, within the same budget."""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..engine.engine import Engine
from ..interrupt import INTERRUPTED, Interrupt
from ..methods.budget import Budget
from ..methods.play import play
from ..methods.player import Player
from ..methods.race import FRONTIERS, Entry, Row, counted, entry, frontier, race, reasons, seeded, widest
from ..methods.table import BASELINES
from ..model.bundle import Bundle
from ..players import Game, game_of
from ..stepper.trace import Trace
from .command import PLOTS, check_outputs, set_threads
from .race_table import show
from .setting import add_common, given, known_methods, task_of, with_model, with_width

PILOT = 4  # problems beside the race, on which it is found how wide a baseline may be


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
        task = progress.add_task("how wide the baselines may be", total=None)
        ready = _widened(engine, ready, interrupt)
        runs = len(ready.problems) * len(ready.entries)
        progress.update(task, total=runs)
        for row in race(engine, ready.entries, ready.game.player, ready.problems, args.seed, ready.budget):
            rows[row.name] = row
            progress.update(task, advance=1, description=row.name)
            if row.name == ready.entries[-1].name and not progress.console.is_terminal:  # where no bar is seen
                print(f"{row.problems} of {len(ready.problems)} problems", file=sys.stderr)
            if interrupt():
                break
    ordered = [rows[one.name] for one in ready.entries if one.name in rows]
    said = _said(args, ordered, ready, runs)
    _write(args, ordered, ready)
    if args.html and ordered:
        _page(args, ordered, _recorded(args, ready), ready, said)
    show(ordered, ready.title, said)
    return INTERRUPTED if interrupt.requested else 0


@dataclass(frozen=True)
class _Ready:
    """All that a race needs. ``pilot``: problems that are not raced. ``left_out``: methods that are not played, and
    why. ``width``: of the widest baselines, as far as it is known."""

    bundle: Bundle
    game: Game
    budget: Budget
    problems: Sequence[Any]
    entries: Sequence[Entry]
    pilot: Sequence[Any]
    left_out: dict[str, str]
    width: int | None = None

    @property
    def title(self) -> str:
        levels = self.game.levels
        within = f" in {levels} level{'s' * (levels != 1)}" if levels is not None else ""
        return f"{self.game.task}{within} by {self.game.player.name}"


def _prepare(args: argparse.Namespace, bundle: Bundle) -> _Ready:
    """Raises ValueError for what this model cannot do."""
    game, budget = game_of(bundle, args.temperature, task_of(args), args.levels), Budget(args.budget, args.critical)
    if game.draw is None:
        raise ValueError(f"{bundle.name} plays no task with a verifier: there is nothing to count")
    if args.numbers is None and args.target is None:
        dice = random.Random(args.seed)
        problems = [game.draw(dice, args.count) for _ in range(args.problems)]
        dice = random.Random("pilot")  # whatever the seed is, so that races of other seeds have the same rows
        pilot = [game.draw(dice, args.count) for _ in range(PILOT)]
    else:
        problems, pilot = [given(args, game)] * args.problems, [given(args, game)] * PILOT
    entries, left_out = _entries(args, problems[0], game.player, budget)
    return _Ready(bundle, game, budget, problems, entries, pilot, left_out)


def _widened(engine: Engine, ready: _Ready, stop: Callable[[], bool]) -> _Ready:
    """With each baseline that has a width once more, as wide as the budget allows; it may be so already."""
    baselines = ready.entries[: len(BASELINES)]
    wide = [one for one in baselines if "width" in one.method.options]
    width = widest(engine, wide[0].method, ready.game.player, ready.pilot, ready.budget, stop)
    if width is None:
        return ready
    more = [
        Entry(f"{one.name}:width={width}", one.method, {"width": width})
        for one in wide
        if (one.method.options | dict(one.options))["width"] != width
    ]
    entries = {one.name: one for one in (*baselines, *more, *ready.entries)}  # each once, if somebody asked for it too
    return replace(ready, entries=list(entries.values()), width=width)


def _recorded(args: argparse.Namespace, ready: _Ready) -> dict[str, Trace]:
    """The first problem once more, as it went: the same dice, on an engine that keeps its events."""
    traces = {}
    for one in ready.entries:
        engine = Engine(ready.bundle.model, ready.bundle.tokenizer, num_blocks=args.blocks, record=True)
        dice = seeded(ready.game.player, args.seed, 0)
        play(engine, one.method(ready.problems[0], dice, ready.budget, **one.options), ready.budget)
        traces[one.name] = Trace.of(engine, f"{one.name}: {ready.game.show(ready.problems[0])}")
    return traces


def _page(
    args: argparse.Namespace, rows: Sequence[Row], traces: dict[str, Trace], ready: _Ready, said: Sequence[str]
) -> None:
    from .race_page import page

    note = " ".join([*said, "Below: the first problem."])
    args.html.write_text(page(rows, traces, f"miniapr race: {ready.title}", note), encoding="utf-8")
    print(f"wrote {args.html}", file=sys.stderr)


def _entries(
    args: argparse.Namespace, problem: Any, player: Player, budget: Budget
) -> tuple[list[Entry], dict[str, str]]:
    """The baselines and what was asked for, each once; what was not asked for and cannot be played is left out. Raises
    ValueError for a baseline that cannot be: without it the others are measured against nothing."""
    known, entries, left_out = known_methods(args.file), list[Entry](), dict[str, str]()
    asked = (*BASELINES, *(args.methods or ()))
    for words in dict.fromkeys((*asked, *(() if args.methods else known))):
        one = with_width(entry(words, known), args.width)
        try:
            one.method(problem, player, budget, **one.options).close()
        except ValueError as error:
            if words in asked:
                raise
            left_out[words] = str(error)
        else:
            entries.append(one)
    return entries, left_out


def _progress() -> Progress:
    columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}")
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _write(args: argparse.Namespace, rows: Sequence[Row], ready: _Ready) -> None:
    if args.json:
        best = {cost: frontier(rows, cost) for cost in FRONTIERS}
        told: dict[str, Any] = {
            "model": ready.bundle.name,
            "task": ready.game.task,
            "budget": {"tokens": args.budget, "critical": args.critical},
            "problems": args.problems,
            "count": args.count,
            "levels": ready.game.levels,
            "width": args.width,
            "seed": args.seed,
            "temperature": args.temperature,
            "rows": [
                row.as_dict() | {"frontier": [cost for cost in FRONTIERS if row.name in best[cost]]} for row in rows
            ],
            "left_out": ready.left_out,
        }
        args.json.write_text(json.dumps(told, indent=2) + "\n")
        print(f"wrote {args.json}", file=sys.stderr)
    if args.plot and rows:
        from .race_plot import plot

        plot(rows, args.plot, f"{ready.title}, {args.budget} tokens a problem, {counted(rows)}")
        print(f"wrote {args.plot}", file=sys.stderr)


def _said(args: argparse.Namespace, rows: Sequence[Row], ready: _Ready, runs: int) -> list[str]:
    """What is to be known of the table, in sentences."""
    done = sum(row.problems for row in rows)
    said = [f"{counted(rows)}, at most {args.budget} tokens each in all branches; costs are means."]
    if done < runs:
        said.append(f"Stopped after {done} of {runs} runs.")
    said.append("* on the frontier: nobody is right as often for less; rows judged exact compete with each other only.")
    if ready.width is not None:
        found = f"In {PILOT} plays beside the race the budget brought"
        limit = ", the limit on width," * (ready.width == ready.budget.width)
        said.append(
            f"{found} {ready.width} tries{limit} to their end."
            if ready.width > 1
            else f"{found} no two tries to their end."
        )
    said += [f"Left out: {', '.join(names)}: {why}." for why, names in reasons(ready.left_out).items()]
    return said
