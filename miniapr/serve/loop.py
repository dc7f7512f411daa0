"""One thread drives the engine; everyone else sends it messages and is sent what happened.

The engine knows nothing of threads. So only this thread ever touches it: what others want done is put into an
inbox and done between two steps, and what a step made happen is handed to the event loop in one go.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

from ..engine.branch import Limits
from ..engine.engine import Engine
from ..engine.events import Event
from ..engine.request import Program, Request
from .inbox import Inbox
from .metrics import Metrics
from .traces import Recorder

T = TypeVar("T")
QUIET = 3  # steps in which nothing could be done, one after the other: more means that nothing ever will
ENDED = ("finished", "failed", "aborted")
log = logging.getLogger(__name__)


class Stopping(RuntimeError):
    """The server's end came before the request's."""


@dataclass
class Ticket:
    """One request's place on the engine. ``inbox`` gets a list of events for each step that concerned it; the
    last list ends with one that says how it ended. ``recorder``: keeps them too, if they are to be looked at."""

    program: Program
    limits: Limits
    inbox: Inbox
    recorder: Recorder | None = None
    request: Request | None = None
    cancelled: bool = False


class EngineLoop:
    """Owns the engine from ``start`` to ``end``.

    Continuous batching needs nothing more: every step of the engine holds whatever branches of whatever requests
    can get on, and a new request takes part from the next step on.
    Never does: wait for a client. A slow reader's events queue up, bounded by its inbox.
    """

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        self.engine, self.metrics = engine, metrics
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._tickets: dict[int, Ticket] = {}  # by the request's number
        self._stopping = False
        self._quiet = 0
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """From within the event loop that will be handed what happens."""
        self._aio = asyncio.get_running_loop()
        self._thread.start()

    def end(self) -> None:
        """Let no more in, and end what still runs with ``Stopping``, soon. From within the event loop."""
        self._stopping = True
        self._inbox.put(lambda: None)

    def join(self) -> None:
        """Wait for it."""
        self._thread.join()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._stopping

    def submit(self, ticket: Ticket) -> None:
        """Raises Stopping if nothing is taken in any more."""
        self._put(lambda: self._submit(ticket))

    def cancel(self, ticket: Ticket) -> None:
        """End a request with its whole tree; harmless when it has ended."""
        ticket.cancelled = True
        if self.alive:  # or it has ended with all others
            self._put(lambda: self._cancel(ticket))

    def ask(self, question: Callable[[], T]) -> Future[T]:
        """Call a function between two steps, where the engine holds still and all that happened before has been counted
        and handed out. Raises Stopping as ``submit`` does."""
        answer: Future[T] = Future()

        def call() -> None:
            if not answer.set_running_or_notify_cancel():  # nobody wants to know any more
                return
            try:
                self._hand_out()  # what others asked for before, of which no step has told yet
                said = question()
            except BaseException as error:
                answer.set_exception(error)
            else:
                answer.set_result(said)

        self._put(call)
        return answer

    def _put(self, call: Callable[[], None]) -> None:
        if not self.alive:
            raise Stopping("the server is stopping")
        self._inbox.put(call)

    # In the engine's thread

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._take_in(wait=not self._tickets)  # nothing to do: sleep until somebody wants something
                if self._tickets and not self._stopping:
                    self._step()
                self._hand_out()
            except Exception as error:  # the engine keeps its requests apart; what gets here is a bug
                log.exception("a step failed")
                self._end_all(error)
        try:
            self._take_in(wait=False)  # what was let in before the end is told of it too
        finally:
            self._end_all(Stopping("the server is stopping"))

    def _take_in(self, wait: bool) -> None:
        if wait:
            self._inbox.get()()
        while not self._inbox.empty():
            self._inbox.get()()

    def _step(self) -> None:
        self._quiet = 0 if self.engine.step() else self._quiet + 1
        if self._quiet > QUIET:
            raise RuntimeError("the engine is stuck: nothing can be done for any of its requests")

    def _submit(self, ticket: Ticket) -> None:
        if ticket.cancelled:
            return
        ticket.request = self.engine.submit(ticket.program, ticket.limits)
        self._tickets[ticket.request.id] = ticket

    def _cancel(self, ticket: Ticket) -> None:
        if ticket.request:
            self.engine.abort(ticket.request)

    def _hand_out(self) -> None:
        """Every event to whom it concerns, with one call into the event loop for all of them."""
        events = self.engine.events[:]
        self.engine.events.clear()
        self.metrics.count(events)
        parcels: dict[int, list[Event]] = defaultdict(list)
        for event in events:
            if event.request is not None and event.request in self._tickets:
                parcels[event.request].append(event)
        if not parcels:
            return
        for ticket in (self._tickets[number] for number in parcels):
            if ticket.recorder and ticket.request:
                ticket.recorder.take(self.engine, ticket.request, events)
        self._post([(self._tickets[number].inbox, parcel) for number, parcel in parcels.items()])
        for number, parcel in parcels.items():
            if parcel[-1].kind in ENDED and parcel[-1].branch is None:
                self._log_fault(self._tickets.pop(number))

    def _log_fault(self, ticket: Ticket) -> None:
        """What is no fault of the user's is told to whoever keeps the server; the user only hears that it happened."""
        error = ticket.request and ticket.request.error
        if error and not isinstance(error, ValueError):
            log.error("%r failed", ticket.request, exc_info=error)

    def _post(self, posts: list[tuple[Inbox, list[Event]]]) -> None:
        def put() -> None:
            for inbox, parcel in posts:
                inbox.put(parcel)

        try:
            self._aio.call_soon_threadsafe(put)
        except RuntimeError:  # the event loop is closed: nobody is there to be told
            log.debug("nobody is there to be told")

    def _end_all(self, error: Exception) -> None:
        self._quiet = 0
        tickets, self._tickets = self._tickets, {}
        for number, ticket in tickets.items():
            assert ticket.request
            ticket.request.error = error
            try:
                self.engine.abort(ticket.request)
            except Exception:
                log.exception("request %d could not be ended", number)
            self._post([(ticket.inbox, [Event("failed", self.engine.steps, number, None, {"error": str(error)})])])
