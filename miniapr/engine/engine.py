"""The engine: many trees of branches over one model and one block pool, a step at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..kv.cache import KVCache
from ..kv.pool import BlockPool, PoolFull
from ..kv.span import Piece, Span, View
from ..model.decoder import Decoder
from ..model.rope import cos_sin
from ..model.tokenizer import Tokenizer
from ..ops import Operations, load
from .branch import Branch, Limits
from .by_hand import ByHand
from .events import Event
from .joins import Join, Merge
from .request import Program, Request
from .sampling import Sampling, Token, sample
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
        self.ops = load(backend) if isinstance(backend, str) else backend
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
        self.scheduler = Scheduler(self.kv, max_batch_tokens, self._emit, self._copy)
        self.record, self.events = record, list[Event]()
        self.steps = 0
        self._ids = {"request": 0, "branch": 0, "span": 0}

    # Programs

    def submit(self, program: Program | None = None, limits: Limits | None = None) -> Request:
        """Queue a program; ``step`` drives it. Without one: an empty tree, to be driven by hand."""
        request = Request(self._next("request"), limits or Limits(), self.tokenizer, program)
        self.scheduler.requests.append(request)
        self._emit("submitted", request)
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

    def abort(self, request: Request) -> None:
        """End a request now, in whatever state it is; a second time does nothing (F38, F39)."""
        self._end(request, "aborted")

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
        self.steps += 1
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
                    self._end(request, "finished")

    def _fail(self, request: Request, error: Exception) -> None:
        if request.by_hand and request.task and isinstance(error, ValueError):
            request.hand_error = error  # the user's mistake: the tree stays as it was
            request.task.close()
            for branch in request.alive:
                branch.end("aborted")
            return
        request.error = request.hand_error = error
        self._end(request, "failed")

    def _end(self, request: Request, state: str) -> None:
        if request.state != "running":
            return
        request.state = state
        if request.task:
            request.task.close()
        for branch in request.branches:
            self._close(branch, "released" if state == "finished" else "aborted")
        self.scheduler.give_up(request)
        self.scheduler.requests.remove(request)
        self._emit(state, request, **({"error": str(request.error)} if request.error else {}))

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
                    if branch.logits is not None:
                        self._choose([branch])
                except Exception as error:
                    self._fail(branch.request, error)

    def _choose(self, branches: list[Branch]) -> None:
        states = [branch.rng.getstate() for branch in branches]
        try:
            uniforms = [b.rng.random() if b.sampling.temperature else 0.0 for b in branches]
            logits = torch.stack([b.logits for b in branches if b.logits is not None])  # [M, V]
            tokens = sample(logits, [b.sampling for b in branches], uniforms)
        except Exception:
            for branch, state in zip(branches, states, strict=True):
                branch.rng.setstate(state)
            raise
        for branch, token in zip(branches, tokens, strict=True):
            self._accept(branch, token)

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
        more = {"alternatives": token.alternatives} if token.alternatives else {}
        self._emit("decoded", branch.request, branch, token=token.id, text=text, logprob=token.logprob, **more)
        self._stop_if_reached(branch)

    def _stop_if_reached(self, branch: Branch) -> bool:
        reason = branch.reached(self.model.config.max_position_embeddings)
        if reason:
            branch.end(reason)
            self._emit("stopped", branch.request, branch, reason=reason)
        return reason is not None

    # Computing

    def _compute(self, jobs: list[Job]) -> None:
        """All jobs in one forward pass; if that fails, each request's alone, so that only the guilty one ends."""
        if not jobs:
            return
        try:
            self._forward(jobs)
        except Exception as error:
            requests = list(dict.fromkeys(job.request for job in jobs))
            for request in requests:
                own = [job for job in jobs if job.request is request]
                try:
                    if len(requests) == 1:
                        raise error
                    self._forward(own)
                except Exception as fault:
                    self._undo(own)
                    self._fail(request, fault)
        except BaseException:  # Ctrl-C: nothing was computed, nothing is half done
            self._undo(jobs)
            raise

    def _undo(self, jobs: list[Job]) -> None:
        for job in jobs:
            self.kv.shrink(job.span)
            job.request.growing = None

    def _forward(self, jobs: list[Job]) -> None:
        """Jobs whose tokens are the rows of one batch: N rows in all."""
        device = self.model.device
        tokens = [t for job in jobs for t in job.span.tokens[job.start : job.stop]]
        positions = [p for job in jobs for p in range(job.span.position + job.start, job.span.position + job.stop)]
        slots = [s for job in jobs for s in self.kv.slots(job.span, job.start, job.stop)]
        last, row = [], -1
        for job in jobs:
            row += job.stop - job.start
            last.append(row)
        finished = [i for i, job in enumerate(jobs) if job.branch and job.stop == len(job.span.tokens)]
        logits = self.model.paged(
            torch.tensor(tokens, device=device),  # [N]
            torch.tensor(positions, device=device),  # [N]
            torch.tensor(slots, device=device),  # [N]
            self.kv.plan(((job.view, job.span, job.start, job.stop) for job in jobs), device),
            self.pool.k_cache,
            self.pool.v_cache,
            self.ops,
            torch.tensor([last[i] for i in finished], dtype=torch.int64, device=device),  # [M]
        )
        for job in jobs:
            self._computed(job)
        for i, row_logits in zip(finished, logits, strict=True):
            branch = jobs[i].branch
            assert branch is not None
            branch.logits = row_logits

    def _computed(self, job: Job) -> None:
        """Only now do the tokens count as written: a prefix is not offered before it is there (F12)."""
        span, request, count = job.span, job.request, job.stop - job.start
        again = max(0, min(job.stop, span.peak) - job.start)
        span.written, span.peak = job.stop, max(span.peak, job.stop)
        branch = job.branch
        if branch and branch.sampled_at is not None and job.start <= branch.sampled_at < job.stop:
            branch.sampled_at = None
            count -= 1
        request.cost.add(recomputed=again, prefilled=count)
        if branch is None:
            self.scheduler.computed(request, span)
        elif span.causal and job.stop - job.start > 1:
            self.kv.remember(job.view + (self.kv.full_blocks(span),))
        self._emit("computed", request, branch, span=span.id, start=job.start, stop=job.stop)

    def _account(self, jobs: list[Job], begun: float) -> None:
        seconds = time.perf_counter() - begun
        for request in {job.request for job in jobs}:
            request.cost.add(steps=1, seconds=seconds)
        if jobs:
            cached = self.kv.reclaimable
            used = len(self.pool) - self.pool.free - cached
            rows = sum(job.stop - job.start for job in jobs)
            self._emit("step", rows=rows, seconds=seconds, free=self.pool.free, cached=cached, used=used)

    # What operations do

    def start_branch(self, request: Request, tokens: Sequence[int], sampling: Sampling) -> Branch:
        """A root with these tokens to compute. Raises ValueError if they are none or too many."""
        if not tokens:
            raise ValueError("the prompt is empty: a branch needs at least one token to go on from")
        self._check_tokens(tokens, 0)
        path = (sum(branch.parent is None for branch in request.branches),)
        branch = Branch(request, self._next("branch"), View(), self._span(0, View(), tokens), sampling, path=path)
        branch.first = len(tokens)
        request.branches.append(branch)
        self._emit("started", request, branch, position=branch.position, tokens=list(tokens))
        return branch

    def extend(self, branch: Branch, tokens: Sequence[int]) -> None:
        if tokens:
            self._check_tokens(tokens, branch.position)
            branch.span.tokens.extend(tokens)
            branch.logits = None

    def _check_tokens(self, tokens: Sequence[int], position: int) -> None:
        config, pool = self.model.config, self.pool
        for token in tokens:
            if not 0 <= token < config.vocab_size:
                raise ValueError(f"token {token} is not in the vocabulary of {config.vocab_size}")
        if position + len(tokens) > config.max_position_embeddings:
            raise ValueError(
                f"{len(tokens)} tokens from position {position} on exceed the context of "
                f"{config.max_position_embeddings}"
            )
        if pool.blocks_for(len(tokens)) > len(pool):
            raise ValueError(
                f"{len(tokens)} tokens need {pool.blocks_for(len(tokens))} blocks of {pool.block_size}, "
                f"the pool has {len(pool)}"
            )

    def fork_branch(self, parent: Branch, seeds: Sequence[Sequence[int]]) -> list[Branch]:
        """Seal the parent's span; each child gets the parent's view and an empty span of its own."""
        for seed in seeds:
            self._check_tokens(seed, parent.position)
        if parent.logits is None and not all(seeds):
            raise ValueError(f"branch {parent.id} has no logits that unseeded children could go on from")
        self._seal(parent)
        parent.forks += 1
        for number, seed in enumerate(seeds):
            path = (*parent.path, parent.forks, number)
            span = self._span(parent.position, parent.view, seed)
            child = Branch(parent.request, self._next("branch"), parent.view, span, parent.sampling, parent, path)
            child.critical = parent.critical
            child.logits = None if seed else parent.logits
            self.kv.hold(child.view)
            parent.children.append(child)
            parent.request.branches.append(child)
        reused = len(parent.view) * len(seeds)
        parent.request.cost.add(reused=reused)
        children = [{"id": child.id, "seed": child.span.tokens[:]} for child in parent.children]
        self._emit("forked", parent.request, parent, position=parent.position, children=children, reused=reused)
        return list(parent.children)

    def _seal(self, branch: Branch) -> None:
        """Nothing more is written to the span; what the branch held as its open span it now holds as a piece."""
        branch.view = branch.view + (branch.span.whole(),)
        branch.span = self._span(branch.position, branch.view)
        self.kv.remember(branch.view)

    def join_branches(
        self, parent: Branch, branches: Sequence[Branch], rule: Join, then: Sequence[int], keep: bool
    ) -> Branch:
        begun = time.perf_counter()
        merge = rule(parent, branches)
        fresh = [*merge.compute, *then]
        if not fresh and merge.logits is None:
            raise ValueError("the joined branch has no token to go on from: give some in `then`")
        self._check_tokens(fresh, merge.position)
        view, moved = self._materialise(parent.request, merge) if merge.copy else (merge.view, {})
        if not merge.copy:
            self.kv.hold(view)
        joined = self._beside(parent) if keep else self._consume(parent, branches)
        joined.view = view
        joined.span = self._span(merge.position, view, fresh)
        joined.span.peak = min(merge.again, len(fresh))
        joined.logits = None if fresh else merge.logits
        joined.critical = max(branch.critical for branch in branches)
        cost = {"recomputed": merge.again, "reused": len(view), "bytes_moved": 0, "keys_shifted": 0, **moved}
        parent.request.cost.add(**{name: n for name, n in cost.items() if name != "recomputed"})
        names = [branch.id for branch in branches]
        seconds = time.perf_counter() - begun
        how = getattr(rule, "__name__", "custom")
        self._emit(
            "joined", parent.request, joined, children=names, how=how, position=merge.position, seconds=seconds, **cost
        )
        return joined

    def _beside(self, parent: Branch) -> Branch:
        """A new branch in the parent's place, so that the parent and its branches stay as they are."""
        path = (*parent.path, -len(parent.request.branches))
        span = self._span(parent.position, parent.view)
        joined = Branch(parent.request, self._next("branch"), parent.view, span, parent.sampling, parent.parent, path)
        joined.first = parent.first
        parent.request.branches.append(joined)
        if parent.parent:
            parent.parent.children.append(joined)
        return joined

    def _consume(self, parent: Branch, branches: Sequence[Branch]) -> Branch:
        for child in list(parent.children):
            self._close(child, "joined" if child in branches else "released")
        self.scheduler.let_go(parent)
        return parent

    def _materialise(self, request: Request, merge: Merge) -> tuple[View, dict[str, int]]:
        """Copy every moved piece to blocks of its own and turn its keys; the returned view is held.

        If the pool has no room for the copies, the query is turned instead: the same result, said in an event.
        """
        pieces, copies = [], []
        for piece in merge.view:
            if piece.shift:
                start = piece.start // self.pool.block_size * self.pool.block_size  # whole blocks are copied
                source = Piece(piece.span, start, piece.stop, piece.shift)
                span = Span(source.position, source.span.view, source.tokens, self._next("span"), source)
                copies.append(span)
                piece = Piece(span, piece.start - start, piece.stop - start)
            pieces.append(piece)
        view = View(tuple(pieces))
        done: list[Span] = []
        try:
            for span in copies:
                self.kv.grow(span, len(span.tokens))
                done.append(span)
                self._copy(request, span)
        except BaseException as error:
            for span in done:
                self.kv.drop_open(span)
            if not isinstance(error, PoolFull):
                raise
            self._emit("fallback", request, wanted="stitch_copied", did="stitch_contiguous", why=str(error))
            self.kv.hold(merge.view)
            return merge.view, {}
        self.kv.hold(piece for piece in view if piece.span not in copies)  # the copies' blocks are held already
        blocks = sum(len(span.blocks) for span in copies)
        keys = sum(len(span.tokens) for span in copies)
        return view, {"bytes_moved": blocks * self.pool.bytes_per_block, "keys_shifted": keys}

    def _copy(self, request: Request, span: Span) -> None:
        """Blocks of the piece that ``span`` is a copy of, keys turned once by the whole shift: from their
        first rotation, because every turn rounds (F50, F54)."""
        assert span.copied_from is not None
        config, device = self.model.config, self.model.device
        source, target = self.kv.copy(span)
        shift = torch.tensor([span.copied_from.shift], device=device)
        cos, sin = cos_sin(shift, config.head_dim, config.rope_theta, self.model.dtype)  # [1, D / 2]
        self.ops.copy_blocks(self.pool.k_cache, self.pool.v_cache, source, target)
        turn = torch.zeros_like(target)
        self.ops.shift_keys(self.pool.k_cache, target, turn, cos, sin, config.rope_interleaved)
        span.written = span.peak = len(span.tokens)

    def release_branch(self, branch: Branch) -> None:
        self._close(branch, "released")

    def _close(self, branch: Branch, state: str) -> None:
        """End a branch and all below it; idempotent. Its tokens stay readable."""
        if branch.state != "alive":
            return
        for child in list(branch.children):
            self._close(child, state)
        branch.end("aborted")
        if branch.request.held:
            self.kv.remember(branch.view + (Piece(branch.span, 0, branch.span.written),))
        self.scheduler.let_go(branch)
        branch.state = state
        branch.logits = None
        if branch.parent and branch in branch.parent.children:
            branch.parent.children.remove(branch)
        self._emit(state, branch.request, branch)

    # Bookkeeping

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
        self.kv.check(held, spans)

    def _next(self, kind: str) -> int:
        self._ids[kind] += 1
        return self._ids[kind] - 1

    def _span(self, position: int, view: View, tokens: Sequence[int] = ()) -> Span:
        return Span(position, view, tokens, self._next("span"))

    def _emit(self, kind: str, request: Request | None = None, branch: Branch | None = None, **data: Any) -> None:
        ids = (request.id if request else None, branch.id if branch else None)
        self.events.append(Event(kind, self.steps, *ids, data))
