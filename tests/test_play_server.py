"""`miniapr play` over HTTP: what it answers, and what it must not answer."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import Run
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import nothing_more

import miniapr
from miniapr.stepper.play import Play
from miniapr.stepper.serve import LARGEST, SESSIONS, Handler, Server
from miniapr.stepper.session import Session


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(miniapr.load()) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
        server.pages.close()


def ask(server: Server, method: str, path: str, body: Any = None, **headers: str | None) -> tuple[int, Any, Any]:
    """As the page asks, but for what ``headers`` say (None: without it). Status, headers, body."""
    given = {"Host": f"127.0.0.1:{server.server_port}", "X-Miniapr-Key": server.key, "Content-Type": "application/json"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in ({"Content-Length": str(len(data))} | given).items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(data if method == "POST" else None)
        answer = connection.getresponse()
        text = answer.read()
        is_json = answer.headers.get_content_type() == "application/json"
        return answer.status, answer.headers, json.loads(text) if is_json else text.decode()
    finally:
        connection.close()


def begin(server: Server) -> str:
    status, _, state = ask(server, "POST", "/open", {})
    assert status == 200
    return state["session"]


def test_a_session_from_open_to_a_join(server: Server) -> None:
    name = begin(server)
    for line in ("fork 3", "decode 5", "join stitch"):
        status, _, state = ask(server, "POST", "/do", {"session": name, "line": line})
        assert status == 200 and not state["error"] and state["history"][-1] == line
    assert [event["kind"] for event in state["trace"]["runs"][0]["events"]].count("joined") == 1


def test_two_pages_do_not_see_each_other(server: Server) -> None:
    one, other = begin(server), begin(server)
    ask(server, "POST", "/do", {"session": one, "line": "fork 3"})
    _, _, state = ask(server, "POST", "/do", {"session": other, "line": "help"})
    assert state["history"] == []


def test_the_page_is_sent_to_who_has_the_key_only(server: Server) -> None:
    status, headers, text = ask(server, "GET", f"/?key={server.key}")
    assert status == 200 and "miniapr play" in text
    assert "default-src 'none'" in headers["Content-Security-Policy"] and headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer" and headers["Cache-Control"] == "no-store"
    for path in ("/", "/?key=", "/?key=wrong", "/?key=%00", f"/?KEY={server.key}"):
        assert ask(server, "GET", path)[0] == 403
    assert ask(server, "GET", f"/../etc/passwd?key={server.key}")[0] == 404


REFUSED = {
    "a name made to point here (DNS rebinding)": (421, {"Host": "evil.example:80"}),
    "a name that begins like ours": (421, {"Host": "127.0.0.1.evil.example"}),
    "no name": (421, {"Host": None}),
    "another port": (421, {"Host": "127.0.0.1:1"}),
    "another page": (403, {"Origin": "http://evil.example"}),
    "another server on this machine": (403, {"Origin": "http://127.0.0.1:1"}),
    "a page without an origin": (403, {"Origin": "null"}),
    "no key": (403, {"X_Miniapr_Key": None}),
    "a wrong key": (403, {"X_Miniapr_Key": "x" * 22}),
    "a key that is no text": (403, {"X_Miniapr_Key": "\xff\xfe"}),
    "a form": (415, {"Content_Type": "text/plain"}),
    "no length": (411, {"Content_Length": None}),
    "a length below zero": (411, {"Content_Length": "-1"}),
    "chunks": (411, {"Content_Length": None, "Transfer_Encoding": "chunked"}),
    "a huge body that never comes": (413, {"Content_Length": "99999999999999999999"}),
    "a large body": (413, {"Content_Length": str(LARGEST + 1)}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(server: Server, what: str) -> None:
    expected, headers = REFUSED[what]
    before = len(server.pages)
    status, _, answer = ask(server, "POST", "/open", {}, **headers)
    assert status == expected and answer["error"]
    assert len(server.pages) == before
    begin(server)  # and it is still there for others


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"\xff\xfe", 400),
        (b"[" * 4000, 400),
        ({"session": 3, "line": "help"}, 400),
        ({"session": "nobody", "line": "help"}, 410),
        ({"line": "help"}, 400),
        ({"session": "x", "line": None}, 400),
    ],
    ids=str,
)
def test_bodies_that_mean_nothing(server: Server, body: Any, expected: int) -> None:
    assert ask(server, "POST", "/do", body)[0] == expected


def test_other_paths_and_methods(server: Server) -> None:
    assert ask(server, "POST", "/", {})[0] == 404
    assert ask(server, "POST", "/do/../open", {})[0] == 404
    assert ask(server, "GET", "/do")[0] == 404
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE"):
        assert ask(server, method, "/do")[0] == 501


@settings(max_examples=60)
@given(st.text(st.characters(), max_size=60))  # halves of surrogate pairs too
def test_any_line_gets_an_answer(server: Server, line: str) -> None:
    name = begin(server)
    status, _, state = ask(server, "POST", "/do", {"session": name, "line": line})
    assert status == 200 and isinstance(state["said"], str)


@pytest.mark.parametrize("line", ["write \ud83d", "fork 8 | \udc00", "join stitch then \ud800", "\ud800"])
def test_half_a_surrogate_pair_is_told_in_words(server: Server, line: str) -> None:
    name = begin(server)
    status, _, state = ask(server, "POST", "/do", {"session": name, "line": line})
    assert status == 200 and state["error"] and state["said"] == "half of a surrogate pair is no character"
    assert ask(server, "POST", "/do", {"session": name, "line": "fork 2"})[2]["history"] == ["fork 2"]


def test_the_page_not_used_for_longest_gives_way(server: Server) -> None:
    first = begin(server)
    others = [begin(server) for _ in range(SESSIONS - 1)]
    ask(server, "POST", "/do", {"session": first, "line": "help"})
    begin(server)
    assert ask(server, "POST", "/do", {"session": first, "line": "help"})[0] == 200
    status, _, answer = ask(server, "POST", "/do", {"session": others[0], "line": "help"})
    assert status == 410 and "load the page again" in answer["error"]
    assert len(server.pages) == SESSIONS


def test_who_says_nothing_does_not_keep_others_waiting(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handler, "timeout", None)  # they are never cut off: who waited for them would wait for ever
    silent = [socket.create_connection(("127.0.0.1", server.server_port)) for _ in range(20)]
    try:
        for one in silent[:10]:
            one.sendall(b"POST /open HTTP/1.1\r\nHost:")
        begin(server)
    finally:
        for one in silent:
            one.close()


def test_who_says_nothing_is_cut_off(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Handler.timeout and Handler.timeout <= 30
    monkeypatch.setattr(Handler, "timeout", 0.3)
    for said in (b"", b"POST /open HTTP/1.1\r\nHost:"):
        with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
            connection.sendall(said)
            assert nothing_more(connection) == b""


@pytest.mark.parametrize(
    "said",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",  # a browser that tries TLS
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"\x00" * 1000 + b"\r\n\r\n",
    ],
    ids=lambda said: repr(said[:12]),
)
def test_what_is_no_request_is_answered_by_an_error_or_not_at_all(server: Server, said: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
        except ConnectionError:
            pass
    assert b" 200 " not in answer.split(b"\r\n")[0] and server.key.encode() not in answer
    begin(server)


def test_many_at_once(server: Server) -> None:
    name, states = begin(server), []
    ask(server, "POST", "/do", {"session": name, "line": "fork 2"})

    def go() -> None:
        states.append(ask(server, "POST", "/do", {"session": name, "line": "decode 1"})[2])

    threads = [threading.Thread(target=go) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(state["history"]) for state in states) == [2, 3, 4, 5, 6, 7]


def test_it_listens_on_loopback_only(server: Server) -> None:
    assert server.server_address[0] == "127.0.0.1"


def test_no_thread_outlives_it() -> None:
    """One that Python finds in C code at its end can abort the process."""
    before = set(threading.enumerate())
    with Server(miniapr.load()) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        with socket.create_connection(("127.0.0.1", server.server_port)) as silent:
            assert ask(server, "GET", "/")[0] == 403  # so that one before it has been taken in
            server.shutdown()
            serving.join()
            server.server_close()
            assert set(threading.enumerate()) <= before  # those of other tests may end meanwhile
            assert silent.recv(1) == b""


@pytest.mark.parametrize("ends", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_cleanly(ends: signal.Signals) -> None:
    command = [sys.executable, "-m", "miniapr", "play", "--no-browser"]
    package = Path(miniapr.__file__).parents[1]  # the one that is tested, installed or not
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=package)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("Play at http://127.0.0.1:")
    assert process.stdout.readline() == "Ctrl-C ends it.\n"
    address, key = line.split()[-1].split("/?key=")
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))):  # a browser that keeps its connection
        process.send_signal(ends)
        _, errors = process.communicate()
    assert (process.returncode, errors) == (0, "") and key


def test_a_port_that_is_taken_is_told(run: Run, server: Server) -> None:
    code, _, err = run("play", "--no-browser", "--port", server.server_port)
    assert code == 1 and "in use" in err and err.count("\n") == 1


def test_a_prompt_of_ones_own() -> None:
    bundle = miniapr.load()
    with pytest.raises(ValueError, match="no token for"):
        Session(bundle, "hello")
    play = Play(Session(bundle, "8 7 3 -> 29 :"))
    assert play.do("decode 3")["history"] == ["decode 3"]
    play.close()
