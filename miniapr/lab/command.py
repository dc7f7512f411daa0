"""`miniapr lab`: what there is to find out, and one experiment from nothing to its table."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from ..interrupt import INTERRUPTED
from .arms import Size
from .conduct import QUICK, conduct
from .table import EXPERIMENTS
from .tell import paragraph, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    size = Size()
    parser.add_argument("name", nargs="?", help="the experiment; none: list them")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/lab"),
        help="results are kept in OUT/NAME, starts in OUT/starts; of --quick in OUT/NAME-quick, OUT/starts-quick",
    )
    parser.add_argument(
        "--starts", type=Path, help="where some of those are already (docs/lab/starts); nothing is written there"
    )
    parser.add_argument("--seeds", type=int, help=f"of each arm (default {size.seeds}, with --quick {QUICK.seeds})")
    parser.add_argument("--arms", nargs="+", default=[], metavar="ARM", help="only these; of others what is there")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time, each a process of one thread")
    parser.add_argument("--quick", action="store_true", help="a first look in minutes: too short to learn much")


def run(args: argparse.Namespace) -> int:
    """List the experiments, or conduct one. Raises ValueError for an unknown name or a number below 1."""
    if args.name is None:
        for name, experiment in EXPERIMENTS.items():
            print(f"{name}: {', '.join(arm.name for arm in experiment.arms)}\n  {experiment.claim}")
        return 0
    if args.name not in EXPERIMENTS:
        raise ValueError(f"no experiment {args.name!r}; there are {', '.join(EXPERIMENTS)}")
    size = QUICK if args.quick else Size()
    size = replace(size, seeds=size.seeds if args.seeds is None else args.seeds)
    for name, value in (("seeds", size.seeds), ("jobs", args.jobs)):
        if value < 1:
            raise ValueError(f"--{name} must be at least 1, is {value}")
    experiment, out = EXPERIMENTS[args.name], args.out / (args.name + ("-quick" if args.quick else ""))
    starts, say = args.out / ("starts-quick" if args.quick else "starts"), lambda text: print(text, flush=True)
    try:
        report = conduct(experiment, out, starts, size, args.jobs, say, args.arms, args.starts)
    except KeyboardInterrupt:
        print(f"stopped; what is done is in {out}, and the same command goes on from there", file=sys.stderr)
        return INTERRUPTED
    print(f"\n{paragraph(experiment, report)}\n\n{table(report)}\n\nwritten to {out}")
    return 0
