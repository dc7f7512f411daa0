"""Which tokens are computed in the next step, and who must give way when the pool is full.

Everything that a forward pass does is one thing here: a span that is *behind* is brought up to date. A
prompt is a span of which nothing is there yet; a decoding branch is one token behind; a preempted span
is behind again. So prefill, chunked prefill, decode and recomputation are not told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..kv.cache import KVCache
from ..kv.pool import PoolFull
from ..kv.span import Piece, Span, View, ancestry
from .branch import Branch, let_go
from .branching import written
from .events import Log
from .request import Request


@dataclass(frozen=True)
class Job:
    """Compute tokens ``start:stop`` of a span under its view; ``branch``: whose open span it is, if one's."""

    request: Request
    span: Span
    view: View
    start: int
    stop: int
    branch: Branch | None = None


class Scheduler:
    """Admits requests in order of arrival, picks jobs, makes room.

    The oldest request always gets on: it may take the blocks of idle ones and of younger ones, who
    compute what they lost again later. So no two can wait for each other (F31, F35). A request that
    does not even fit alone gets a ValueError with the numbers.
    """

    def __init__(self, kv: KVCache, max_batch_tokens: int, log: Log) -> None:
        self.kv, self.max_batch_tokens = kv, max_batch_tokens
        self.requests: list[Request] = []  # in order of arrival
        self._log = log

    # Who holds blocks

    def admit(self) -> None:
        """Let waiting requests in, first come first served, while there is room for what they need."""
        for request in self.requests:
            if request.resident or request.idle or not request.alive:
                continue
            busy = [other for other in self.requests if other.resident and not other.idle]
            # One block more for every branch that is decoding, else the newcomer is thrown out at once.
            margin = sum(len(other.needed()) for other in (*busy, request))
            if busy and self._missing(request) + margin > self.kv.available:
                return
            self.take_up(request)

    def _missing(self, request: Request) -> int:
        """Blocks that a request needs and that are not there."""
        pool = self.kv.pool
        open_spans = {branch.span: len(branch.span.tokens) for branch in request.alive}
        needed = ancestry(piece for branch in request.alive for piece in branch.view) | open_spans
        return sum(max(0, pool.blocks_for(stop) - len(span.blocks)) for span, stop in needed.items())

    def take_up(self, request: Request) -> None:
        """Hold what is still there of what the request needs; the rest will be computed."""
        request.kept = {}
        self._keep_more(request, {branch.span: branch.span.written for branch in request.alive})
        behind = self._behind(request)
        self._log.emit("admitted", request, restore=sum(stop - span.written for span, stop in behind.items()))
        self._hold_if_complete(request)

    def _behind(self, request: Request) -> dict[Span, int]:
        """Sealed spans of which tokens are missing, each after those that it depends on."""
        needed = ancestry(piece for branch in request.alive for piece in branch.view)
        self._keep_more(request, needed)
        return {span: stop for span, stop in needed.items() if span.written < stop}

    def _keep_more(self, request: Request, needed: dict[Span, int]) -> None:
        """Hold also what someone else has computed of it in the meantime."""
        assert request.kept is not None
        for span, stop in needed.items():
            before, now = request.kept.get(span, 0), min(stop, span.written)
            if now > before:
                self.kv.hold((Piece(span, 0, now),))
                self.kv.drop((Piece(span, 0, before),))
                request.kept[span] = now

    def _hold_if_complete(self, request: Request) -> bool:
        """From keeping single spans to every branch holding its own view."""
        if request.kept is None or self._behind(request):
            return request.held
        for branch in request.alive:
            self.kv.hold((*branch.view, Piece(branch.span, 0, branch.span.written)))
        self._let_go_kept(request)
        request.held = True
        return True

    def _let_go_kept(self, request: Request) -> None:
        if request.growing:
            self.kv.shrink(request.growing)
        for span, stop in (request.kept or {}).items():
            self.kv.drop((Piece(span, 0, stop),))
        request.kept = request.growing = None

    def give_up(self, request: Request) -> None:
        """Let go of all blocks of a request. Its spans know how to be computed again."""
        if request.held:
            for branch in request.alive:
                let_go(self.kv, branch)
        self._let_go_kept(request)
        for commit in request.commits:
            commit.let_go(self.kv)
        request.held = False

    def _preempt(self, request: Request) -> None:
        blocks = self.kv.pool.free
        self.give_up(request)
        self._log.emit("preempted", request, freed=self.kv.pool.free - blocks)

    def room(self, request: Request, span: Span, tokens: int) -> bool:
        """Grow a span of ``request``, at the cost of others if need be. False: the request itself had to
        give way. Raises ValueError if nobody is left to give way."""
        while True:
            try:
                self.kv.grow(span, tokens)
                return True
            except PoolFull as full:
                if self._forget_oldest_commit():
                    continue
                victim = self._victim(request)
                if victim is None:
                    raise ValueError(
                        f"request {request.id} does not fit: {full} while it is alone in the pool "
                        f"({self.kv.pool.block_size} tokens a block); give the engine more blocks"
                    ) from full
                self._preempt(victim)
                if victim is request:
                    return False

    def _forget_oldest_commit(self) -> bool:
        """What is kept only to go back to gives way first."""
        held = [commit for request in self.requests for commit in request.commits if commit.held]
        for commit in held[:1]:
            commit.let_go(self.kv)
        return bool(held)

    def _victim(self, request: Request) -> Request | None:
        others = [other for other in self.requests if other.resident and other is not request]
        idle = [other for other in others if other.idle]
        if idle:
            return idle[-1]
        younger = [other for other in others if other.id > request.id]
        if younger:
            return younger[-1]
        return request if others else None

    # What to compute

    def jobs(self, fail: Callable[[Request, Exception], None]) -> list[Job]:
        """The step's work, with room made for it: decoding branches first, then longer runs in chunks."""
        self.admit()
        chosen: list[Job] = []
        try:
            self._choose(chosen, fail)
        except BaseException:  # Ctrl-C: what was taken and will not be written to goes back
            self.undo(chosen)
            raise
        return [job for job in chosen if job.request.resident]  # others were preempted for an older one

    def undo(self, jobs: Iterable[Job]) -> None:
        """Give back the blocks of jobs that were not computed."""
        for job in jobs:
            self.kv.shrink(job.span)
            job.request.growing = None

    def _choose(self, chosen: list[Job], fail: Callable[[Request, Exception], None]) -> None:
        budget = self.max_batch_tokens
        for job in sorted(self._wishes(fail), key=lambda job: job.stop - job.start > 1):  # stable: oldest first
            request, span = job.request, job.span
            if budget == 0 or not request.resident or any(job.span is other.span for other in chosen):
                continue
            stop = min(job.stop, job.start + budget)
            try:
                if not self.room(request, span, stop):
                    continue
            except Exception as error:
                fail(request, error)
                continue
            if job.branch is None:
                request.growing = span
            chosen.append(Job(request, span, job.view, job.start, stop, job.branch))
            budget -= stop - job.start

    def _wishes(self, fail: Callable[[Request, Exception], None]) -> Iterable[Job]:
        wishes: list[Job] = []
        for request in list(self.requests):
            if not request.resident:
                continue
            try:
                if self._hold_if_complete(request):
                    wishes.extend(self._branch_jobs(request))
                else:
                    wishes.extend(self._restore_jobs(request))
            except Exception as error:
                fail(request, error)
        return wishes

    def _branch_jobs(self, request: Request) -> Iterable[Job]:
        for branch in request.needed():
            if not branch.view and not branch.span.written and not branch.span.blocks:
                self._adopt_prefix(branch)
            yield Job(request, branch.span, branch.view, branch.span.written, len(branch.span.tokens), branch)

    def _restore_jobs(self, request: Request) -> Iterable[Job]:
        for span, stop in self._behind(request).items():
            yield Job(request, span, span.view, span.written, stop)
            return  # the next one depends on it

    def _adopt_prefix(self, branch: Branch) -> None:
        """Begin a root on what the cache knows. Looked up and held before anything is allocated, so that
        room for the rest is not made by evicting just this (F15), and only once it is computed (F12)."""
        view = self.kv.match(branch.span.tokens)
        if len(view):
            self.kv.hold(view)
            branch.view = view
            branch.span = Span(len(view), view, branch.span.tokens[len(view) :], branch.span.id)
            branch.request.cost.add(reused=len(view))
            self._log.emit("cached", branch.request, branch, cached=len(view), **written(branch))

    def computed(self, job: Job) -> None:
        """Book a job that was done."""
        span, request, branch, count = job.span, job.request, job.branch, job.stop - job.start
        again = max(0, min(job.stop, span.peak) - job.start)
        span.peak = max(span.peak, job.stop)
        if branch and branch.sampled_at is not None and job.start <= branch.sampled_at < job.stop:
            branch.sampled_at = None
            count -= 1
        request.cost.add(recomputed=again, prefilled=count)
        if branch is None:
            self._restored(request, span)
        elif span.causal and job.stop - job.start > 1:
            self.kv.remember(job.view + (self.kv.full_blocks(span),))
        blocks = self.kv.blocks(Piece(span, job.start, job.stop))
        self._log.emit("computed", request, branch, span=span.id, start=job.start, stop=job.stop, blocks=blocks)

    def _restored(self, request: Request, span: Span) -> None:
        """A sealed span was brought further for a restoring request: the new blocks are the request's."""
        assert request.kept is not None
        request.kept[span], request.growing = span.written, None
