"""Completions from an OpenAI-compatible server, as they stream in. The standard library is enough for that."""

from __future__ import annotations

import http.client
import json
import math
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from .answers import Chunk, ServerError, Usage, checked, chunk, document, lines

AGAIN = (0, 408, 429, 500, 502, 503, 504)  # what may work when it is tried again
LONGEST = 1 << 20  # bytes of a line, beside what was asked: some servers say the prompt again
A_TOKEN = 2048  # bytes that a server may spend on one token
CARDS = 4 << 20  # bytes of a list of models
CONNECT = 10.0  # seconds: while a connection is being made, it cannot be cut


class Call:
    """One completion under way; ``body`` is what is asked, after a pause, for the time after so many ``failures``."""

    def __init__(self, body: dict[str, Any], pause: float = 0.0, failures: int = 0) -> None:
        self.body, self.pause, self.failures = body, pause, failures
        self.came = False  # any token
        self.finish: str | None = None  # why it ended, as far as is known
        self.reason: str | int | None = None
        self.usage: Usage | None = None  # the last that was told: each counts from the beginning
        self._socket: socket.socket | None = None
        self._cancelled, self._lock = threading.Event(), threading.Lock()

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """From any thread: the connection is cut, which tells the server that nobody waits any more."""
        with self._lock:
            self._cancelled.set()
            if self._socket:
                with suppress(OSError):  # it may have gone by itself
                    self._socket.shutdown(socket.SHUT_RDWR)

    def open(self, connection: http.client.HTTPConnection) -> bool:
        """Wait out the pause, and connect. False: it was cancelled in the meantime."""
        self._cancelled.wait(self.pause)
        if self.cancelled:
            return False
        connection.connect()
        with self._lock:
            # Kept here: http.client forgets the socket of an answer that ends with its connection.
            self._socket = connection.sock
            return not self.cancelled


@dataclass(frozen=True)
class Server:
    """Where to ask. ``url`` ends in the API's root, such as http://127.0.0.1:8000/v1.

    key      as it was read: space around it is no part of it
    timeout  seconds without a byte, after which an answer is given up
    tries    of one completion, with pauses that double, or as long as the server asks for
    Raises ValueError for an address, a key or a timeout that is none. Never shows the key.
    """

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    timeout: float = 120.0
    tries: int = 4
    pause: float = 0.5

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # brackets that do not close, a port that is no number
            usable = False
        if not usable:
            raise ValueError(f"engine must be an address like http://127.0.0.1:8000/v1, is {self.url!r}")
        if not 0 < self.timeout < math.inf:
            raise ValueError(f"timeout must be a number of seconds above 0, is {self.timeout}")
        key = (self.key or "").strip() or None
        if key and not (key.isascii() and key.isprintable()):
            raise ValueError("the server's key holds a character that no header can carry (it is not shown here)")
        object.__setattr__(self, "key", key)

    def complete(self, call: Call) -> Iterator[Chunk]:
        """Stream one completion, once. Raises ServerError, ``status`` 0 where the connection failed."""
        try:
            with closing(self._connection()) as connection:
                if call.open(connection):
                    connection.sock.settimeout(self.timeout)
                    yield from self._chunks(connection, call.body)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if not call.cancelled:
                raise self._broken(error) from error

    def get(self, path: str) -> Any:
        """JSON from a path below the root. Raises ServerError."""
        try:
            with closing(self._connection()) as connection:
                connection.connect()
                connection.sock.settimeout(self.timeout)
                connection.request("GET", self._path(path), headers=self._headers())
                with checked(connection.getresponse()) as answer:
                    return document(answer, CARDS)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._broken(error) from error

    def pause_after(self, failures: int, error: ServerError) -> float:
        """Seconds to wait before another try. Raises the error where none would help, or none is left."""
        if failures >= self.tries or error.status not in AGAIN:
            raise error
        return min(30.0, self.pause * 2 ** (failures - 1) if error.wait is None else error.wait)

    def _broken(self, error: Exception) -> ServerError:
        return ServerError(0, f"{self.url}: {str(error) or type(error).__name__}")

    def _connection(self) -> http.client.HTTPConnection:
        parts, timeout = urlsplit(self.url), min(self.timeout, CONNECT)
        assert parts.hostname
        if parts.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=timeout, context=context)
        return http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)

    def _path(self, path: str) -> str:
        return urlsplit(self.url).path.rstrip("/") + path

    def _headers(self) -> dict[str, str]:
        key = {"authorization": f"Bearer {self.key}"} if self.key else {}
        return {"content-type": "application/json", **key}

    def _chunks(self, connection: http.client.HTTPConnection, body: dict[str, Any]) -> Iterator[Chunk]:
        whole = {"model": self.model, "stream": True, "stream_options": {"include_usage": True}, **body}
        asked, finished = json.dumps(whole), False
        longest = LONGEST + len(asked)
        connection.request("POST", self._path("/completions"), asked, self._headers())
        with checked(connection.getresponse()) as answer:
            for line in lines(answer, longest, longest + A_TOKEN * body["max_tokens"]):
                if not line.startswith(b"data:"):
                    continue
                data = line[5:].strip()
                if data == b"[DONE]":
                    return
                found = chunk(data)
                finished = finished or found.finish is not None
                yield found
        if not finished:
            raise ServerError(0, f"{self.url}: the answer broke off")
