"""The server's edge: clients that go away, that are silent, that do not read, and who is let in at all."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import replace
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import HANG, LASTING, PARALLEL, PROMPT, Running, longer_and_longer, nothing_more, received, serving
from uvicorn.protocols.http.h11_impl import H11Protocol

import miniapr
from miniapr.engine.events import Event
from miniapr.model.bundle import Bundle
from miniapr.serve.command import LOCAL
from miniapr.serve.inbox import Inbox
from miniapr.serve.limits import ServerLimits


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return miniapr.load()


@pytest.fixture(scope="module")
def server(bundle: Bundle) -> Iterator[Running]:
    with serving(bundle) as running:
        yield running
        assert running.idle()


@pytest.mark.parametrize("stream", [True, False])
def test_going_away_cancels_the_tree(endless: Any, stream: bool) -> None:
    with serving(miniapr.load(endless), **LASTING) as server:
        body = {"max_tokens": 60_000, "temperature": 0, "stream": stream, "n": 2}
        with server.raw(body) as connection:
            if stream:
                assert connection.recv(100).startswith(b"HTTP/1.1 200")
            while not server.engine.scheduler.requests:
                time.sleep(0.01)
        assert server.idle()
        assert 'requests_total{state="aborted"} 1' in urlopen(server.url[:-3] + "/metrics").read().decode()


def test_long_texts_wait_for_each_other_and_short_ones_for_nobody(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight chats of 1 MB took every thread that encodes: a short question waited for all of them."""
    go, reading, most = threading.Event(), [0], [0]
    with serving(bundle) as server:
        read = server.service.completion_prompts

        def slowly(body: Any) -> Any:
            if len(str(body.prompt)) > 100:
                reading[0] += 1
                most[0] = max(most[0], reading[0])
                assert go.wait(HANG)
                reading[0] -= 1
            return read(body)

        monkeypatch.setattr(server.service, "completion_prompts", slowly)
        with ThreadPoolExecutor(8) as clients:
            long = {"model": "countdown", "prompt": "1 " * 50_000}
            waiting = [clients.submit(server.ask, "/completions", long) for _ in range(8)]
            while not reading[0]:
                time.sleep(0.01)
            assert server.complete(max_tokens=3)["choices"], "a short one is answered meanwhile"
            assert most == [1] and not any(one.done() for one in waiting)
            go.set()
            assert {status for status, _ in (one.result() for one in waiting)} == {400} and most == [1]


def test_random_disconnects_leave_nothing(server: Running) -> None:
    rng = random.Random(0)
    said = server.complete(miniapr=PARALLEL)["choices"]

    def visit(number: int) -> None:
        with server.raw({"stream": number % 2 == 0, "temperature": 0, "miniapr": PARALLEL}) as connection:
            connection.settimeout(rng.random() / 5)
            try:
                while connection.recv(1000):
                    pass
            except TimeoutError:
                pass

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(visit, range(36)))
    assert server.idle()
    assert server.complete(miniapr=PARALLEL)["choices"] == said


def test_who_does_not_read_is_let_go_after_a_while(endless: Any) -> None:
    for silence in longer_and_longer(0.3):
        with suppress(OSError, HTTPException):  # nobody here had time to ask
            if let_go(endless, ServerLimits(requests=1, silence=silence)):
                return
    raise AssertionError("nobody had time to ask")


def test_who_does_not_read_is_let_go_as_soon_as_too_much_waits_for_it(endless: Any) -> None:
    assert let_go(endless, ServerLimits(requests=1, unread=100, silence=HANG))


