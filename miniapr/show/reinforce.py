"""`miniapr train rl`: options, progress, Ctrl-C, and the model with its curve at the end."""

from __future__ import annotations

import argparse
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch

from ..interrupt import INTERRUPTED, Interrupt
from ..model.bundle import find
from ..rl.advantages import ADVANTAGES, KL, Objective
from ..rl.loop import FLAT, RLConfig, Run, train
from ..rl.rewards import REWARDS
from ..train.command import folder
from ..train.export import write_model
from ..train.parallel import team
from .curve import draw


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options, with the defaults of ``RLConfig``."""
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    config, objective = RLConfig(""), Objective()
    add = parser.add_argument
    add(
        "--start",
        required=True,
        metavar="MODEL",
        help="what it begins with: a name that `miniapr models` lists, a folder",
    )
    add("--out", type=folder, required=True, help="folder for checkpoint, model and curve")
    add("--reward", default=config.reward, help=f"{', '.join(REWARDS)}, each also NAME:option=number,...; FILE.py:NAME")
    add("--method", default=config.method, help="how it thinks: one that `miniapr methods` lists")
    add("--join", help="another than the method's own")
    add("--counts", type=int, nargs="+", default=[], help="numbers that problems have, each as often as it is named")
    add("--tokens", type=int, default=config.tokens, help="of a rollout, in all its branches")
    numbers = {"seed": "of all dice", "steps": "of training", "prompts": "problems of a step"}
    numbers |= {"samples": "rollouts of each problem", "updates": "steps along the gradient of one batch"}
    for name, said in numbers.items():
        add(f"--{name}", type=int, default=getattr(config, name), help=said)
    add("--rate", type=float, default=config.rate, help="of AdamW")
    add("--flat", choices=FLAT, default=config.flat, help="what becomes of groups whose rewards are all the same")
    add("--advantage", choices=list(ADVANTAGES), default=objective.advantage)
    add("--per", choices=("token", "rollout", "branch"), default=objective.per, help="what counts alike in the loss")
    add("--clip", type=float, nargs=2, metavar=("LOW", "HIGH"), help="PPO's, for more than one update a batch")
    add("--kl", type=float, default=objective.kl, help="weight of the KL to the model that it began with")
    add("--estimator", choices=list(KL), default=objective.estimator, help="of that KL")
    add("--threads", type=int, default=None, help="CPU threads; weights depend on it")


def config_from(args: argparse.Namespace) -> RLConfig:
    """The run's options. Raises ValueError with the bad number."""
    clip = None if args.clip is None else (args.clip[0], args.clip[1])
    objective = Objective(args.advantage, args.per, clip, args.kl, args.estimator)
    given = {field.name: getattr(args, field.name) for field in fields(RLConfig) if hasattr(args, field.name)}
    return RLConfig(**{**given, "counts": tuple(args.counts), "objective": objective})


def run(args: argparse.Namespace) -> int:
    """Train, or go on with the run in ``--out``; write the model and its curve there, after Ctrl-C too."""
    if args.threads is not None:
        if args.threads < 1:
            raise ValueError(f"threads must be at least 1, is {args.threads}")
        torch.set_num_threads(args.threads)
    config = config_from(args)
    with team() as us, Interrupt() as stop:
        done = train(config, args.out, team=us, say=lambda text: print(text, flush=True), stop=stop)
        if us.first:
            export(done, args.out)
            if done.progress.curve:
                draw({"": [done.progress.curve]}, args.out / "curve.png", f"{config.reward}, from {done.bundle.name}")
            print(f"wrote {args.out / 'model.safetensors'} after {done.progress.step} of {config.steps} steps")
    return 0 if done.finished else INTERRUPTED


def export(run: Run, out: Path) -> None:
    """The model that a user loads, what it came from, and the curve as JSON."""
    bundle, progress = run.bundle, run.progress
    options = {name: value for name, value in asdict(run.config).items() if value not in (None, ())}
    made: dict[str, Any] = {"by": "miniapr train rl", **options, "steps": progress.step, "sampled": progress.tokens}
    made |= {"seconds": round(progress.seconds, 1), "threads": torch.get_num_threads(), "processes": run.team.size}
    made["torch"] = torch.__version__
    about = {**bundle.about, "control": bundle.control, "start": bundle.about.get("provenance"), "provenance": made}
    tokenizer = (find(run.config.start) / "tokenizer.json").read_text(encoding="utf-8")
    write_model(out, run.model, tokenizer, about, progress.curve)
