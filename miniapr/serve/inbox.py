"""Events on their way from the engine to one client, who may be slower than the engine."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from ..engine.events import Event


class Inbox:
    """Lists of events, first in, first out. Within the event loop's thread only.

    The engine never waits for a client. So what a client does not take piles up here, up to ``most`` events; then
    ``overflown`` is set, and nothing is kept any more. Only a client that is being ``given`` something counts as one
    that does not read: a server that is slow itself turns nobody away.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.overflown = asyncio.Event()
        self._lists: deque[list[Event]] = deque()
        self._count = 0
        self._some = asyncio.Event()
        self._giving = False

    def put(self, events: list[Event]) -> None:
        if self._giving and self._count + len(events) > self.most:
            self._lists.clear()
            self.overflown.set()
        if not self.overflown.is_set():
            self._lists.append(events)
            self._count += len(events)
            self._some.set()

    async def get(self) -> list[Event]:
        while not self._lists:
            self._some.clear()
            await self._some.wait()
        events = self._lists.popleft()
        self._count -= len(events)
        return events

    @contextmanager
    def giving(self) -> Iterator[None]:
        """While the client is being sent what was here."""
        self._giving = True
        try:
            yield
        finally:
            self._giving = False
