"""Both sides of the engine line: the same thoughts in the engine and through a server, phase by phase."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from ..engine.engine import Engine
from ..engine.operations import Decode, Fork, Join, Settle, Start
from ..engine.request import Program
from ..engine.sampling import Sampling
from ..model.bundle import Bundle
from ..remote.client import Server
from ..remote.connect import connect
from ..remote.engine import RemoteEngine
from .phases import PHASES, Measured, measure
from .thoughts import Thought

# name -> (join, in the engine?, with a prefix cache?)
SIDES = {
    "engine, stitch": ("stitch", True, True),
    "engine, re-prefill": ("reprefill", True, True),
    "client, re-prefill, prefix cache": ("reprefill", False, True),
    "client, re-prefill, no cache": ("reprefill", False, False),
}
TRUTH = "engine, re-prefill"  # whose conclusions the others' are compared with
Stop = Callable[[], bool]


@dataclass
class Cell:
    """One point of the grid: ``branches`` of ``length`` tokens each, after a prompt, on every side."""

    branches: int
    length: int
    sides: dict[str, list[Measured]] = field(default_factory=dict)

    def join_share(self, side: str) -> float:
        return statistics.median(one.join_share for one in self.sides[side])

    def join_seconds(self, side: str) -> float:
        return statistics.median(one.seconds["join"] for one in self.sides[side])


@dataclass
class Sides:
    """What was measured: every thought on every side, and the grid."""

    model: dict[str, Any]
    thoughts: list[str] = field(default_factory=list)
    runs: dict[str, list[Measured]] = field(default_factory=dict)
    grid: list[Cell] = field(default_factory=list)

    def sum(self, side: str, name: str) -> float:
        return sum(getattr(one, name) for one in self.runs[side])

    def seconds(self, side: str, phase: str) -> float:
        return sum(one.seconds[phase] for one in self.runs[side])

    def agreement(self, side: str) -> float:
        """Share of thoughts with the very same conclusion as after the engine's re-prefill."""
        pairs = zip(self.runs[side], self.runs[TRUTH], strict=True)
        return statistics.mean(mine.conclusion == true.conclusion for mine, true in pairs)

    def as_dict(self) -> dict[str, Any]:
        sides = {
            side: {
                "agreement": self.agreement(side),
                "seconds": {phase: self.seconds(side, phase) for phase in PHASES},
                "thoughts": [one.as_dict() for one in runs],
            }
            for side, runs in self.runs.items()
        }
        grid = [
            {
                "branches": cell.branches,
                "length": cell.length,
                "sides": {
                    side: {"join_share": cell.join_share(side), "runs": [one.as_dict() for one in runs]}
                    for side, runs in cell.sides.items()
                },
            }
            for cell in self.grid
        ]
        return {"model": self.model, "thoughts": self.thoughts, "sides": sides, "grid": grid}


@dataclass(frozen=True)
class Plan:
    """What to measure. ``prompt`` and ``conclusion``: tokens before the fork and after the join of the grid."""

    lengths: Sequence[int] = (16, 64, 256)
    counts: Sequence[int] = (2, 4, 8)
    prompt: int = 128
    conclusion: int = 32
    rounds: int = 3


def forced(prompt: Sequence[int], branches: int, length: int, conclusion: int, how: str) -> Program:
    """A thought of given sizes, whatever the model would have liked."""
    root = yield Start(prompt, Sampling())
    yield Settle([root])
    threads = yield Fork(root, [[prompt[number]] for number in range(branches)])
    yield Decode(threads, max_tokens=length - 1)
    yield Join(root, threads, how, then=(prompt[0],))
    yield Decode([root], max_tokens=conclusion)
    return root


def run_sides(bundle: Bundle, thoughts: Sequence[Thought], plan: Plan, model: str, blocks: int, stop: Stop) -> Sides:
    """Everything, a side at a time. Two servers are started on this machine's loopback, and ended."""
    threads = torch.get_num_threads()
    about = {"name": bundle.name, "parameters": bundle.model.parameter_count, "threads": threads}
    found = Sides(about, [thought.name for thought in thoughts])
    room = bundle.model.config.max_position_embeddings - plan.prompt - plan.conclusion
    grid = [Cell(count, length) for count in plan.counts for length in plan.lengths]
    found.grid = [cell for cell in grid if cell.branches * cell.length < room]  # others would not fit in the context
    for side, (how, inside, cache) in SIDES.items():
        with _engine(bundle, model, blocks, inside, cache) as engine:
            _one_side(found, side, engine, how, thoughts, plan, bundle, stop)
    return found


def _one_side(
    found: Sides,
    side: str,
    engine: Engine | RemoteEngine,
    how: str,
    thoughts: Sequence[Thought],
    plan: Plan,
    bundle: Bundle,
    stop: Stop,
) -> None:
    salt = iter(range(1 << 30))  # every prompt of the grid is new to the prefix cache
    measure(engine, forced(_tokens(bundle, 64, next(salt)), 2, 4, 4, how), None, stop)  # the first is slow
    found.runs[side] = [measure(engine, thought.program(how), None, stop) for thought in thoughts]
    for cell in found.grid:
        programs = (
            forced(_tokens(bundle, plan.prompt, next(salt)), cell.branches, cell.length, plan.conclusion, how)
            for _ in range(plan.rounds)
        )
        cell.sides[side] = [measure(engine, program, None, stop) for program in programs]


def _tokens(bundle: Bundle, count: int, seed: int) -> list[int]:
    """Token ids without meaning, all different in their beginning."""
    generator = torch.Generator().manual_seed(seed)
    most = min(len(bundle.tokenizer), 400)  # ordinary words in every vocabulary that is at hand
    ids: list[int] = torch.randint(most // 4, most, (count,), generator=generator).tolist()
    return ids


@contextmanager
def _engine(bundle: Bundle, model: str, blocks: int, inside: bool, cache: bool) -> Iterator[Engine | RemoteEngine]:
    if inside:
        yield Engine(bundle.model, bundle.tokenizer, num_blocks=blocks, reuse_prefixes=cache, record=True)
        return
    options = ["--blocks", str(blocks), "--threads", str(torch.get_num_threads())]
    with own_server(model, *options, *([] if cache else ["--no-prefix-cache"])) as url:
        engine = connect(Server(url, bundle.name), bundle.tokenizer)
        try:
            yield engine
        finally:
            engine.close()


@contextmanager
def own_server(model: str, *options: str) -> Iterator[str]:
    """A server in a process of its own, on any free port of the loopback; its address."""
    command = [sys.executable, "-m", "miniapr", "serve", "--model", model, "--port", "0", "--grace", "1", *options]
    quiet = {key: value for key, value in os.environ.items() if key != "MINIAPR_API_KEY"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=quiet) as process:
        assert process.stdout
        line = process.stdout.readline()
        try:
            if " at " not in line:
                raise RuntimeError("the server could not be started; what it said stands above")
            yield line.split(" at ")[1].strip()
        finally:
            process.terminate()
