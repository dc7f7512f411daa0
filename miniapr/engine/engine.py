"""The engine: many trees of branches over one model and one block pool, a step at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..kv.cache import KVCache
from ..kv.pool import BlockPool
from ..kv.span import Piece, Span
from ..model.decoder import Decoder
from ..model.tokenizer import Tokenizer
from ..ops import Operations, load
from ..ops.backends import load_for
from .branch import Branch, Limits
from .branching import Branching
from .by_hand import ByHand
from .events import Event, Log
from .request import Program, Request
from .runner import Runner
from .sampling import Token, sample, together
from .scheduler import Job, Scheduler


class Engine(ByHand):
    """Runs programs. One step samples a token for every branch that has logits, lets every program advance,
    and computes what then is to be computed in one batched forward pass.

    Owns the pool, the requests and the list of events. Never does: keep state outside itself; several
    engines can share one model. One request's error ends that request and no other.

    num_blocks, block_size  the pool
    backend                 "auto", "reference" or "cpp"
    max_batch_tokens        rows of one forward pass; longer prompts are computed in chunks
    reuse_prefixes          keep a cache of causal prefixes
    record                  keep the events of all steps, not of the last one only
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
        record: bool = True,
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
        self.kv = KVCache(self.pool, reuse_prefixes)
        self.log, self.record = Log(), record
        self.told: np.ndarray | None = None  # what events have said of the pool; replaced, never changed in place
        self.runner = Runner(model, self.kv, self.ops)
        self.branching = Branching(self.kv, config, self.log, self.runner.copy)
        self.scheduler = Scheduler(self.kv, max_batch_tokens, self.log)

    @property
    def events(self) -> list[Event]:
        """What has happened so far (of the last step only, unless ``record``)."""
        return self.log.events

    @property
    def steps(self) -> int:
        return self.log.step

    # Programs

    def submit(self, program: Program | None = None, limits: Limits | None = None) -> Request:
        """Queue a program; ``step`` drives it. Without one: an empty tree, to be driven by hand."""
        request = Request(self.log.number("request"), limits or Limits(), self.tokenizer, program)
        self.scheduler.requests.append(request)
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
            quiet = 0 if self.step() else quiet + 1
            if quiet > 2:  # one quiet step is normal: an operation begins, and samples in the next
                raise RuntimeError(f"the engine is stuck: nothing can be done for {request}")

    def abort(self, what: Request | Branch) -> None:
        """End a request, or one branch with all below it, now and in whatever state it is; a second time does
        nothing (F38, F39). Whoever waits for an aborted branch is told so."""
        if isinstance(what, Request):
            self.end(what, "aborted")
        else:
            self.branching.close(what, "aborted")
        self.tell()

    def step(self) -> list[Event]:
        """One step; returns what happened in it."""
        if not self.record:
            self.events.clear()
        mark, begun = len(self.events), time.perf_counter()
        self._sample()
        self._advance()
        jobs = self.scheduler.jobs(self._fail)
        with torch.inference_mode():
            self._compute(jobs)
        self._account(jobs, begun)
        self.tell()
        self.log.step += 1
        return self.events[mark:]

    def _advance(self) -> None:
        for request in list(self.scheduler.requests):
            if not request.task or request.task.finished:
                continue
            try:
                request.task.advance(self)
            except Exception as error:
                self._fail(request, error)
            else:
                if request.task.finished and not request.by_hand:
                    self.end(request, "finished")

    def _fail(self, request: Request, error: Exception) -> None:
        if request.by_hand and request.task and isinstance(error, ValueError):
            request.hand_error = error  # the user's mistake: the tree stays as it was
            request.task.close()
            for branch in request.alive:
                branch.end("aborted")
            return
        request.error = request.hand_error = error
        self.end(request, "failed")

    def end(self, request: Request, state: str) -> None:
        """Close a request's program and branches and let all of it go; idempotent."""
        if request.state != "running":
            return
        request.state = state
        if request.task:
            request.task.close()
        for branch in request.branches:
            self.branching.close(branch, "released" if state == "finished" else "aborted")
        self.scheduler.give_up(request)
        self.scheduler.requests.remove(request)
        self.log.emit(state, request, error=str(request.error or ""))

    # Sampling

    def _sample(self) -> None:
        """A token for every branch that decodes and knows what may come next."""
        ready = []
        for request in self.scheduler.requests:
            for branch in request.alive:
                if branch.goal and branch.logits is not None and not self._stop_if_reached(branch):
                    ready.append(branch)
        if not ready:
            return
        try:
            self._choose(ready)
        except Exception:  # one row's fault must not be another's: choose one by one
            for branch in ready:
                try:
                    if branch.goal and branch.logits is not None:
                        self._choose([branch])
                except Exception as error:
                    self._fail(branch.request, error)

    def _choose(self, branches: list[Branch]) -> None:
        drawing = [branch for branch in branches if branch.sampling.temperature]
        states = [branch.rng.getstate() for branch in drawing]
        try:
            uniforms = [b.rng.random() if b.sampling.temperature else 0.0 for b in branches]
            logits = together([b.logits for b in branches if b.logits is not None])  # [M, V]
            tokens = sample(logits, [b.sampling for b in branches], uniforms)
        except Exception:
            for branch, state in zip(drawing, states, strict=True):
                branch.rng.setstate(state)
            raise
        for branch, token in zip(branches, tokens, strict=True):
            try:
                if branch.goal:  # its tree may have failed at a branch before it
                    self._accept(branch, token)
            except Exception as error:
                self._fail(branch.request, error)

    def _accept(self, branch: Branch, token: Token) -> None:
        branch.sampled_at = len(branch.span.tokens)
        branch.span.tokens.append(token.id)
        branch.generated.append(token)
        branch.logits = None
        branch.critical += 1
        branch.request.cost.add(decoded=1)
        text = self.tokenizer.decode([token.id])
        if branch.goal and branch.goal.stream:
            text = branch.goal.stream.push(token.id)
        # What cannot be sampled has no finite logarithm, which JSON has no word for.
        said = [(id, max(logprob, -1e9), self.tokenizer.decode([id])) for id, logprob in token.alternatives]
        more = {"alternatives": said} if said else {}
        self.log.emit("decoded", branch.request, branch, token=token.id, text=text, logprob=token.logprob, **more)
        self._stop_if_reached(branch)

    def _stop_if_reached(self, branch: Branch) -> bool:
        reason = branch.reached(self.model.config.max_position_embeddings)
        if reason:
            branch.end(reason)
            self.log.emit("stopped", branch.request, branch, reason=reason)
        return reason is not None

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
            request.cost.add(steps=1, seconds=seconds)
        if jobs:
            cached = self.kv.reclaimable
            used = len(self.pool) - self.pool.free - cached
            rows = sum(job.stop - job.start for job in jobs)
            self.log.emit("step", rows=rows, seconds=seconds, free=self.pool.free, cached=cached, used=used)

    # Bookkeeping

    def tell(self) -> None:
        """Note whose holders have changed, for who draws the pool: the blocks that branches and the prefix cache
        hold, without those that only a commit keeps."""
        if not self.record:
            return
        now = self.pool.refs - self.kv.kept_refs  # [num_blocks]
        before = np.zeros_like(now) if self.told is None else self.told
        changed = np.nonzero(now != before)[0]
        if len(changed):
            self.log.emit("pool", refs={int(block): int(now[block]) for block in changed})
            self.told = now

    def check(self) -> None:
        """Recount every block from its holders (what must hold after every step). Raises AssertionError."""
        held: list[Piece] = []
        spans: list[Span] = []
        for request in self.scheduler.requests:
            assert not (request.held and request.kept is not None)
            held.extend(Piece(span, 0, stop) for span, stop in (request.kept or {}).items())
            for branch in request.alive if request.held else ():
                held.extend(branch.view)
                spans.append(branch.span)
        commits = (commit for request in self.scheduler.requests for commit in request.commits if commit.held)
        self.kv.check(held, spans, (piece for commit in commits for view in commit.views for piece in view))
