"""Completions under way, a thread for each; what comes of them all waits in one queue."""

from __future__ import annotations

import queue
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..engine.branch import Branch, Tree
from .answers import Chunk, ServerError
from .client import Call, Server

Arrival = tuple[Branch, Call, Chunk | ServerError | None]  # the last of a call is its error, or None


class Calls:
    """Owns the threads. Every call that was begun ends with an arrival of its own, also one that was cut.

    wanted  what each decoding branch waits for
    begun   how many there were
    """

    def __init__(self, server: Server, concurrency: int) -> None:
        self.server, self.begun = server, 0
        self.wanted: dict[Branch, Call] = {}
        self._open: dict[Call, Tree] = {}  # those and others, which are not wanted any more and have not ended yet
        self._arrived: queue.SimpleQueue[Arrival] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="completion")

    def begin(self, branch: Branch, body: dict[str, Any], pause: float = 0.0, failures: int = 0) -> None:
        call = self.wanted[branch] = Call(body, pause, failures)
        self._open[call] = branch.request
        self.begun += 1
        self._threads.submit(self._fetch, branch, call)

    def waiting(self) -> int:
        """How many arrivals there are to be taken."""
        return self._arrived.qsize()

    def take(self, seconds: float) -> Arrival | None:
        """The next arrival; None if there is none in this time."""
        try:
            branch, call, what = self._arrived.get(timeout=seconds)
        except queue.Empty:
            return None
        if not isinstance(what, Chunk):
            del self._open[call]
        return branch, call, what

    @property
    def under_way(self) -> bool:
        """Whether anything can still arrive."""
        return bool(self._open)

    def open_of(self, request: Tree) -> list[Call]:
        """Those that have not ended yet, wanted or not."""
        return [call for call, whose in self._open.items() if whose is request]

    def cut(self, branch: Branch) -> None:
        """What it waits for is not wanted any more; idempotent."""
        if call := self.wanted.pop(branch, None):
            call.cancel()

    def close(self) -> None:
        """Cut them all; idempotent."""
        for call in list(self._open):
            call.cancel()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _fetch(self, branch: Branch, call: Call) -> None:
        end: ServerError | None = None
        try:
            for chunk in self.server.complete(call):
                self._arrived.put((branch, call, chunk))
        except ServerError as error:
            end = error
        except Exception as error:  # a thread that dies silently would be waited for forever
            end = ServerError(-1, f"{type(error).__name__}: {error}")
        self._arrived.put((branch, call, end))
