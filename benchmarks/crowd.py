"""Whether cost grows with the work and no faster: many problems at once, many trees kept, a long life, a full cache.

All with the model that ships, through programs as users write them; what the model itself takes is timed apart, so
that the engine's share is known.
"""

from __future__ import annotations

import random
import resource
import time
from statistics import median
from typing import Any

import torch

import miniapr
from miniapr.engine.sampling import Sampling
from miniapr.ops import Operations
from miniapr.tasks import Problem, prompt_text

from . import models
from .contestants import Tree

BLOCKS = 40  # a problem
CYCLE = 500  # requests between two looks at the memory


def measure(ops: Operations, quick: bool, rounds: int) -> dict[str, Any]:
    problems = [16, 64, 256] if quick else [16, 64, 256, 1024]
    turns = [(n, t) for n in problems for t in (0.0, 1.0)]
    found: dict[tuple[int, float], list[dict[str, float]]] = {turn: [] for turn in turns}
    for number in range(1 + rounds):  # the first round warms up; in turn, as the machine's speed drifts
        for turn in random.Random(number).sample(turns, len(turns)):
            said = solve(ops, *turn)
            if number:
                found[turn].append(said)
    rows = []
    for (n, temperature), runs in found.items():
        middle = {name: median(run[name] for run in runs) for name in runs[0]}
        rows.append({"problems": n, "temperature": temperature, "n": len(runs), **middle})
    kept = [0, 100] if quick else [0, 100, 1600]
    return {
        "problems": rows,
        "wide": wide(ops, 64, 5 if quick else 40),
        "kept": [{"trees": n, "seconds": keep(ops, n)} for n in kept],
        "rounds": fork_and_join(ops, 100 if quick else 200),
        "full cache": [fill(ops, n) for n in ([1000] if quick else [1000, 4000, 16000])],
        "memory": live(ops, 1000 if quick else 10_000),
    }


def _engine(ops: Operations, **options: Any) -> tuple[miniapr.Engine, miniapr.Control, miniapr.Bundle]:
    bundle = miniapr.load()
    return (
        miniapr.Engine(bundle.model, bundle.tokenizer, backend=ops, **options),
        miniapr.Control.of(bundle.tokenizer, bundle.control),
        bundle,
    )


def _prompts(bundle: miniapr.Bundle, count: int, seed: int = 0) -> list[list[int]]:
    draw = random.Random(seed)
    problems = [Problem(tuple(draw.randint(1, 20) for _ in range(3)), draw.randint(1, 100)) for _ in range(count)]
    return [bundle.tokenizer.ids(prompt_text(problem).split()) for problem in problems]


def solve(ops: Operations, problems: int, temperature: float) -> dict[str, float]:
    """So many problems at once, each thought to the end: tokens decoded, seconds, and the model's part of these."""
    engine, control, bundle = _engine(ops, num_blocks=max(1024, BLOCKS * problems), max_batch_tokens=8192)
    model = [0.0]
    compute = engine.runner.graphs.compute

    def timed(batch: Any) -> torch.Tensor:
        begun = time.perf_counter()
        logits = compute(batch)
        model[0] += time.perf_counter() - begun
        return logits

    engine.runner.graphs.compute = timed  # type: ignore[method-assign]
    requests = [
        engine.submit(miniapr.adaptive(prompt, control, sampling=Sampling(temperature=temperature, seed=number)))
        for number, prompt in enumerate(_prompts(bundle, problems))
    ]
    begun = time.perf_counter()
    for request in requests:
        engine.wait(request)
    seconds = time.perf_counter() - begun
    tokens = sum(request.cost.decoded for request in requests)
    return {
        "tokens": tokens,
        "seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "engine_share": 1 - model[0] / seconds,
        "steps": engine.steps,
    }


def wide(ops: Operations, branches: int, steps: int) -> dict[str, float]:
    """What the engine adds to a step of M with so many branches on a prefix of 1,024, of the model's part."""
    model = models.build("M", torch.float32)
    models.lay_out(model, ops)
    tree = Tree(model, ops, 1024, branches)
    for _ in range(steps):
        tree.step()
    return {
        "branches": branches,
        "steps": steps,
        "model": median(tree.watch.seconds[-steps:]),
        "overhead": median(tree.overhead[-steps:]),
    }


def keep(ops: Operations, trees: int) -> float:
    """Seconds to decode one token of one tree while a user keeps so many others."""
    engine, _, bundle = _engine(ops, num_blocks=2 * trees + 64)
    kept = [engine.settle(engine.start(prompt)) for prompt in _prompts(bundle, trees)]
    root = engine.start(_prompts(bundle, 1, seed=1)[0])
    taken = []
    for _ in range(60):
        begun = time.perf_counter()
        engine.decode([root], max_tokens=1)
        taken.append(time.perf_counter() - begun)
    assert len(kept) == trees
    return median(taken[10:])


def fork_and_join(ops: Operations, rounds: int) -> dict[str, float]:
    """One tree that forks in two and is stitched, round after round: seconds of one of the first and last fifty."""
    engine, _, bundle = _engine(ops, num_blocks=8 * rounds)
    root = engine.start(_prompts(bundle, 1)[0])
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        branches = engine.fork(root, [[5], [6]])
        engine.decode(branches, max_tokens=3)
        root = engine.join(root, branches, then=[7])
        engine.decode([root], max_tokens=1)
        taken.append(time.perf_counter() - begun)
    return {"rounds": rounds, "first": median(taken[:50]), "last": median(taken[-50:]), "context": len(root.history)}


def fill(ops: Operations, blocks: int) -> dict[str, float]:
    """Seconds to compute a prompt of 2,000 tokens into an empty pool, and into one that is full of cached prefixes."""
    engine, _, _ = _engine(ops, num_blocks=blocks, max_batch_tokens=4096)
    draw = random.Random(0)

    def prompt() -> list[int]:
        return [draw.randrange(10, 400) for _ in range(2000)]

    def timed() -> float:
        begun = time.perf_counter()
        engine.release(engine.settle(engine.start(prompt())))
        return time.perf_counter() - begun

    empty = timed()
    while engine.pool.free > 130:
        short = engine.start([draw.randrange(10, 400) for _ in range(16 * 3)])
        engine.release(engine.settle(short))
    return {"blocks": blocks, "empty": empty, "full": median(timed() for _ in range(5))}


def live(ops: Operations, requests: int) -> dict[str, Any]:
    """Resident memory, MB, after each further ``CYCLE`` requests on one engine with the default options."""
    engine, control, bundle = _engine(ops, num_blocks=4096, max_batch_tokens=4096)
    resident = []
    for number in range(requests // CYCLE):
        for prompt in _prompts(bundle, CYCLE, seed=number):
            engine.submit(miniapr.adaptive(prompt, control))
        while engine.scheduler.requests:
            engine.wait(next(iter(engine.scheduler.requests.values())))
        resident.append(_resident())
    return {"requests": requests, "every": CYCLE, "resident_mb": resident}


def _resident() -> float:
    try:
        with open("/proc/self/statm", encoding="ascii") as told:
            return int(told.read().split()[1]) * resource.getpagesize() / 1e6
    except OSError:  # not Linux: the most there ever was
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
