"""The main job: one problem, forked by the model, joined in every way, and once more without a fork."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch

from ..engine.branch import Limits
from ..engine.engine import Engine
from ..engine.operations import Fork, Join, Release, Settle, Start
from ..engine.request import Program, Request
from ..engine.sampling import Sampling
from ..methods.adaptive import adaptive
from ..methods.compare import JOINS, ByControl, compare
from ..methods.distance import TRUTH, branched, distances
from ..methods.grammar import Control
from ..model.bundle import Bundle
from ..players import Game
from ..stepper.trace import Trace
from ..tasks.countdown import Problem, solve
from .report import Report, Sequential

STRETCHES = 16
MODES = ("adaptive", "sequential")
Stop = Callable[[], bool]


@dataclass(frozen=True)
class Options:
    """Of one run. ``width``: how many branches a fork may have; ``max_tokens``: of each stretch of decoding,
    of which all branches together have ``STRETCHES`` full ones."""

    backend: str = "auto"
    blocks: int = 256
    block_size: int = 16
    width: int = 64
    max_tokens: int = 1000
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        for name in ("width", "max_tokens", "blocks", "block_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name.replace('_', '-')} must be at least 1, is {getattr(self, name)}")


class Guide(Protocol):
    """Walks a person through a program: see stepper.py."""

    def wrap(self, program: Program) -> Program: ...

    def follow(self, engine: Engine, request: Request, stop: Stop) -> Stop:
        """What to ask between two steps; from then on the guide tells of this request."""

    def clock(self) -> float: ...


class Run:
    """The main job. Owns an engine; ``report`` holds what has been found so far, at any moment. Raises ValueError for a
    model without the two ways of thinking, or a problem that has no words in its vocabulary."""

    def __init__(self, bundle: Bundle, game: Game, problem: Problem, options: Options) -> None:
        self.options, self.problem, self._bundle = options, problem, bundle
        self.control = Control.of(bundle.tokenizer, bundle.control)
        self._prompts = {mode: game.player[mode].ask(game.put(problem)) for mode in MODES}
        self._method = ByControl(self._prompts["adaptive"], self.control, max_tokens=options.max_tokens)
        self.engine = self._new_engine()
        parameters = bundle.model.parameter_count
        model = {
            "name": bundle.name,
            "parameters": parameters,
            "backend": self.engine.ops.name.rpartition(".")[2],
            "threads": torch.get_num_threads(),
        }
        self.report = Report(problem, game, solve(problem), model, events=self.engine.events)

    def _new_engine(self, record: bool = True) -> Engine:
        options = self.options
        return Engine(
            self._bundle.model,
            self._bundle.tokenizer,
            num_blocks=options.blocks,
            block_size=options.block_size,
            backend=options.backend,
            record=record,
        )

    def execute(self, stop: Stop = lambda: False, guide: Guide | None = None) -> Report:
        """All of it, or as much as there was before ``stop`` said so."""
        self._warm_up(stop)
        self._compare(stop, guide)
        if not self.report.interrupted:
            self._sequential(stop)
        return self.report

    def _warm_up(self, stop: Stop) -> None:
        """The first passes of a process are slow (memory, threads, kernels chosen): not part of what is
        measured, so they are made beforehand."""
        self._aside(_rehearsal(self._prompts["adaptive"], self.control), stop)  # an error would come again, in the run

    def _aside(self, program: Program, stop: Stop, limits: Limits | None = None) -> None:
        """In an engine that is thrown away, so that nobody draws or counts it."""
        engine = self._new_engine(record=False)
        request = engine.submit(program, limits)
        engine.drive(request, stop)
        engine.abort(request)

    def _compare(self, stop: Stop, guide: Guide | None) -> None:
        result, clock = self.report.comparison, guide.clock if guide else time.perf_counter
        program = compare(self.engine, result, self._method, sampling=self.options.sampling, clock=clock)
        request = self._submit(guide.wrap(program) if guide else program)
        concluded = self._wait(request, guide.follow(self.engine, request, stop) if guide else stop)
        if concluded and TRUTH in concluded:
            reading = distances(result, self._method, concluded[TRUTH], self.options.sampling)
            self._aside(reading, stop, self._limits())

    def _sequential(self, stop: Stop) -> None:
        program = adaptive(
            self._prompts["sequential"],
            self.control,
            sampling=self.options.sampling,
            max_tokens=self.options.max_tokens,
        )
        request = self._submit(program)
        self._wait(request, stop)
        if request.branches:
            root, cost = request.branches[0], request.cost
            correct = self.report.verdict(root.text).correct
            spent = (root.critical, cost.decoded, cost.steps, cost.seconds)
            self.report.sequential = Sequential(root.text, correct, *spent)

    def side_by_side(self, stop: Stop = lambda: False) -> Trace:
        """The same prompt and seeds twice, each on an engine of its own: joined by stitch, and by re-prefill."""
        runs = []
        for how, title in (("stitch", "stitch"), ("reprefill", "re-prefill")):
            engine = self._new_engine()
            sampling = replace(self.options.sampling, logprobs=5)
            engine.wait(engine.submit(_once(self._method, how, sampling), self._limits()), stop)
            runs.append(Trace.of(engine, title))
        return runs[0] | runs[1]

    def _limits(self) -> Limits:
        return Limits(STRETCHES * self.options.max_tokens, self.options.width)

    def _submit(self, program: Program) -> Request:
        return self.engine.submit(program, self._limits())

    def _wait(self, request: Request, stop: Stop) -> Any:
        value = self.engine.wait(request, stop)
        if request.state == "running":
            self.report.interrupted = True
            self.engine.abort(request)
        self.engine.check()
        return value


def _once(method: ByControl, how: str, sampling: Sampling) -> Program:
    """The comparison with one join, step for step, so that its counts are those of the tables."""
    root, branches = yield from branched(method, sampling)
    if branches:
        yield Join(root, branches, how, then=method.then)
        yield from method.conclude(root, how)


def _rehearsal(prompt: Sequence[int], control: Control) -> Program:
    """Every kind of pass once, on text without meaning: prefill, a batch of branches, each join."""
    root = yield Start(prompt)
    seeds = [(control.thread, *list(prompt) * length) for length in (2, 3, 8)]
    branches = yield Fork(root, seeds)
    yield Settle(branches)
    for how in JOINS:
        joined = yield Join(root, branches, how, then=(control.join,), keep=True)
        yield Settle([joined])
        yield Release([joined])
