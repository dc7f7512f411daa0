"""``miniapr train collect``: a model's own right answers, as demonstrations for ``miniapr train sft``."""

from __future__ import annotations

import argparse
import inspect
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..model.bundle import find, load
from ..train.command import folder
from ..train.own import TREES
from .practice import practice
from .rewards import faults
from .rollouts import Rollout, Unit
from .sampler import Sampler

AT_ONCE = 64  # problems that are sampled together


def as_json(root: Unit) -> dict[str, Any]:
    """A tree as plain data: token ids, what was put there and what was written, and what hangs below."""
    told: dict[str, Any] = {"given": root.given, "written": root.written}
    threads, then = [as_json(thread) for thread in root.threads], as_json(root.then) if root.then else None
    return told | ({"threads": threads} if threads else {}) | ({"then": then} if then else {})


def is_one_text(root: Unit) -> bool:
    """Whether all branches, in their order, are what its end stands on: so it is after a stitch and a re-prefill, not
    after a message, a vote, or the choice of one branch."""
    if not root.last.places:
        return False
    span, _ = root.last.places[-1]
    return [*span.view.tokens, *span.tokens] == [token for unit in root for token in (*unit.given, *unit.written)]


def collect(
    start: str,
    out: Path,
    *,
    method: str = "multiverse",
    join: str | None = None,
    counts: tuple[int, ...] = (),
    tokens: int = 400,
    problems: int = 1000,
    samples: int = 4,
    keep: int = 1,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> dict[str, int]:
    """Sample each of so many problems so often, at temperature 1, and write at most ``keep`` different trees of each
    that are right and well formed to the new folder ``out``. Gives how many were sampled, right, and kept.

    Raises ValueError for a folder that is there, bad options, or if nothing is left to be kept."""
    for name, value in (("problems", problems), ("samples", samples), ("keep", keep), ("tokens", tokens)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, is {value}")
    if out.exists():
        raise ValueError(f"{out} is there already: demonstrations are written to a new folder")
    bundle, dice = load(start), random.Random(seed)
    how, sampler = (
        practice(bundle, method, join, counts, tokens),
        Sampler(bundle.model, bundle.tokenizer, tokens=tokens),
    )
    told = {"sampled": 0, "right": 0, "kept": 0}
    lines: list[str] = []
    for first in range(0, problems, AT_ONCE):
        drawn = [how.draw(dice, "train") for _ in range(min(AT_ONCE, problems - first))]
        rollouts = sampler.roll(how, drawn, samples, dice.getrandbits(48))
        groups = [rollouts[i : i + samples] for i in range(0, len(rollouts), samples)]
        lines += [line for group in groups for line in kept(group)[:keep]]
        told["sampled"] += len(rollouts)
        told["right"] += sum(rollout.correct for rollout in rollouts)
        told["kept"] = len(lines)
        say("  ".join(f"{count} {name}" for name, count in told.items()))
    if not lines:
        raise ValueError(
            f"nothing to keep of {told['sampled']} answers by {method}, of which {told['right']} are right"
        )
    made = {"by": "miniapr train collect", "model": bundle.name, "method": method, "seed": seed, **told}
    about = {**bundle.about, "control": bundle.control, "demonstrations": made}
    out.mkdir(parents=True)
    (out / "tokenizer.json").write_text((find(start) / "tokenizer.json").read_text(encoding="utf-8"), encoding="utf-8")
    (out / "miniapr.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    (out / TREES).write_text("".join(line + "\n" for line in lines), encoding="utf-8")  # last: without it there is none
    return told


def kept(group: list[Rollout]) -> list[str]:
    """Of rollouts of one problem those to learn from, each different tree once, in their order."""
    good = [one.root for one in group if one.correct and not faults(one) and is_one_text(one.root)]
    return list(dict.fromkeys(json.dumps(as_json(root)) for root in good))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options, with the defaults of ``collect``."""
    known = inspect.signature(collect).parameters
    add = parser.add_argument
    add("--start", required=True, metavar="MODEL", help="who writes: a name that `miniapr models` lists, or a folder")
    add("--out", type=folder, required=True, help="new folder for the demonstrations")
    add("--method", default=known["method"].default, help="how it thinks: one that `miniapr methods` lists")
    add("--join", help="another than the method's own")
    add("--counts", type=int, nargs="+", default=[], help="numbers that problems have, each as often as it is named")
    for name in ("tokens", "problems", "samples", "keep", "seed"):
        add(f"--{name}", type=int, default=known[name].default)


def run(args: argparse.Namespace) -> int:
    """Collect, and say what came of it."""
    options = {name: getattr(args, name) for name in inspect.signature(collect).parameters if hasattr(args, name)}
    told = collect(**{**options, "counts": tuple(args.counts)})
    print(f"wrote {told['kept']} demonstrations to {args.out / TREES}")
    return 0