def let_go(endless: Any, limits: ServerLimits) -> bool:
    """With all that it asked for; the place is free then for somebody else. Whether it was there at all."""
    with serving(miniapr.load(endless), limits=limits) as server:
        asked = {"stream": True, "max_tokens": 1500, "logprobs": 20, "n": 4}  # far more than buffers hold
        with server.raw(asked) as connection:
            begun = received(connection, 10)
            if not begun:
                return False
            assert server.idle()
            assert server.ask("/completions", {"model": server.service.name, "prompt": PROMPT})[0] == 200
            assert not (begun + nothing_more(connection)).endswith(b"0\r\n\r\n")  # it can see that it was cut
        assert 'requests_total{state="aborted"} 1' in urlopen(server.url[:-3] + "/metrics").read().decode()
    return True


def test_who_reads_at_last_gets_everything(endless: Any) -> None:
    """The control: within its limits the engine does not wait for a client, and the client loses nothing."""
    with serving(miniapr.load(endless)) as server:
        with server.raw(
            {"stream": True, "max_tokens": 600, "logprobs": 20}, head="connection: close\r\n"
        ) as connection:
            while not server.service.visits or server.engine.scheduler.requests:
                time.sleep(0.01)
            said = nothing_more(connection)
        assert said.endswith(b"0\r\n\r\n") and b"[DONE]" in said
        assert sum(frame.count(b'"tokens": ["') for frame in said.split(b"\n\n")) == 600


HEAD = b"GET /health HTTP/1.1\r\nhost: x\r\n"


@pytest.mark.parametrize("sent", [b"", b"GET /hea", HEAD, HEAD + b"\r\n" + HEAD], ids=["nothing", "", "", "second"])
def test_who_says_nothing_is_let_go(bundle: Bundle, sent: bytes) -> None:
    for silence in longer_and_longer(0.2):
        with serving(bundle, limits=ServerLimits(silence=silence)) as server, server.connect(sent) as connection:
            said = nothing_more(connection)  # which ends: nobody waits for ever
        if said or not sent.endswith(HEAD + b"\r\n" + HEAD):  # else it had no time to ask
            break
    assert said.count(b"200 OK") == sent.count(b"\r\n\r\n")


def test_the_silent_lock_nobody_out(bundle: Bundle) -> None:
    limits = ServerLimits(connections=8, silence=1000, body_seconds=1000)
    late = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{"
    with serving(bundle, limits=limits) as server, ExitStack() as stack:
        silent = [stack.enter_context(server.connect(sent)) for sent in (b"", b"GET", late) * 10]
        assert urlopen(server.url[:-3] + "/health").status == 200
        assert server.complete(max_tokens=3)["choices"][0]["text"]
        assert nothing_more(silent[0]) == b""  # it gave its place
        assert len(server.server.server_state.connections) <= limits.connections + 1


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 5), st.booleans())), st.integers(1, 20))
def test_an_inbox_keeps_all_or_says_that_it_did_not(parcels: list[tuple[int, bool]], most: int) -> None:
    async def check() -> None:
        inbox, kept = Inbox(most), list[list[Event]]()
        for size, giving in parcels:
            events, waiting = [Event("decoded", 0)] * size, sum(map(len, kept))
            with inbox.giving() if giving else nullcontext():
                inbox.put(events)
            kept.append(events)
            assert inbox.overflown.is_set() == (giving and waiting + size > most)
            if inbox.overflown.is_set():
                return
        assert [await inbox.get() for _ in kept] == kept

    asyncio.run(check())


# Who may do what


def test_a_key_is_needed_where_one_is_set(bundle: Bundle) -> None:
    with serving(bundle, key="s3cret") as server:
        body = {"model": "countdown", "prompt": PROMPT, "max_tokens": 1}
        assert server.ask("/completions", body)[0] == 200
        assert server.ask("/completions", body, authorization="bearer  s3cret ")[0] == 200
        for given in ("", "Bearer", "Bearer s3cre", "Bearer s3cretx", "Basic s3cret", "Bearer \xff"):
            status, said = server.ask("/completions", body, authorization=given)
            assert status == 401 and said["error"]["code"] == "invalid_api_key"
            assert "s3cret" not in said["error"]["message"]
        assert server.ask("/models", authorization="no")[0] == 401
        assert urlopen(server.url[:-3] + "/health").status == 200


