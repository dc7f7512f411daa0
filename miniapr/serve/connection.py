"""Connections: HTTP/1.1 read by h11, clients that are silent when it is their turn, and the end of the server."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from .errors import ApiError
from .limits import ServerLimits
from .service import Service

LAST_WORDS = 10  # seconds in which clients can take what they are told after the grace; a busy machine is slow


class Connection(H11Protocol):
    """One client's. It is the client's turn until a whole request is there, and while what was written to it waits
    to be read: whoever does not move then is let go, and when there are too many, whoever is waited for longest.

    The parser is named here because uvicorn would take whichever is installed, and they differ in what they let pass.
    """

    transport: asyncio.Transport

    def __init__(self, limits: ServerLimits, *, app_state: dict[str, Any], **given: Any) -> None:
        super().__init__(app_state=app_state | {"hang_up": self._hang_up}, **given)
        self.limits = limits

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.since = self.loop.time()
        self._owed: object = None
        self._look()
        if len(self.connections) > self.limits.connections:
            every: Any = self.connections
            min((one for one in every if one.waits), key=lambda one: one.since)._hang_up()  # at worst this one

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self.since = self.loop.time()
        super().on_response_complete()

    def _hang_up(self) -> None:
        self.connections.discard(self)  # at once: it must not be chosen again to give place
        self.transport.abort()  # close() would wait until all that was written is read

    def _look(self) -> None:
        owed = self._what_is_owed()
        if owed is not None and owed == self._owed:
            self._hang_up()
        self._owed = owed
        self._timer = self.loop.call_later(self.limits.silence, self._look)

    @property
    def _answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    @property
    def waits(self) -> bool:
        """For the client. A body has its own time, in which this is so too."""
        return self._what_is_owed() is not None or self.cycle.more_body

    def _what_is_owed(self) -> object:
        """By the client: something that changes as it gets on. None while it waits for us."""
        unread = self.transport.get_write_buffer_size()
        if unread and (self._answered or self.flow.write_paused):  # nothing is added to it now
            return unread
        return ("request after", self.cycle) if self._answered else None

    def send_400_response(self, msg: str) -> None:
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # an answer is under way
            self._hang_up()
            return
        body = json.dumps(ApiError(400, "this is not HTTP/1.1 as this server reads it").body()).encode()
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class Server(uvicorn.Server):
    """Serves until it is told to stop. What runs then has ``grace`` seconds; what still does is ended with a word."""

    def __init__(self, app: FastAPI, service: Service, grace: float, log_level: str = "warning") -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=partial(Connection, service.limits),  # type: ignore[arg-type]
                ws="none",
                proxy_headers=False,
                log_level=log_level,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=grace + LAST_WORDS,  # type: ignore[arg-type]
            )
        )
        self.service, self.grace = service, grace

    async def shutdown(self, sockets: Any = None) -> None:
        end = asyncio.get_running_loop().call_later(self.grace, self.service.loop.end)
        await super().shutdown(sockets)
        end.cancel()
