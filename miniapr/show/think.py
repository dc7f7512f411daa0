"""`miniapr think METHOD`: one way of thinking on one problem: its tree, its answer, what it cost."""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from ..engine.engine import Engine
from ..engine.request import Program
from ..interrupt import INTERRUPTED, Interrupt
from ..methods.budget import Budget
from ..methods.outcome import Costs, Outcome, Thought
from ..methods.play import play
from ..methods.race import Entry, entry
from ..model.bundle import Bundle
from ..players import Game, game_of
from ..remote.lacks import ALWAYS
from ..stepper.engine import for_runs
from ..stepper.trace import Trace
from .command import check_outputs, set_threads
from .setting import (
    add_common,
    add_problem,
    engine_of,
    known_methods,
    problem_for,
    task_of,
    with_judge,
    with_model,
    with_width,
)
from .text import console

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
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page that steps through it")


def think(args: argparse.Namespace) -> int:
    """Run it, show it, write it. Returns the exit code."""
    with Interrupt() as interrupt:
        chosen = entry(args.method, known_methods(args.file))
        _check_width(chosen, args.width)
        chosen = with_width(chosen, args.width)
        budget = Budget(args.budget, args.critical)
        check_outputs(args.trace, args.html)
        _only_here(args)

        def prepare(bundle: Bundle) -> tuple[Bundle, Game, Any, Entry, Program]:
            game = game_of(bundle, args.temperature, task_of(args), args.levels)
            problem, judged = problem_for(args, bundle, game), with_judge(chosen, game.player)
            program = judged.method(problem, game.player.seeded(args.seed), budget, **judged.options)
            return bundle, game, problem, judged, program

        bundle, game, problem, chosen, program = with_model(args, prepare)
        if args.engine:
            chosen.method.check_engine(ALWAYS, chosen.options)
        set_threads(args.threads, bundle)
        with engine_of(args, bundle) as engine:
            chosen.method.check_engine(getattr(engine, "lacks", ()), chosen.options)
            outcome = None
            try:
                outcome = play(engine, program, budget, interrupt)
            finally:
                if isinstance(engine, Engine):
                    came = None if outcome is None else _came(game, problem, outcome)
                    _write(args, Trace.of(engine, f"{chosen.name}: {game.show(problem)}", outcome=came))
    if outcome is None:
        return INTERRUPTED
    untold: Collection[str] = getattr(engine, "untold", ())
    if args.json:
        print(json.dumps(as_dict(chosen, game, problem, outcome, untold), indent=2))
    else:
        show(chosen, game, problem, outcome, untold=untold)
    return 0


def _check_width(chosen: Entry, width: int | None) -> None:
    """Raises ValueError for a --width that the method has no use for."""
    if width is not None and "width" not in chosen.method.options:
        there = ", ".join(chosen.method.options)
        instead = f"its options are {there}" if there else "it has no options"
        raise ValueError(f"{chosen.name} has no width to be set by --width {width}; {instead}")
    if width is not None and chosen.options.get("width", width) != width:
        raise ValueError(f"{chosen.name} says one width and --width {width} another")


def _only_here(args: argparse.Namespace) -> None:
    """Raises ValueError if events are asked for of a server, which tells none."""
    asked = next((name for name in ("trace", "html") if getattr(args, name)), None)
    if args.engine and asked:
        raise ValueError(f"--{asked} needs the engine of this process: a server tells no events")


def _came(game: Game, problem: Any, outcome: Outcome) -> dict[str, Any]:
    """What a trace says of how it ended."""
    verdict = game.verdict(problem, outcome.answer) if game.verdict else ""
    right = game.player.check is not None and game.player.check(problem, outcome.answer)
    return {"answer": outcome.answer, "verdict": verdict, "right": right, "judge": _by(outcome.judge)}


def _by(judge: str) -> str:
    """Who chose, in words; empty: there was nothing to choose."""
    return {"none": "", "exact": "the task's verifier"}.get(judge, judge)


def _write(args: argparse.Namespace, trace: Trace) -> None:
    if args.trace:
        trace.save(args.trace)
    if args.html:
        trace.to_html(args.html, engine=for_runs(trace.runs))


