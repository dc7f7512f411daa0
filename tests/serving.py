"""A server of our own in this process, on a free port of this machine's loopback, and ways to talk to it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from miniapr.engine.engine import Engine
from miniapr.model.bundle import Bundle
from miniapr.serve.app import create_app
from miniapr.serve.connection import Server
from miniapr.serve.limits import ServerLimits
from miniapr.serve.service import Service

PROMPT = "8 7 3 -> 29 :"
PARALLEL = {"method": "adaptive", "join": "stitch"}
HANG = 600  # seconds: only a hang takes so long, on any machine, and pytest's own bound takes longer

# Two answers of 60,000 tokens have room, which take minutes.
LASTING: dict[str, Any] = {
    "limits": ServerLimits(tokens=1 << 17, silence=HANG, body_seconds=HANG),
    "num_blocks": 8192,
}


class Running:
    """A server at work. ``url`` is its root."""

    def __init__(self, service: Service, server: Server, url: str, key: str | None) -> None:
        self.service, self.server, self.url, self.key = service, server, url, key
        self.engine = service.loop.engine

    def stop(self) -> None:
        """As a signal would tell it: finish, take nothing new."""
        self.server.should_exit = True

    def open(self, path: str, body: Any = None, **headers: str) -> Any:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        given = {"content-type": "application/json", **headers}
        if self.key:
            given.setdefault("authorization", f"Bearer {self.key}")
        return urlopen(Request(self.url + path, data, given), timeout=HANG)

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON, of errors too."""
        try:
            with self.open(path, body, **headers) as answer:
                return answer.status, json.loads(answer.read())
        except HTTPError as error:
            return error.code, json.loads(error.read())

    def connect(self, data: bytes = b"") -> socket.socket:
        """A connection on which nothing was read yet."""
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so that not reading is soon noticed
        connection.settimeout(HANG)
        connection.connect((urlsplit(self.url).hostname, urlsplit(self.url).port))
        connection.sendall(data)
        return connection

    def raw(self, body: dict[str, Any], path: str = "/v1/completions", head: str = "") -> socket.socket:
        """A request was sent, and nothing read. ``head``: more lines of it."""
        data = json.dumps({"model": self.service.name, "prompt": PROMPT, **body}).encode()
        lines = f"content-type: application/json\r\ncontent-length: {len(data)}\r\n{head}\r\n"
        return self.connect(f"POST {path} HTTP/1.1\r\nhost: x\r\n{lines}".encode() + data)

    def complete(self, prompt: Any = PROMPT, **options: Any) -> Any:
        status, answer = self.ask("/completions", {"model": "countdown", "prompt": prompt, "temperature": 0, **options})
        assert status == 200, answer
        return answer

    def stream(self, path: str, **body: Any) -> list[Any]:
        with self.open(path, {"model": "countdown", "temperature": 0, "stream": True, **body}) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = [line[6:].strip() for line in answer if line.startswith(b"data: ")]
        assert lines[-1] == b"[DONE]"
        return [json.loads(line) for line in lines[:-1]]

    def idle(self) -> bool:
        """Whether in the end nobody is served and nothing is held but the prefix cache, which can let all of it go."""
        end = time.monotonic() + HANG
        while time.monotonic() < end:
            if not self.service.visits and self.service.loop.ask(lambda: nothing_held(self.engine)).result(HANG):
                return True
            time.sleep(0.02)
        return False


def longer_and_longer(seconds: float) -> Iterator[float]:
    """Limits to try one after the other: what is done in time on a quick machine may be too late on a slow one."""
    while seconds < HANG:
        yield seconds
        seconds *= 10


def received(connection: socket.socket, most: int = 1 << 16) -> bytes:
    """What comes next: nothing once the other side has ended the connection, whatever way."""
    try:
        return connection.recv(most)
    except ConnectionResetError:  # it went while something that we sent was still unread
        return b""


def nothing_more(connection: socket.socket) -> bytes:
    """All that comes until the other side ends the connection."""
    return b"".join(iter(lambda: received(connection), b""))


def nothing_held(engine: Engine) -> bool:
    engine.check()
    return not engine.scheduler.requests and engine.pool.free + engine.kv.reclaimable == len(engine.pool)


@contextmanager
def serving(
    bundle: Bundle,
    key: str | None = None,
    limits: ServerLimits | None = None,
    hosts: frozenset[str] | None = None,
    origins: Sequence[str] = (),
    grace: float = 5,
    asked_as: str | None = None,
    **options: Any,
) -> Iterator[Running]:
    given = {"num_blocks": 512, "block_size": 16, "record": True, **options}
    limits = limits or ServerLimits(silence=HANG, body_seconds=HANG)  # a busy machine makes its clients slow
    service = Service(bundle, Engine(bundle.model, bundle.tokenizer, **given), limits, asked_as)
    server = Server(create_app(service, key, hosts, origins), service, grace, log_level="critical")
    server.config.timeout_keep_alive = HANG  # a client that is slow to ask again shall find its connection
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 15)  # so that who does not read is soon noticed
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield Running(service, server, f"http://127.0.0.1:{listening.getsockname()[1]}/v1", key)
    finally:
        server.should_exit = True
        thread.join(HANG)
        assert not thread.is_alive() and not service.loop.alive
