"""The engine: many trees of branches over one model and one block pool, a step at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from ..kv.cache import KVCache
from ..kv.pool import BlockPool
from ..kv.span import Piece
from ..model.decoder import Decoder
from ..model.tokenizer import Tokenizer
from ..ops import Operations, load
from ..ops.backends import load_for
from .branch import Branch, Limits, Tree
from .branching import Branching
from .by_hand import ByHand
from .commits import Commits
from .decoding import Decoding
from .events import Census, Event, Log
from .jobs import Job
from .request import Program, Request
from .residency import Residency
from .runner import Runner
from .scheduler import Scheduler


class Engine(ByHand):
    """Runs programs. One step samples a token for every branch that has logits, lets every program advance,
    and computes what then is to be computed in one batched forward pass.

    Owns the pool, the requests and the list of events. Never does: keep state outside itself; several
    engines can share one model. One request's error ends that request and no other.
    Several threads may call it: each call waits for the step under way, and whoever steps brings all requests on.

    num_blocks, block_size  the pool
    backend                 "auto", "reference" or "cpp"
    max_batch_tokens        rows of one forward pass; longer prompts are computed in chunks (what is computed
                            again, by whole blocks: a step may have up to one block's more; a weave, by whole indices:
                            up to one row's for each of its members)
    reuse_prefixes          keep a cache of causal prefixes
    record                  make events of all that happens and keep them, for ever: for who draws, counts or replays
                            a run. Otherwise they are made in ``step`` only, for whoever called it
    """

    def __init__(
        self,
        model: Decoder,
        tokenizer: Tokenizer,
        *,
        num_blocks: int = 1024,
        block_size: int = 16,
        backend: str | Operations = "auto",
        max_batch_tokens: int = 512,
        reuse_prefixes: bool = True,
        record: bool = False,
    ) -> None:
        if max_batch_tokens < 1:
            raise ValueError(f"max_batch_tokens must be at least 1, is {max_batch_tokens}")
        config = model.config
        self.model, self.tokenizer = model, tokenizer
        if backend == "auto":
            backend = load_for(model.dtype, model.device)
        self.ops = load(backend, model.device) if isinstance(backend, str) else backend
        self.pool = BlockPool(
            num_blocks,
            block_size,
            config.num_hidden_layers,
            config.num_key_value_heads,
            config.head_dim,
            model.dtype,
            model.device,
        )
        self.lock, self.record = threading.RLock(), record
        self.kv = KVCache(self.pool, reuse_prefixes)
        self.log = Log(record)
        self.census = Census(self.kv, self.log)
        self.runner = Runner(model, self.kv, self.ops)
        self.branching = Branching(self.kv, config, self.log, self.runner.copy)
        self.residency = Residency(self.kv, self.log)
        self.commits = Commits(self.branching, self.residency, self.census)
        self.decoding = Decoding(tokenizer, self.ops, config.max_position_embeddings, self.log)
        self.scheduler = Scheduler(self.kv, self.residency, self.commits, max_batch_tokens, self.log)

    @property
    def events(self) -> list[Event]:
        """What has happened so far, if the engine records."""
        return self.log.events

    @property
    def steps(self) -> int:
        return self.log.step

    # Programs

    def submit(self, program: Program | None = None, limits: Limits | None = None) -> Request:
        """Queue a program; ``step`` drives it. Without one: an empty tree, to be driven by hand."""
        with self.lock:
            request = Request(self.log.number("request"), limits or Limits(), self.tokenizer, program)
            self.scheduler.enter(request)
            self.log.emit("submitted", request)
        return request

    def run(self, program: Program, limits: Limits | None = None) -> Any:
        """Submit a program and step until it has ended. Returns its value, or raises its error."""
        return self.wait(self.submit(program, limits))

    def wait(self, request: Request, stop: Callable[[], bool] = lambda: False) -> Any:
        """Step until a request has ended, or ``stop`` says so between two steps. Returns the program's value,
        or raises its error."""
        self.drive(request, stop)
        if request.error:
            raise request.error
        return request.task.value if request.task else None

    def drive(self, request: Request, stop: Callable[[], bool] = lambda: False) -> None:
        """Step while the request's program runs."""
        quiet = 0
        while request.task and not request.task.finished and not stop():
            quiet = 0 if self.advance() else quiet + 1
            if quiet > 2:  # one quiet step is normal: an operation begins, and samples in the next
                raise RuntimeError(f"the engine is stuck: nothing can be done for {request}")

    def abort(self, what: Tree | Branch) -> None:
        """End a request, or one branch with all below it, now and in whatever state it is; a second time does
        nothing (F38, F39). Whoever waits for an aborted branch is told so."""
        with self.lock:
            if isinstance(what, Tree):
                self.end(what, "aborted")
            else:
                self.branching.close(what, "aborted")
            self.census.tell()

    def renew(self, weights: Mapping[str, Tensor]) -> None:
        """Go on with other weights of the same shapes (a ``state_dict``), loaded into the memory that is there, packed
        or not. Cached prefixes are forgotten: their keys are another model's (F18). Raises ValueError while there are
        requests, which stand on such keys too."""
        with self.lock:
            if self.scheduler.requests:
                raise ValueError(f"{len(self.scheduler.requests)} requests stand on keys of the weights that are here")
            with torch.no_grad():
                self.model.load_state_dict(weights)
            self.kv.flush()

    def step(self) -> list[Event]:
        """One step for all requests. Returns what happened in it."""
        with self.lock:
            mark, self.log.on = len(self.events), True  # somebody reads it
            try:
                self.advance()
            finally:
                self.log.on = self.record
            happened = self.events[mark:]
            if not self.record:
                self.events.clear()
            return happened

    def advance(self) -> bool:
        """The same, telling nobody. Returns whether anything happened."""
        with self.lock:
            mark, begun = self.log.count, time.perf_counter()
            self.decoding.step(self.scheduler.in_order(), self._fail)
            self._advance()
            jobs = self.scheduler.jobs(self._fail)
            with torch.inference_mode():
                self._compute(jobs)
            self._account(jobs, begun)
            self.census.tell()
            self.log.step += 1
            return bool(jobs) or self.log.count > mark

    def _advance(self) -> None:
        for request in self.scheduler.in_order():
            if not request.task or request.task.finished:
                continue
            try:
                request.task.advance(self)
            except Exception as error:
                if request.by_hand:  # the user's mistake, whatever kind it is: no operation is done by halves
                    self._refuse(request, error)
                else:
                    self._fail(request, error)
            else:
                if request.task.finished and not request.by_hand:
                    self.end(request, "finished")

    def _refuse(self, request: Request, error: Exception) -> None:
        """End the operation under way; the tree stays as it was."""
        request.hand_error = error
        if request.task:
            request.task.close()
        for branch in request.living:
            branch.end("aborted")

    def _fail(self, tree: Tree, error: Exception) -> None:
        request = self.scheduler.requests.get(tree.id)
        if request is None:  # it has ended already
            return
        if request.by_hand and request.task and isinstance(error, ValueError):
            self._refuse(request, error)
            return
        request.error = request.hand_error = error
        self.end(request, "failed")

    def end(self, tree: Tree, state: str) -> None:
        """Close a request's program and branches and let all of it go; idempotent."""
        with self.lock:
            request = self.scheduler.requests.get(tree.id)
            if request is None or request is not tree:
                return
            request.state = state
            try:
                if request.task:
                    request.task.close()
                for branch in request.alive:
                    self.branching.close(branch, "ended" if state == "finished" else "aborted")
            finally:
                self.scheduler.leave(request)
                self.log.emit(state, request, error=str(request.error or ""))

    # Computing

    def _compute(self, jobs: list[Job]) -> None:
        """All jobs in one forward pass; if that fails, each request's alone, so that only the guilty one ends."""
        if not jobs:
            return
        try:
            self._run(jobs)
        except Exception as error:
            requests = list(dict.fromkeys(job.request for job in jobs))
            for request in requests:
                own = [job for job in jobs if job.request is request]
                try:
                    if len(requests) == 1:
                        raise error
                    self._run(own)
                except Exception as fault:
                    self.scheduler.undo(own)
                    self._fail(request, fault)
        except BaseException:  # Ctrl-C: nothing was computed, nothing is half done
            self.scheduler.undo(jobs)
            raise

    def _run(self, jobs: list[Job]) -> None:
        self.runner.forward(jobs)
        for job in jobs:
            self.scheduler.computed(job)

    def _account(self, jobs: list[Job], begun: float) -> None:
        seconds = time.perf_counter() - begun
        for request in {job.request for job in jobs}:
            request.cost.steps += 1
            request.cost.seconds += seconds
        if jobs and self.log.on:
            cached = self.kv.reclaimable
            used = len(self.pool) - self.pool.free - cached
            rows = sum(job.stop - job.start for job in jobs)
            self.log.emit("step", rows=rows, seconds=seconds, free=self.pool.free, cached=cached, used=used)

    def check(self) -> None:
        """Recount every block from its holders (what must hold after every step). Raises AssertionError."""
        held: list[Piece] = []
        for request in self.scheduler.requests.values():
            assert not (request.held and request.kept is not None)
            known = request.id in self.scheduler.active or request.id in self.scheduler.resting
            assert known or not request.resident, f"{request} holds blocks, and nobody would ask it to give way"
            held.extend(Piece(span, 0, stop) for span, stop in (request.kept or {}).items())
            for branch in request.holders if request.held else ():
                held.extend(branch.view)
        spans = [b.span for request in self.scheduler.requests.values() if request.held for b in request.holders]
        views = chain.from_iterable(commit.views for commit in self.commits.held)
        self.kv.check(held, spans, chain.from_iterable(views))
