"""What a fork is worth while the machine is busy: python -m benchmarks.load [--json FILE] [--plot FILE.png]

Held-out problems come by a Poisson process and are thought about by one engine, greedily: in line, forked as the model
plans it, with a cap on each tree's width, or with as many rows a step as the slack allows (budget-aware width). Loads
and bounds are told in what the same machine takes for a line when nothing else is asked, so they mean the same
everywhere. The clock runs while the engine steps: on the wall, in the processor's time of this process (where other
programs want the machine too), or counted, a step being 1 and a row more 0.05 of it: then every machine finds the same.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch

from miniapr.engine.engine import Engine
from miniapr.examine.figures import drawn
from miniapr.examine.shares import share
from miniapr.lab.load import Answer, Clock, Counted, Live, Measured, Scale, arrivals, pace, scale, serve
from miniapr.methods.admission import Admission
from miniapr.model.bundle import load
from miniapr.players import game_of
from miniapr.tasks.countdown import Ranges

from . import machine

TIMERS = {"wall": time.perf_counter, "processor": time.process_time}
LOADS = (0.1, 0.25, 0.4)
BOUNDS = (1.0, 2.0)  # lines on an idle engine


@dataclass(frozen=True)
class Policy:
    """``role``: of the model; ``rows``, ``cap``: of the admission, neither: none."""

    role: str = "adaptive"
    rows: int | None = None
    cap: int | None = None


def policies(slack: int) -> dict[str, Policy]:
    return {
        "in line": Policy("sequential"),
        "eager": Policy(),
        "cap 2": Policy(cap=2),
        "cap 4": Policy(cap=4),
        "slack": Policy(rows=slack),
    }


def measure(name: str, clock: str, count: int, seeds: int, loads: Sequence[float] = LOADS) -> dict[str, Any]:
    """Every policy under every load with every seed of arrivals, in an order drawn anew for each seed. Raises
    ValueError for a model without the roles ``adaptive`` and ``sequential``."""
    bundle = load(name)
    game = game_of(bundle, temperature=0.0)
    game.player.require(("adaptive", "sequential"))
    engine = Engine(bundle.model, bundle.tokenizer, num_blocks=4096, max_batch_tokens=4096, reuse_prefixes=False)
    step = pace(engine, TIMERS[clock]) if clock in TIMERS else Counted(1.0, 0.05)

    def begin() -> Clock:
        return Measured(TIMERS[clock]) if clock in TIMERS else Counted(step.base, step.each)

    def desk(policy: Policy) -> Live:
        return Live(engine, game, policy.role, Admission(policy.rows, policy.cap))

    known, problems = policies(step.slack(2.0)), drawn(count, "pairs", 0, Ranges(**bundle.about["ranges"]))
    unit = scale(desk(known["in line"]), problems, begin(), step.each)
    runs: dict[tuple[float, str], list[dict[str, Any]]] = {(at, policy): [] for at in loads for policy in known}
    for seed in range(seeds):
        for at, policy in random.Random(seed).sample(list(runs), len(runs)):
            coming, now = arrivals(problems, unit.rate(at), count, seed), begin()
            answers = serve(desk(known[policy]), coming, now)
            runs[at, policy].append({"answers": answers, "seconds": now.now})
    return {
        "model": name,
        "clock": clock,
        "requests": count,
        "seeds": seeds,
        "step, ms": round(1e3 * step.base, 4),
        "row, ms": round(1e3 * step.each, 4),
        "slack, rows": known["slack"].rows,
        "line, ms": round(1e3 * unit.line, 2),
        "rows of a line": round(unit.rows, 1),
        "rows": [{"load": at, "policy": policy, **told(some, unit)} for (at, policy), some in runs.items()],
    }


def told(runs: Sequence[dict[str, Any]], unit: Scale) -> dict[str, Any]:
    """Shares over all requests; the other figures are medians over the seeds of arrivals, with the least and the most.
    Times are in those of a line on an idle engine."""
    every = [answer for run in runs for answer in run["answers"]]

    def over(figure: Callable[[list[Answer]], float]) -> dict[str, float]:
        values = [figure(run["answers"]) for run in runs]
        return spread(values)

    return {
        **{f"right within {bound:g}": share([in_time(answer, bound, unit) for answer in every]) for bound in BOUNDS},
        "right": share([answer.right for answer in every]),
        "p50": over(lambda answers: quantile(answers, 0.5) / unit.line),
        "p95": over(lambda answers: quantile(answers, 0.95) / unit.line),
        "a step": over(lambda answers: mean(answer.seconds / answer.steps for answer in answers) / unit.line),
        "tokens": over(lambda answers: mean(answer.tokens for answer in answers)),
        "tokens a second": spread([sum(a.tokens for a in run["answers"]) / run["seconds"] for run in runs]),
        "good a second": spread(
            [sum(in_time(a, BOUNDS[0], unit) for a in run["answers"]) / run["seconds"] for run in runs]
        ),
    }


def in_time(answer: Answer, bound: float, unit: Scale) -> bool:
    return answer.right and answer.seconds <= bound * unit.line


def quantile(answers: Sequence[Answer], part: float) -> float:
    times = sorted(answer.seconds for answer in answers)
    return times[int(part * len(times))]


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": round(median(values), 4), "low": round(min(values), 4), "high": round(max(values), 4)}


def plot(found: dict[str, Any], path: Path) -> None:
    """A line for each policy over the loads: who is answered right and in time, and how soon."""
    import matplotlib
    from matplotlib.figure import Figure

    from .plots import STYLE

    bound = f"right within {BOUNDS[0]:g}"
    panels = {
        bound: ("right within the time of an idle line", lambda cell: cell["share"]),
        "p50": ("median wait, in idle lines", lambda cell: cell["median"]),
        "tokens": ("tokens a request", lambda cell: cell["median"]),
    }
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(13, 4.2), layout="constrained", dpi=110)
        for axes, (name, (title, value)) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
            for policy in dict.fromkeys(row["policy"] for row in found["rows"]):
                some = [(row["load"], value(row[name])) for row in found["rows"] if row["policy"] == policy]
                axes.plot(*zip(*some, strict=True), "o-", label=policy)
            axes.set_title(title, loc="left", fontsize=11)
            axes.set(xlabel="load", ylim=(0, None))
        figure.axes[0].legend()
        figure.savefig(path, metadata={"Software": None})


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Open arrivals: right answers in time, by policy and load.")
    parser.add_argument("--model", default="countdown", help="a shipped one, or a folder")
    parser.add_argument("--clock", choices=[*TIMERS, "counted"], default="wall")
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="added to what it has of other clocks")
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    args = parser.parse_args(words)
    if min(args.requests, args.seeds) < 1:
        parser.error(f"at least 1 request and 1 seed, got {args.requests} and {args.seeds}")
    torch.set_num_threads(1)
    found = measure(args.model, args.clock, args.requests, args.seeds)
    found |= {"cpu": machine.processor(), **machine.now()}
    print(json.dumps(found, indent=1))
    if args.json:
        kept = json.loads(args.json.read_text()) if args.json.exists() else {}
        args.json.write_text(json.dumps({**kept, args.clock: found}, indent=1) + "\n", encoding="utf-8")
    if args.plot:
        plot(found, args.plot)


if __name__ == "__main__":
    main()