def test_a_page_that_took_another_name_is_refused(bundle: Bundle) -> None:
    with serving(bundle, hosts=LOCAL) as server:
        body = {"model": "countdown", "prompt": PROMPT, "max_tokens": 1}
        port = urlsplit(server.url).port
        for host, status in [("localhost", 200), (f"127.0.0.1:{port}", 200), (f"[::1]:{port}", 200)]:
            assert server.ask("/completions", body, host=host)[0] == status
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "[", "localhost@evil.example"):
            assert server.ask("/completions", body, host=host)[0] == 403


def test_bodies_that_are_too_long_or_too_slow(bundle: Bundle) -> None:
    with serving(bundle, limits=ServerLimits(body=2000, body_seconds=0.3)) as server:
        status, said = server.ask("/completions", {"model": "countdown", "prompt": "1 " * 2000})
        assert status == 413 and "2000 bytes" in said["error"]["message"]
        parts = urlsplit(server.url)
        for head, sent, answer in [
            (b"content-length: 500", b'{"model"', b"408"),
            (b"content-length: 99999999999999999999999", b"", b"4"),
            (b"transfer-encoding: chunked", (b"400\r\n" + b"x" * 1024 + b"\r\n") * 3, b"413"),
        ]:
            with socket.create_connection((parts.hostname, parts.port)) as connection:
                start = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
                connection.sendall(start + head + b"\r\n\r\n" + sent)
                assert connection.recv(4000).startswith(b"HTTP/1.1 " + answer)
        assert server.idle()


def test_a_full_queue_says_when_to_come_back(endless: Any) -> None:
    limits = replace(LASTING["limits"], requests=2)
    with serving(miniapr.load(endless), **(LASTING | {"limits": limits})) as server:
        held = [server.raw({"stream": True, "max_tokens": 60_000}) for _ in range(2)]
        for connection in held:
            connection.recv(10)
        client = openai.OpenAI(base_url=server.url, api_key="any", max_retries=0)
        with pytest.raises(openai.RateLimitError) as refused:
            client.completions.create(model=server.service.name, prompt=PROMPT)
        assert refused.value.response.headers["retry-after"] == "1"
        for connection in held:
            connection.close()
        assert server.idle()
        client.completions.create(model=server.service.name, prompt=PROMPT, max_tokens=3)
        client.close()


# The parser


def test_the_parser_is_ours_whatever_is_installed(bundle: Bundle) -> None:
    """uvicorn takes httptools unasked where it is installed: it lets two hosts pass, and heads without end."""
    pytest.importorskip("httptools")
    import uvicorn

    unasked = uvicorn.Config("nowhere:app", log_config=None)
    unasked.load_app = lambda: None  # type: ignore[method-assign,assignment,return-value]
    unasked.load()
    assert "HttpTools" in unasked.http_protocol_class.__name__
    with serving(bundle) as server:
        ours: Any = server.server.config.http_protocol_class
        assert issubclass(ours.func, H11Protocol)


def test_an_offer_of_another_protocol_is_passed_over(server: Running) -> None:
    offer = "connection: Upgrade, HTTP2-Settings, close\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n"
    with server.raw({"max_tokens": 3}, head=offer) as connection:
        said = nothing_more(connection)
    assert said.startswith(b"HTTP/1.1 200") and b'"completion_tokens": 3' in said


@pytest.mark.parametrize(
    "lines",
    [
        b"host: y\r\n\r\n",
        b"x: " + b"y" * 70_000,
        b"content-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"no colon\r\n\r\n",
    ],
    ids=("two hosts", "no end", "two lengths", "no header"),
)
def test_heads_that_are_refused(server: Running, lines: bytes) -> None:
    with server.connect(HEAD + lines) as connection:
        top, _, body = nothing_more(connection).partition(b"\r\n\r\n")
    assert top.startswith(b"HTTP/1.1 400")
    assert json.loads(body)["error"]["type"] == "invalid_request_error"