def as_dict(chosen: Entry, game: Game, problem: Any, outcome: Outcome, untold: Collection[str] = ()) -> dict[str, Any]:
    """The object that ``--json`` prints; its keys are fixed, and costs that nobody tells are null."""
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
        "note": outcome.note,
        "candidates": [asdict(candidate) for candidate in outcome.candidates],
        "costs": {name: None if name in untold else cost for name, cost in asdict(outcome.costs).items()},
        "tree": [asdict(thought) for thought in outcome.tree],
    }


def show(
    chosen: Entry,
    game: Game,
    problem: Any,
    outcome: Outcome,
    out: Console | None = None,
    untold: Collection[str] = (),
) -> None:
    """The tree with its texts, the answer and who chose it, the costs but for those ``untold``."""
    out = out or console()
    out.print(Text.assemble(("miniapr think ", "bold"), (chosen.name, "bold cyan"), f"  {game.player.name}"))
    out.print(Text.assemble(("Problem  ", "dim"), (game.show(problem), "bold"), "\n"))
    if outside := game.outside(problem):
        out.print(Text(f"Expect little: {outside}.\n", "yellow"))
    for root in (thought for thought in outcome.tree if thought.parent is None):
        out.print(_grown(root, outcome.tree, {c.branch: c.score for c in outcome.candidates}))
    who = f"  (chosen by {_by(outcome.judge)})" if _by(outcome.judge) else ""
    out.print(Text.assemble(("\nAnswer   ", "dim"), (outcome.answer or "none", "bold"), (who, "dim")))
    if game.verdict:
        right = game.player.check is not None and game.player.check(problem, outcome.answer)
        verdict = game.verdict(problem, outcome.answer)
        out.print(Text.assemble(("Verdict  ", "dim"), (verdict, "bold green" if right else "bold red")))
    if outcome.note:
        out.print(Text(f"{outcome.note[0].upper()}{outcome.note[1:]}.", "yellow"))
    if outcome.spent:
        so_far = "this is the best so far" if outcome.answer else "there was no answer yet"
        out.print(Text(f"The budget was spent: {so_far}.", "yellow"))
    out.print(_costs(outcome.costs, untold))


def _grown(thought: Thought, all: tuple[Thought, ...], scores: dict[int | None, float | None]) -> Tree:
    text = " ".join(thought.text.split())
    line = Text.assemble((f"{thought.branch} ", "bold cyan"), text[:LONGEST] + "..." * (len(text) > LONGEST))
    if scores.get(thought.branch) is not None:
        line.append(f"  score {scores[thought.branch]:.4g}", "magenta")
    if thought.end == "released":
        line.append("  released", "yellow")
    if thought.joins:
        line.append(f"  joined {', '.join(map(str, thought.joins))}", "green")
    grown = Tree(line, guide_style="dim")
    for child in (other for other in all if other.parent == thought.branch):
        grown.add(_grown(child, all, scores))
    return grown


def _costs(costs: Costs, untold: Collection[str]) -> Table:
    """In words, since not everybody knows the counts; the names are those of a race's columns."""

    def said(joint: str, *parts: tuple[str, str]) -> str:
        """Those parts whose cost is known."""
        return joint.join(words for name, words in parts if name not in untold)

    table = Table(box=None, padding=0, pad_edge=False, show_header=False)
    table.add_column(style="dim", width=9)
    table.add_column(overflow="fold")
    table.add_row("Decoded", f"{costs.decoded} tokens in all branches; the critical path is {costs.critical}")
    again = ("recomputed", f"{costs.recomputed} of them again")
    prefilled = said(", ", ("prefilled", f"{costs.prefilled} tokens prefilled"), again)
    computed = ("prefilled", prefilled), ("reused", f"{costs.reused} reused")
    sent = said(", ", ("resent", f"a client sends {costs.resent}"), ("prefilled", f"so {costs.saved} were saved"))
    table.add_row("Computed", said("; ", *computed, ("resent", sent)))
    context = ("largest_context", f"a context of {costs.largest_context} tokens")
    held = said(" and ", context, ("most_blocks", f"{costs.most_blocks} blocks"))
    passes = ("seconds", f"{round(1000 * costs.seconds)} ms in {costs.passes} passes")
    table.add_row("At most", said("; ", ("largest_context", held), passes))
    return table
