"""A server that other people might have written: it answers what its script says."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

HOLD = None  # in a script: say nothing more until the client has gone
Piece = bytes | None
Script = Callable[[str, dict[str, str], Any], Iterable[Piece]]  # of path, headers and JSON


class Foreign(socketserver.ThreadingTCPServer):
    """``gone``: set when a client has left a connection that was held. ``sent``: bytes so far."""

    daemon_threads = True

    def __init__(self, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.gone, self.sent = script, threading.Event(), 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(socketserver.StreamRequestHandler):
    server: Foreign

    def handle(self) -> None:
        with suppress(OSError):
            path = self.rfile.readline().split()[1].decode()
            headers = dict(line.lower().split(": ", 1) for line in self._head())
            body = self.rfile.read(int(headers.get("content-length", 0)))
            for piece in self.server.script(path, headers, json.loads(body or b"null")):
                if piece is HOLD:
                    self.rfile.read()
                    self.server.gone.set()
                else:
                    self.connection.sendall(piece)
                    self.server.sent += len(piece)

    def _head(self) -> Iterator[str]:
        while line := self.rfile.readline().strip():
            yield line.decode("latin-1")


@contextmanager
def foreign(script: Script) -> Iterator[Foreign]:
    with Foreign(script) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


FRAMES = ("HTTP/1.0", "close", "chunked")


def head(frame: str, status: str = "200 OK", *more: str) -> bytes:
    version = "HTTP/1.0" if frame == "HTTP/1.0" else "HTTP/1.1"
    how = {"close": ["Connection: close"], "chunked": ["Transfer-Encoding: chunked"]}.get(frame, [])
    return "\r\n".join([f"{version} {status}", *how, *more, "", ""]).encode("latin-1")


def framed(frame: str, piece: bytes) -> bytes:
    return f"{len(piece):x}\r\n".encode() + piece + b"\r\n" if frame == "chunked" else piece


def event(said: Any) -> bytes:
    return b"data: " + (said if isinstance(said, bytes) else json.dumps(said).encode()) + b"\n\n"


def said(text: str = "", ids: Any = None, finish: Any = None, **more: Any) -> dict[str, Any]:
    """A chunk as it should be."""
    return {"choices": [{"index": 0, "text": text, "token_ids": ids, "finish_reason": finish}], **more}


def answer(*events: Any, frame: str = "close", hold: bool = False) -> Iterator[Piece]:
    """A whole stream, or one that never ends."""
    yield head(frame)
    for one in (*events, *([] if hold else [b"[DONE]"])):
        yield framed(frame, event(one))
    yield HOLD if hold else framed(frame, b"") if frame == "chunked" else b""
