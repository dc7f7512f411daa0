"""Which tokens are computed in the next step, and who must give way when the pool is full.

Everything that a forward pass does is one thing here: a span that is *behind* is brought up to date. A
prompt is a span of which nothing is there yet; a decoding branch is one token behind; a preempted span
is behind again. So prefill, chunked prefill, decode and recomputation are not told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..kv.cache import KVCache
from ..kv.pool import PoolFull
from ..kv.span import Piece, Span, Together
from .commits import Commits
from .events import Log
from .jobs import Job, begun, of_weaves, together
from .request import Request
from .residency import Residency


class Scheduler:
    """Admits requests in order of arrival, picks jobs, makes room.

    The oldest request always gets on: it may take the blocks of resting ones and of younger ones, who
    compute what they lost again later. So no two can wait for each other (F31, F35). A request that
    does not even fit alone gets a ValueError with the numbers.

    A step looks at the active requests only: trees that a user keeps, however many, cost nothing until they
    are driven again.

    requests  all that have not ended, by number
    active    of these, those with an operation under way
    resting   of the others, those that hold blocks, the longest unused first
    """

    def __init__(self, kv: KVCache, residency: Residency, commits: Commits, max_batch_tokens: int, log: Log) -> None:
        self.kv, self.residency, self.commits, self.max_batch_tokens = kv, residency, commits, max_batch_tokens
        self.requests: dict[int, Request] = {}
        self.active: dict[int, Request] = {}
        self.resting: dict[int, Request] = {}
        self._log = log

    # Who is there

    def enter(self, request: Request) -> None:
        self.requests[request.id] = request
        if request.task:
            self.wake(request)

    def wake(self, request: Request) -> None:
        """An operation of it is under way."""
        self.active[request.id] = request
        self.resting.pop(request.id, None)

    def rest(self, request: Request) -> None:
        """Nobody waits for anything of it any more; it keeps its blocks until others need them."""
        self.active.pop(request.id, None)
        self.resting.pop(request.id, None)
        if request.resident and request.id in self.requests:
            self.resting[request.id] = request

    def leave(self, request: Request) -> None:
        """It has ended."""
        self.give_up(request)
        for known in (self.requests, self.active, self.resting):
            known.pop(request.id, None)

    def in_order(self) -> list[Request]:
        """The active requests, the oldest first."""
        return [self.active[number] for number in sorted(self.active)]

    # Who holds blocks

    def give_up(self, request: Request) -> None:
        """Let go of all blocks of a request. Its spans know how to be computed again."""
        self.residency.give_up(request)
        self.commits.forget_all(request)
        self.resting.pop(request.id, None)

    def preempt(self, request: Request) -> None:
        blocks = self.kv.pool.free
        self.give_up(request)
        self._log.emit("preempted", request, freed=self.kv.pool.free - blocks)

    def admit(self, order: Iterable[Request]) -> None:
        """Let waiting requests in, first come first served, while there is room for what they need."""
        margin: int | None = None  # one block more for every branch that is computing, else a newcomer is out at once
        for request in order:
            if request.resident or not request.living:
                continue
            if margin is None:
                margin = sum(len(other.needed()) for other in order if other.resident)
            rows = len(request.needed())
            if margin and self.residency.missing(request) + margin + rows > self.kv.available:
                return
            margin += rows
            self.residency.take_up(request)

    def room(self, request: Request, span: Span, tokens: int) -> bool:
        """Grow a span of ``request``, at the cost of others if need be. False: the request itself had to
        give way. Raises ValueError if nobody is left to give way."""
        while True:
            try:
                self.kv.grow(span, tokens)
                return True
            except PoolFull as full:
                if self.commits.forget_oldest():
                    continue
                victim = self._victim(request)
                if victim is None:
                    raise ValueError(
                        f"request {request.id} does not fit: {full} while it is alone in the pool "
                        f"({self.kv.pool.block_size} tokens a block); give the engine more blocks"
                    ) from full
                self.preempt(victim)
                if victim is request:
                    return False

    def _victim(self, request: Request) -> Request | None:
        for resting in self.resting.values():
            return resting
        others = [other for other in self.active.values() if other.resident and other is not request]
        youngest = max(others, key=lambda other: other.id, default=None)
        if youngest and youngest.id > request.id:
            return youngest
        return request if others else None

    # What to compute

    def jobs(self, fail: Callable[[Request, Exception], None]) -> list[Job]:
        """The step's work, with room made for it: decoding branches first, then longer runs in chunks."""
        order = self.in_order()
        self.admit(order)
        chosen: list[Job] = []
        try:
            self._choose(self._wishes(order, fail), chosen, fail)
        except BaseException:  # Ctrl-C: what was taken and will not be written to goes back
            self.undo(chosen)
            raise
        return [job for job in chosen if job.request.resident]  # others were preempted for an older one

    def undo(self, jobs: Iterable[Job]) -> None:
        """Give back the blocks of jobs that were not computed."""
        for job in jobs:
            self.kv.shrink(job.span)
            job.request.growing.clear()

    def _wishes(self, order: Iterable[Request], fail: Callable[[Request, Exception], None]) -> list[Job]:
        """What all would have computed: single tokens first, then longer runs; of each the oldest first."""
        single: list[Job] = []
        longer: list[Job] = []
        for request in order:
            if not request.resident:
                continue
            try:
                if request.held or self.residency.complete(request):
                    woven: dict[Together, int] = {}  # up to which index they are wanted
                    for branch in request.needed():
                        span, stop = branch.span, len(branch.span.tokens)
                        if span.weave is not None:
                            woven[span.weave] = max(woven.get(span.weave, 0), stop)
                            continue
                        if not span.written and not branch.view.pieces and not span.blocks:
                            span = self.residency.adopt_prefix(branch)
                            stop = len(span.tokens)
                        job = Job(request, span, branch.view, span.written, stop, branch)
                        (single if stop - job.start == 1 else longer).append(job)
                    for job in of_weaves(request, woven) if woven else ():
                        (single if job.stop - job.start == 1 else longer).append(job)
                else:  # the first; those after it depend on it
                    span, stop = next(iter(self.residency.behind(request).items()))
                    stop = self.kv.whole_blocks(span, stop)
                    start = begun(span.weave, stop) if span.weave else span.written
                    longer.append(Job(request, span, span.view, start, stop, None))
            except Exception as error:
                fail(request, error)
        return single + longer

    def _choose(self, wishes: Iterable[Job], chosen: list[Job], fail: Callable[[Request, Exception], None]) -> None:
        budget, size = self.max_batch_tokens, self.kv.pool.block_size
        spans: set[Span] = set()  # what two restore is computed once
        for job in wishes:
            if budget <= 0:
                return
            request, span, start, stop = job.request, job.span, job.start, job.stop
            if not request.resident or span in spans:
                continue
            if span.weave is not None:
                parts = self._choose_together(job, budget, chosen, fail)
                spans.update(part.span for part in parts)
                budget -= sum(part.stop - part.start for part in parts)
                continue
            if stop - start > budget:
                stop = start + budget
                if job.branch is None:  # by whole blocks (see Residency), one at least: else it might never be its turn
                    stop = min(job.stop, max(stop // size, start // size + 1) * size)
                job = job._replace(stop=stop)  # noqa: PLW2901
            try:
                if stop > len(span.blocks) * size and not self.room(request, span, stop):
                    continue
            except Exception as error:
                fail(request, error)
                continue
            if job.branch is None:
                request.growing.append(span)
            spans.add(span)
            chosen.append(job)
            budget -= stop - start

    def _choose_together(
        self, job: Job, budget: int, chosen: list[Job], fail: Callable[[Request, Exception], None]
    ) -> list[Job]:
        """The same for a weave: what is chosen of all its members, or nothing."""
        request, parts = job.request, together(job, budget, self.kv.pool.block_size)
        chosen += parts
        try:
            for part in parts:
                if not self.room(request, part.span, part.stop):
                    return []
                if not request.held:
                    request.growing.append(part.span)
        except Exception as error:
            del chosen[-len(parts) :]
            self.undo(parts)
            fail(request, error)
            return []
        return parts

    def computed(self, job: Job) -> None:
        """Book a job that was done."""
        request, span, _, start, stop, branch = job
        count = stop - start
        if start < span.again:
            request.cost.recomputed += min(stop, span.again) - start
        span.again, span.peak = max(span.again, stop), max(span.peak, stop)
        if branch and branch.sampled_at is not None and start <= branch.sampled_at < stop:
            branch.sampled_at = None
            count -= 1
        request.cost.prefilled += count
        context = sum(map(len, span.weave.sees(span, stop))) if span.weave else job.view.length + stop
        request.largest_context = max(request.largest_context, context)
        if request.kept is not None:
            self.residency.restored(request, span)
        elif span.causal and stop - start > 1:
            self.kv.remember(job.view + (self.kv.full_blocks(span),))
        if self._log.on:
            blocks = self.kv.blocks(Piece(span, start, stop))
            self._log.emit("computed", request, branch, span=span.id, start=start, stop=stop, blocks=blocks)
