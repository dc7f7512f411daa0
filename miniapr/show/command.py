"""`miniapr compare`: from its options to what it prints and writes."""

from __future__ import annotations

import argparse
import random
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from ..engine.sampling import Sampling
from ..interrupt import INTERRUPTED, Interrupt
from ..model.bundle import Bundle, load
from ..model.checkpoint import DTYPES
from ..players import Game, game_of
from ..stepper.engine import for_runs
from ..stepper.trace import Trace
from ..tasks.countdown import Problem
from .report import Report
from .run import Options, Run

NUMBERS, TARGET = (3, 7, 8), 29  # solvable, but not by the first operation that the model tries
PLOTS = (".png", ".svg", ".pdf")
SMALL = 10_000_000  # parameters


def compare(args: argparse.Namespace) -> int:
    """Run it, show it, write it. Returns the exit code."""
    if args.engine:
        from .remote import compare_remotely

        return compare_remotely(args, _options(args).sampling, lambda game: _problem(args, game))
    with Interrupt() as interrupt:
        options = _options(args)
        _check_outputs(args)
        bundle = load(args.model, DTYPES[args.dtype])
        set_threads(args.threads, bundle)
        if args.prompt is not None:
            from .prompted import compare_prompted

            interrupted = compare_prompted(args, bundle, options, interrupt)
            return INTERRUPTED if interrupted and interrupt.requested else 0
        game = game_of(bundle, task="countdown")
        run = Run(bundle, game, _problem(args, game), options)
        if warning := game.outside(run.problem):
            warnings.warn(warning, stacklevel=1)
        guide = None
        if args.step:
            from .stepper import Stepper

            guide = Stepper(interrupt)
        try:
            report = run.execute(interrupt, guide)
        finally:  # what led to an error is just what one wants to look at
            _write(args, run)
        if args.html and not report.interrupted:
            trace = run.side_by_side(interrupt)
            trace.to_html(args.html, engine=for_runs(trace.runs))
            _wrote(args.html)
        _show(args, report)
    return INTERRUPTED if report.interrupted and interrupt.requested else 0


def _options(args: argparse.Namespace) -> Options:
    if args.json and args.step:
        raise ValueError("--json and --step exclude each other: both speak on the standard output")
    sampling = Sampling(args.temperature, args.top_k, args.top_p, args.min_p, args.seed)
    return Options(args.backend, args.blocks, args.block_size, args.width, args.max_tokens, sampling)


def set_threads(threads: int | None, bundle: Bundle) -> None:
    """A small model's passes are shorter than the time in which threads find one another: one is faster,
    and much faster on a machine that is busy with other things."""
    if threads is not None and not 1 <= threads <= 1024:
        raise ValueError(f"threads must be in 1..1024, is {threads}")
    if threads is None and bundle.model.parameter_count < SMALL:
        threads = 1
    if threads is not None:
        torch.set_num_threads(threads)


def _problem(args: argparse.Namespace, game: Game) -> Problem:
    """The one that is given, or a held-out one from the ranges that the model was trained for."""
    if not args.random:
        return problem_of(args.numbers, args.target)
    if args.numbers or args.target is not None:
        raise ValueError("--random draws a problem: --numbers and --target do not go with it")
    assert game.draw is not None
    drawn = game.draw(random.Random(args.seed), None)
    return Problem(drawn.numbers, drawn.target)


def problem_of(numbers: Sequence[int] | None, target: int | None) -> Problem:
    """The one that is given, or the usual one."""
    if numbers is None and target is None:
        return Problem(NUMBERS, TARGET)
    if numbers is None or target is None:
        given, wanted = ("--numbers", "--target") if numbers else ("--target", "--numbers")
        raise ValueError(f"{given} needs {wanted} too, for example: --numbers 3 7 8 --target 29")
    return Problem(tuple(numbers), target)


def _check_outputs(args: argparse.Namespace) -> None:
    """Find out now, not after the run, that a file cannot be written. Leaves what is there as it is."""
    if args.plot and args.plot.suffix.lower() not in PLOTS:
        raise ValueError(f"a plot's name ends in {', '.join(PLOTS)}; got {str(args.plot)!r}")
    check_outputs(args.trace, args.plot, args.html)


def check_outputs(*paths: Path | None) -> None:
    """Raises ValueError for a file that cannot be written."""
    for path in paths:
        if path:
            existed = path.exists()
            try:
                with open(path, "ab"):
                    pass
            except OSError as error:
                raise ValueError(f"cannot write {str(path)!r}: {error.strerror}") from error
            if not existed:
                path.unlink()


def _write(args: argparse.Namespace, run: Run) -> None:
    report = run.report
    if args.trace:
        Trace.of(run.engine, _title(report)).save(args.trace)
        _wrote(args.trace)
    if args.plot:
        from .plot import plot

        plot(report.events, args.plot, _labels(report), _title(report))
        _wrote(args.plot)


def _wrote(path: Path) -> None:
    print(f"wrote {path}", file=sys.stderr)


def _title(report: Report) -> str:
    numbers = " ".join(map(str, report.problem.descending))
    return f"{numbers} -> {report.problem.target}, model {report.model['name']}"


def _labels(report: Report) -> dict[int, str]:
    """What each thread began with (the events know only its token ids), and whose the second root is."""
    roots = [event.branch for event in report.events if event.kind == "started" and event.branch is not None]
    names = dict(zip(roots, ("adaptive", "sequential"), strict=False))
    return names | {thread.id: thread.seed.partition("> ")[2] for thread in report.comparison.threads}


def _show(args: argparse.Namespace, report: Report) -> None:
    if args.json:
        print(report.as_json())
        return
    from .text import print_report

    print_report(report)
