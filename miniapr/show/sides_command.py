"""`miniapr sides`: from its options to what it prints and writes."""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path

from ..engine.sampling import Sampling
from ..interrupt import Interrupt
from ..model.bundle import Bundle, load
from ..players import game_of
from .command import PLOTS, set_threads
from .sides import Plan, run_sides
from .sides_text import plot_sides, print_sides
from .text import console
from .thoughts import Thought, adaptive_thought, prompted_thought


def add_arguments(parser: argparse.ArgumentParser) -> None:
    plan = Plan()
    parser.add_argument("--model", default="countdown", help="name of a model, or a folder")
    parser.add_argument("--prompt", action="append", default=[], help="what to think about (may be given repeatedly)")
    parser.add_argument("--problems", type=int, default=8, help="without a prompt: how many problems are drawn")
    parser.add_argument("--seed", type=int, default=0, help="of the problems")
    parser.add_argument("--max-tokens", type=int, default=400, help="of each stretch of decoding")
    parser.add_argument("--width", type=int, default=8, help="how many branches a fork may have")
    parser.add_argument("--lengths", type=int, nargs="*", default=list(plan.lengths), help="of the grid's branches")
    parser.add_argument("--counts", type=int, nargs="*", default=list(plan.counts), help="of the grid's branches")
    parser.add_argument("--prefix", type=int, default=plan.prompt, help="tokens before the grid's forks")
    parser.add_argument("--rounds", type=int, default=plan.rounds, help="of each point of the grid")
    parser.add_argument("--blocks", type=int, default=2048, help="blocks in the pool")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measured run")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the join's share of the time")


def run(args: argparse.Namespace) -> int:
    plan = Plan(args.lengths, args.counts, args.prefix, rounds=args.rounds)
    _check(args, plan)
    bundle = load(args.model)
    set_threads(args.threads, bundle)
    asked = _thoughts(args, bundle)
    with Interrupt() as interrupt:
        found = run_sides(bundle, asked, plan, args.model, args.blocks, interrupt)
    print_sides(found, console())
    if args.json:
        args.json.write_text(json.dumps(found.as_dict(), indent=1) + "\n")
        print(f"wrote {args.json}", file=sys.stderr)
    if args.plot:
        plot_sides(found, args.plot)
        print(f"wrote {args.plot}", file=sys.stderr)
    return 0


def _thoughts(args: argparse.Namespace, bundle: Bundle) -> list[Thought]:
    """Of the prompts if there are any, else of problems."""
    if args.prompt:
        talk, limits = bundle.tokenizer, (args.width, args.max_tokens)
        return [prompted_thought(talk, prompt, Sampling(), *limits) for prompt in args.prompt]
    game, dice = game_of(bundle, task="countdown"), random.Random(args.seed)
    assert game.draw is not None
    drawn = [game.draw(dice, None) for _ in range(args.problems)]
    return [adaptive_thought(game, problem, Sampling(), args.max_tokens) for problem in drawn]


def _check(args: argparse.Namespace, plan: Plan) -> None:
    if args.plot and (args.plot.suffix.lower() not in PLOTS or not plan.lengths or not plan.counts):
        raise ValueError(f"a plot's name ends in {', '.join(PLOTS)}, and it needs lengths and counts")
    for name in ("problems", "max_tokens", "width", "rounds"):
        if getattr(args, name) < 1:
            raise ValueError(f"{name.replace('_', '-')} must be at least 1, is {getattr(args, name)}")
    if any(length < 2 for length in plan.lengths) or any(not 1 <= count <= 64 for count in plan.counts):
        raise ValueError(f"lengths are at least 2 and counts in 1..64, got {args.lengths} and {args.counts}")
    if plan.prompt < max(plan.counts, default=1):
        raise ValueError(f"prefix must be at least the largest count of branches, is {plan.prompt}")
