"""The options of ``miniapr train sft``."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from ..tasks.countdown import Ranges
from .config import TrainConfig
from .export import export
from .parallel import team
from .roles import Recipe, Shares
from .sft import train
from .stream import JOINS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options, with the defaults of ``TrainConfig``."""
    config = TrainConfig()
    parser.add_argument("--out", type=folder, required=True, help="folder for checkpoint and model")
    parser.add_argument("--start", metavar="FOLDER", help="begin with the weights of a trained model of the same sizes")
    parser.add_argument("--demonstrations", metavar="FOLDER", help="what `miniapr train collect` wrote, to learn from")
    parser.add_argument("--joins", choices=sorted(JOINS), default=config.joins, help="how forks are packed")
    parser.add_argument("--seed", type=int, default=config.seed)
    parser.add_argument("--tokens", type=int, default=config.tokens, help="budget in tokens")
    parser.add_argument("--layers", type=int, default=config.layers)
    parser.add_argument("--hidden-size", type=int, default=config.hidden_size)
    parser.add_argument("--intermediate-size", type=int, default=config.intermediate_size)
    parser.add_argument("--heads", type=int, default=config.heads)
    parser.add_argument("--batch-tokens", type=int, default=config.batch_tokens)
    parser.add_argument(
        "--chunk-size", type=int, default=config.chunk_size, help="demonstrations sorted by length together"
    )
    parser.add_argument("--high", type=int, default=config.roles.ranges.high, help="largest number")
    parser.add_argument("--target-high", type=int, default=config.roles.ranges.target_high, help="largest target")
    parser.add_argument(
        "--operators", default=config.roles.ranges.operators, help="of the steps, such as +-*: with = in front of them"
    )
    parser.add_argument(
        "--roles",
        nargs="*",
        default=[],
        metavar="ROLE=SHARE",
        help="in which shares the roles are shown (those not named: "
        + ", ".join(f"{role} {share}" for role, share in asdict(Shares()).items())
        + ")",
    )
    parser.add_argument("--four", type=float, default=Recipe().four, help="share of problems with four numbers")
    parser.add_argument(
        "--lengths",
        type=float,
        nargs=3,
        default=Recipe().lengths,
        metavar="OFTEN",
        help="how often a list has up to 16, 32 and 64 numbers",
    )
    parser.add_argument("--device", default=config.device, help="where it trains: cpu, cuda; weights depend on it")
    parser.add_argument(
        "--workers", type=int, default=0, help="processes that make demonstrations ahead of time (0: none)"
    )
    parser.add_argument("--threads", type=int, default=None, help="CPU threads; weights depend on it")


def folder(text: str) -> Path:
    """A path that was given. The empty one would be the folder that one happens to be in."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the folder has no name")
    return Path(text)


def config_from(args: argparse.Namespace) -> TrainConfig:
    """The run's options. Raises ValueError with the bad number."""
    config = TrainConfig()
    return replace(
        config,
        start=args.start,
        demonstrations=args.demonstrations,
        device=args.device,
        autocast=args.device == "cpu" and config.autocast,  # on a GPU to convert costs more than it saves
        joins=args.joins,
        seed=args.seed,
        tokens=args.tokens,
        layers=args.layers,
        hidden_size=args.hidden_size,
        intermediate_size=args.intermediate_size,
        heads=args.heads,
        batch_tokens=args.batch_tokens,
        chunk_size=args.chunk_size,
        roles=Recipe(
            read_shares(args.roles),
            ranges=Ranges(3, 1, args.high, 1, args.target_high, operators=args.operators),
            four=args.four,
            lengths=tuple(args.lengths),
        ),
    )


def read_shares(words: Sequence[str]) -> Shares:
    """Shares from words such as ``chain=0.5``. Raises ValueError with the word that is none."""
    shares = asdict(Shares())
    for word in words:
        role, _, share = word.partition("=")
        if role not in shares:
            raise ValueError(f"a share is ROLE=NUMBER with a role of {', '.join(shares)}, got {word!r}")
        try:
            shares[role] = float(share)
        except ValueError:
            raise ValueError(f"the share of {role} is a number, got {share!r}") from None
    return Shares(**shares)


def command_line(args: argparse.Namespace) -> str:
    """The command that makes this run again: every option that differs from its default."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    words = ["miniapr", "train", "sft"]
    for name, value in vars(args).items():
        if any(action.dest == name and action.default != value for action in parser._actions):
            words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    return shlex.join(words)


def run(args: argparse.Namespace) -> None:
    """Train, or go on with the run in ``--out``, and write the model there; alone or as one of several processes."""
    if args.threads is not None:
        if args.threads < 1:
            raise ValueError(f"threads must be at least 1, is {args.threads}")
        torch.set_num_threads(args.threads)
    with team() as us:
        finished = train(config_from(args), args.out, team=us, workers=args.workers)
        if us.first:
            export(finished, args.out, command_line(args))
            print(f"wrote {args.out / 'model.safetensors'}")
