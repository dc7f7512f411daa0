"""``miniapr play``: the live stepper in a browser, on loopback only.

A page can be trusted with an engine on the reader's machine only if no other page can reach it. So the server listens
on 127.0.0.1, answers only to its own name (a foreign page whose name was made to point here, DNS rebinding, sends
another Host), refuses what another page has sent (Origin), and wants the key that is in the address it printed (which
keeps out other users of the machine).
"""

from __future__ import annotations

import hmac
import json
import secrets
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ..interrupt import Interrupt
from ..model.bundle import Bundle
from .page import FILES, script, style
from .play import Play
from .session import Session

LARGEST = 4096  # bytes of a request's body
SECONDS = 10.0  # for a request to arrive
SOON = 0.2  # seconds after which Ctrl-C is seen
SESSIONS = 8  # pages that are open at a time: the one not used for longest is let go for a new one
JSON = "application/json"


class Refused(Exception):
    """A request that gets no answer but this."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class Pages:
    """The sessions of all open pages. One command at a time: the engine is not for two threads."""

    def __init__(self, bundle: Bundle, prompt: str | None = None) -> None:
        self._bundle, self._prompt = bundle, prompt
        self._plays: OrderedDict[str, Play] = OrderedDict()  # least recently used first
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._plays)

    def open(self) -> dict[str, Any]:
        """A new session; its state, with the name by which the page asks for it."""
        with self._lock:
            name, play = secrets.token_urlsafe(16), Play(Session(self._bundle, self._prompt))
            self._plays[name] = play
            if len(self._plays) > SESSIONS:
                self._plays.popitem(last=False)[1].close()
            return play.state() | {"session": name}

    def do(self, name: str, line: str) -> dict[str, Any]:
        with self._lock:
            if name not in self._plays:
                raise Refused(HTTPStatus.GONE, "this session is closed: load the page again")
            self._plays.move_to_end(name)
            return self._plays[name].do(line) | {"session": name}

    def close(self) -> None:
        with self._lock:
            for play in self._plays.values():
                play.close()
            self._plays.clear()


class Server(ThreadingHTTPServer):
    """Owns the key, the open pages and a thread for each connection; all end with it. ``port`` 0 takes any free one.
    Raises OSError if it is taken."""

    daemon_threads = False  # a thread that is still in C code when Python ends can abort the process
    timeout = SOON

    def __init__(self, bundle: Bundle, prompt: str | None = None, port: int = 0) -> None:
        self.key, self.pages = secrets.token_urlsafe(16), Pages(bundle, prompt)
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), Handler)
        self.names = {f"{host}:{self.server_port}" for host in ("127.0.0.1", "localhost")}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/?key={self.key}"

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Hang up on every browser that keeps its connection, so that its thread ends, and wait for all threads."""
        for connection in tuple(self._connections):
            with suppress(OSError):  # it has hung up itself
                connection.shutdown(socket.SHUT_RDWR)
        super().server_close()
        self.pages.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that hangs up is none of the reader's business."""


class Handler(BaseHTTPRequestHandler):
    """GET / is the page, POST /open begins a session, POST /do runs a command. Nothing else."""

    server: Server
    timeout = SECONDS
    server_version, sys_version = "miniapr", ""

    def do_GET(self) -> None:
        self._answer(self._page)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, how: Callable[[], tuple[str, str, str]]) -> None:
        policy = "default-src 'none'"
        try:
            self._must_be_ours()
            status, (body, kind, policy) = HTTPStatus.OK, how()
        except Refused as refused:
            status, body, kind = refused.status, json.dumps({"error": str(refused)}), JSON
        data = body.encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Length": str(len(data)),
            "Content-Security-Policy": policy,
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",  # the address holds the key
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _must_be_ours(self) -> None:
        host, origin = self.headers.get_all("Host", []), self.headers.get("Origin")
        if len(host) != 1 or host[0] not in self.server.names:
            raise Refused(HTTPStatus.MISDIRECTED_REQUEST, "this server answers to its own address only")
        if origin is not None and origin != f"http://{host[0]}":
            raise Refused(HTTPStatus.FORBIDDEN, "another page has sent this")

    def _must_know(self, key: str) -> None:
        if not hmac.compare_digest(key.encode(), self.server.key.encode()):
            raise Refused(HTTPStatus.FORBIDDEN, "the key is wrong: use the address that `miniapr play` printed")

    def _page(self) -> tuple[str, str, str]:
        url = urlsplit(self.path)
        if url.path != "/":
            raise Refused(HTTPStatus.NOT_FOUND, "there is only /")
        self._must_know(parse_qs(url.query).get("key", [""])[0])
        nonce = secrets.token_urlsafe(16)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; img-src data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        return page(self.server.key, nonce), "text/html", policy

    def _post(self) -> tuple[str, str, str]:
        self._must_know(self.headers.get("X-Miniapr-Key", ""))
        if self.headers.get_content_type() != JSON:  # a form of another page could send anything else
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the body must be {JSON}")
        said = self._body()
        if self.path == "/open":
            state = self.server.pages.open()
        elif self.path == "/do":
            name, line = said.get("session"), said.get("line")
            if not isinstance(name, str) or not isinstance(line, str):
                raise Refused(HTTPStatus.BAD_REQUEST, "a command needs a session and a line, both text")
            state = self.server.pages.do(name, line)
        else:
            raise Refused(HTTPStatus.NOT_FOUND, "there are /open and /do")
        return json.dumps(state), JSON, "default-src 'none'"

    def _body(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()):
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "the body's length must be given")
        if len(length) > 9 or int(length) > LARGEST:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has at most {LARGEST} bytes")
        try:
            said = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise Refused(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error}") from error
        if not isinstance(said, dict):
            raise Refused(HTTPStatus.BAD_REQUEST, "the body must be an object")
        return said

    def log_message(self, format: str, *args: Any) -> None:
        """The reader's terminal is for the reader."""


def page(key: str, nonce: str) -> str:
    """The page of ``miniapr play``. ``nonce``: only this script may run on it."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>miniapr play</title>
<link rel="icon" href="data:,">
<style>{style("stepper.css", "live.css")}</style>
</head>
<body class="miniapr">
<main id="play" data-key="{key}"></main>
<script type="module" nonce="{nonce}">{script(*FILES, "levels.js", "live.js", "served.js")}</script>
</body>
</html>
"""


def serve(
    bundle: Bundle,
    prompt: str | None = None,
    port: int = 0,
    browse: bool = True,
    say: Callable[[str], None] = lambda text: print(text, flush=True),
) -> None:
    """Serve until Ctrl-C or SIGTERM. Raises OSError if the port is taken, ValueError for a prompt that the model cannot
    read."""
    Session(bundle, prompt).close()  # a prompt that cannot be read is told here, not on the page
    with Interrupt() as stop, Server(bundle, prompt, port) as server:
        say(f"Play at {server.url}")
        say("Ctrl-C ends it.")
        if browse:
            import webbrowser

            # some browsers return only when they are closed: nobody waits for those
            threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
        while not stop():
            server.handle_request()
        say("")
