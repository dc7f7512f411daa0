"""What a stranger may ask for, and who is let in at all: checked before anything is parsed or queued."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import anyio

from .errors import ApiError, error_response

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerLimits:
    """Of one server.

    body          bytes of a request's body
    body_seconds  in which all of it must have come
    silence       seconds without the next request's head, or without reading, after which a client is let go; it
                  takes up to twice as long to notice
    connections   at once; those that are waited for longest give place to new ones
    unread        events of the engine that may wait for a client that does not read
    prompts       in one request
    n             answers to one prompt
    width         branches of one fork
    tokens        decoded for one request, in all its branches
    traced        decoded for one request of which a trace is kept
    requests      running, waiting and not yet read, together; one more gets a 429
    """

    body: int = 1 << 20
    body_seconds: float = 20.0
    silence: float = 20.0
    connections: int = 512
    unread: int = 8192
    prompts: int = 32
    n: int = 16
    width: int = 16
    tokens: int = 32_768
    traced: int = 4096
    requests: int = 256

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0:
                raise ValueError(f"limit on {name} must be above 0, is {value}")


class Gate:
    """Around the whole application: whom it answers to, the key, the size and pace of the body, and the last word
    on whatever went wrong inside.

    ``hosts``: the names by which it may be asked, if not by any. A page in a browser can have a name of its own mean
    this machine, and so get past what keeps pages apart; it cannot have its requests name another host.

    The key is compared in constant time: how long a wrong one takes says nothing about how much of it is right.
    ``/health`` needs none, so that whoever watches the process need not know it. ``told`` hears every status.
    """

    def __init__(
        self,
        app: App,
        limits: ServerLimits,
        key: str | None,
        hosts: frozenset[str] | None,
        told: Callable[[int], None],
    ) -> None:
        self.app, self.limits, self.key, self.hosts, self.told = app, limits, key, hosts, told

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def tell(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                self.told(message["status"])
            await send(message)

        try:
            await self._let_in(scope, receive, tell)
            return
        except ApiError as error:
            refusal = error
        except asyncio.CancelledError:  # only the server's end does this
            refusal = ApiError(503, "the server is stopping")
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            refusal = ApiError(500, "the server made a mistake; its log tells more")
        if begun:
            await hang_up(scope)
        else:
            await error_response(refusal)(scope, receive, tell)

    async def _let_in(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        self._check_host(headers)
        self._check_key(scope["path"], headers)
        body = await self._read(receive, headers)
        if body is None:  # the client went away before all of it had come
            return
        if body:
            _check_type(headers)
        # HEAD is a GET whose body is not sent, which the connection sees to.
        inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        await self.app(inner, _replay(body, receive), send)

    def _check_host(self, headers: dict[bytes, bytes]) -> None:
        try:
            name = urlsplit("//" + headers.get(b"host", b"").decode("latin-1")).hostname
        except ValueError:
            name = None
        if self.hosts is not None and name not in self.hosts:
            raise ApiError(403, f"this server answers only to {', '.join(sorted(self.hosts))}")

    def _check_key(self, path: str, headers: dict[bytes, bytes]) -> None:
        if self.key is None or path == "/health":
            return
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if not (hmac.compare_digest(given.strip(), self.key.encode()) and scheme.lower() == b"bearer"):
            raise ApiError(401, "a valid API key is needed: Authorization: Bearer KEY", code="invalid_api_key")

    async def _read(self, receive: Receive, headers: dict[bytes, bytes]) -> bytes | None:
        """The whole body, here and not in the handlers: a body that is too long is refused before it is there."""
        limit = self.limits.body
        told = headers.get(b"content-length", b"0")
        if told.isdigit() and len(told) < 20 and int(told) > limit:
            raise _too_large(limit)
        body = bytearray()
        try:
            with anyio.fail_after(self.limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    body += message.get("body", b"")
                    if len(body) > limit:
                        raise _too_large(limit)
                    if not message.get("more_body"):
                        return bytes(body)
        except TimeoutError:
            seconds = self.limits.body_seconds
            raise ApiError(408, f"the request's body did not come within {seconds:g} seconds") from None


async def hang_up(scope: MutableMapping[str, Any]) -> None:
    """End a connection on which an answer had begun that cannot be ended well: the client must see that it broke."""
    if end := scope.get("state", {}).get("hang_up"):
        end()
        await asyncio.sleep(0)  # so that the connection knows of it before its application returns


def _check_type(headers: dict[bytes, bytes]) -> None:
    """A page in a browser can send forms and plain text anywhere without being asked: neither is a request here."""
    given = headers.get(b"content-type", b"").decode("latin-1")
    if given.partition(";")[0].strip().lower() != "application/json":
        said = f"is {given[:100]!r}" if given else "is missing"
        raise ApiError(400, f"the header content-type {said}: a body must come as application/json")


def _too_large(limit: int) -> ApiError:
    return ApiError(413, f"the request's body is longer than {limit} bytes")


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body once, as one message; then whatever comes, which is the client's going away."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return pending.pop() if pending else await receive()

    return again
