"""Completions from an OpenAI-compatible server, as they stream in. The standard library is enough for that."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

AGAIN = (408, 429, 500, 502, 503, 504)  # what may work when it is tried again


class ServerError(RuntimeError):
    """What a server answered in place of a completion. ``status`` 0: nothing came through."""

    def __init__(self, status: int, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.status, self.wait = status, wait


@dataclass
class Usage:
    """What one completion cost, as the server counts. ``cached``: prompt tokens that it had computed before."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0


@dataclass
class Chunk:
    """Something new of a completion. ``ids``: its tokens, if the server tells. ``finish``: why it ended, if it did;
    ``reason``: the stop string or token that ended it, if the server tells."""

    text: str = ""
    ids: list[int] | None = None
    finish: str | None = None
    reason: str | int | None = None
    usage: Usage | None = None


class Call:
    """One completion under way; ``body`` is what is asked, after a pause."""

    def __init__(self, body: dict[str, Any], pause: float = 0.0) -> None:
        self.body, self.pause = body, pause
        self.connection: http.client.HTTPConnection | None = None
        self.came = False  # any token
        self.finish: str | None = None  # why it ended, as far as is known
        self.reason: str | int | None = None
        self._cancelled, self._lock = threading.Event(), threading.Lock()

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """From any thread: the connection is cut, which tells the server that nobody waits any more."""
        with self._lock:
            self._cancelled.set()
            if self.connection and self.connection.sock:
                with suppress(OSError):  # it may have gone by itself
                    self.connection.sock.shutdown(socket.SHUT_RDWR)

    def open(self, connection: http.client.HTTPConnection) -> bool:
        """Wait out the pause, and connect. False: it was cancelled in the meantime."""
        self._cancelled.wait(self.pause)
        if self.cancelled:
            return False
        connection.connect()
        with self._lock:
            self.connection = connection
            return not self.cancelled


@dataclass(frozen=True)
class Server:
    """Where to ask. ``url`` ends in the API's root, such as http://127.0.0.1:8000/v1.

    timeout  seconds without a byte, after which an answer is given up
    tries    of one completion, with pauses that double, or as long as the server asks for
    Raises ValueError for an address that is none.
    """

    url: str
    model: str
    key: str | None = None
    timeout: float = 120.0
    tries: int = 4
    pause: float = 0.5

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"engine must be an address like http://127.0.0.1:8000/v1, is {self.url!r}")

    def complete(self, call: Call) -> Iterator[Chunk]:
        """Stream one completion, once. Raises ServerError, ``status`` 0 where the connection failed."""
        connection = self._connect()
        try:
            if call.open(connection):
                yield from self._chunks(self._post(connection, call.body))
        except (OSError, http.client.HTTPException) as error:
            if not call.cancelled:
                raise ServerError(0, f"{self.url}: {str(error) or type(error).__name__}") from error
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """JSON from a path below the root."""
        connection = self._connect()
        try:
            connection.request("GET", self._path(path), headers=self._headers())
            return json.loads(_checked(connection.getresponse()).read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ServerError(0, f"{self.url}: {str(error) or type(error).__name__}") from error
        finally:
            connection.close()

    def pause_after(self, failures: int, error: ServerError) -> float:
        """Seconds to wait before another try. Raises the error where none would help, or none is left."""
        if failures >= self.tries or error.status not in (0, *AGAIN):
            raise error
        return min(30.0, self.pause * 2 ** (failures - 1) if error.wait is None else error.wait)

    def _connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        assert parts.hostname
        if parts.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=self.timeout, context=context)
        return http.client.HTTPConnection(parts.hostname, parts.port, timeout=self.timeout)

    def _path(self, path: str) -> str:
        return urlsplit(self.url).path.rstrip("/") + path

    def _headers(self) -> dict[str, str]:
        key = {"authorization": f"Bearer {self.key}"} if self.key else {}
        return {"content-type": "application/json", **key}

    def _post(self, connection: http.client.HTTPConnection, body: dict[str, Any]) -> http.client.HTTPResponse:
        whole = {"model": self.model, "stream": True, "stream_options": {"include_usage": True}, **body}
        connection.request("POST", self._path("/completions"), json.dumps(whole), self._headers())
        return _checked(connection.getresponse())

    def _chunks(self, answer: http.client.HTTPResponse) -> Iterator[Chunk]:
        finished = False
        for line in answer:
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                return
            chunk = _chunk(data)
            finished = finished or chunk.finish is not None
            yield chunk
        if not finished:
            raise ServerError(0, f"{self.url}: the answer broke off")


def _checked(answer: http.client.HTTPResponse) -> http.client.HTTPResponse:
    if answer.status == 200:
        return answer
    text = answer.read(20_000).decode(errors="replace")
    try:
        said = json.loads(text)
        message = (said.get("error") or said).get("message") or said.get("detail") or text
    except (ValueError, AttributeError):
        message = text
    wait = answer.getheader("retry-after", "")
    seconds = float(wait) if wait.isdigit() else None
    said_so = f"the server answered {answer.status}: {' '.join(str(message).split())[:300]}"
    raise ServerError(answer.status, said_so, seconds)


def _chunk(data: bytes) -> Chunk:
    """Raises ServerError for an error that came in the stream."""
    try:
        said = json.loads(data)
        if said.get("error"):
            raise ServerError(500, f"the server broke off: {said['error']}")
        chunk = Chunk()
        if said.get("choices"):
            choice = said["choices"][0]
            chunk.text, chunk.finish = choice.get("text") or "", choice.get("finish_reason")
            chunk.ids, chunk.reason = choice.get("token_ids"), choice.get("stop_reason")
        if usage := said.get("usage"):
            cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
            chunk.usage = Usage(usage.get("prompt_tokens", 0), cached, usage.get("completion_tokens", 0))
        return chunk
    except (ValueError, AttributeError, KeyError, IndexError, TypeError) as error:
        raise ServerError(0, f"the server sent what is no completion: {data[:100]!r}") from error
