"""`miniapr compare --engine URL`: the same program, asked of a server."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from typing import Any

from rich.text import Text
from rich.tree import Tree

from ..engine.branch import Limits
from ..engine.sampling import Sampling
from ..interrupt import Interrupt
from ..model.bundle import Bundle, load
from ..players import Game, game_of
from ..remote.client import Server
from ..remote.connect import connect
from ..remote.engine import RemoteEngine
from ..tasks.countdown import Problem
from .phases import PHASES, Measured, measure
from .text import console
from .thoughts import Thought, adaptive_thought, prompted_thought


def compare_remotely(args: argparse.Namespace, sampling: Sampling, problem: Callable[[Game], Problem]) -> int:
    """Think once through the server and tell what it took. Raises ServerError, NeedsEngine, ValueError."""
    key = os.environ.get("MINIAPR_ENGINE_KEY") or os.environ.get("OPENAI_API_KEY")
    bundle = _bundle(args.tokenizer or args.model)
    engine = connect(
        Server(args.engine, args.model, key, timeout=args.timeout),
        bundle.tokenizer if bundle else None,
        template=args.template,
        concurrency=args.concurrency,
    )
    try:
        thought = _thought(args, bundle, engine, sampling, problem)
        with Interrupt() as interrupt:
            found = measure(engine, thought.program(args.join), Limits(16 * args.max_tokens, args.width), interrupt)
    finally:
        engine.close()
    if args.json:
        print(json.dumps(_as_dict(args, engine, thought, found)))
    else:
        _show(args, engine, thought, found)
    return 0


def _bundle(name: str) -> Bundle | None:
    """The model's own files, if they are here: its tokenizer is what is wanted of them."""
    try:
        return load(name)
    except ValueError:
        return None


def _thought(
    args: argparse.Namespace,
    bundle: Bundle | None,
    engine: RemoteEngine,
    sampling: Sampling,
    problem: Callable[[Game], Problem],
) -> Thought:
    if args.prompt is not None:
        return prompted_thought(engine.tokenizer, args.prompt, sampling, args.width, args.max_tokens)
    if bundle is None or engine.as_text:
        raise ValueError(
            f"{args.engine} can be asked in text only, and control tokens are no text: give a --prompt, or a "
            "--tokenizer that this machine has and a server that returns token ids"
        )
    game = game_of(bundle, task="countdown")
    return adaptive_thought(game, game.put(problem(game)), sampling, args.max_tokens)


def _as_dict(args: argparse.Namespace, engine: RemoteEngine, thought: Thought, found: Measured) -> dict[str, Any]:
    spoken = "text" if engine.as_text else "token ids"
    return {"engine": args.engine, "model": args.model, "spoken": spoken, "question": thought.name, **found.as_dict()}


def _show(args: argparse.Namespace, engine: RemoteEngine, thought: Thought, found: Measured) -> None:
    out = console()
    spoken = "in text" if engine.as_text else "in token ids"
    out.print(Text.assemble(("miniapr compare", "bold"), f"  model {args.model} at {args.engine}, asked {spoken}"))
    grown = Tree(Text(thought.name, "bold"), guide_style="dim")
    for thread in found.threads:
        grown.add(Text(" ".join(thread.split())))
    out.print(grown)
    out.print(Text.assemble(("Conclusion  ", "dim"), found.conclusion.strip() or "(none: the model did not fork)"))
    if answer := thought.answer(found.text) or ("" if found.forks else found.text.strip()):
        out.print(Text.assemble(("Answer  ", "dim"), answer))
    cost = f"{found.prefilled} prefilled, {found.reused} reused from the server's prefix cache"
    out.print(
        f"\n{found.requests} requests, {found.decoded} tokens decoded ({found.critical_path} one after the other), "
        + (cost if engine.usages else "the server does not tell how many were prefilled")
    )
    out.print("  ".join(f"{phase} {found.seconds[phase]:.2f} s" for phase in PHASES))
