"""A foreign server may answer anything: the outcome is a result, or a plain line that ends the request that met it."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from command_line import Run
from foreign import FRAMES, Foreign, Piece, answer, event, foreign, framed, head, said
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.text import Text
from serving import HANG

from miniapr.engine import operations as op
from miniapr.engine.request import Program
from miniapr.model.bundle import Bundle, load
from miniapr.plain import OBEYED
from miniapr.remote import client
from miniapr.remote import engine as remote_engine
from miniapr.remote.answers import SENTENCE, Chunk, ServerError, Usage, chunk
from miniapr.remote.client import Server
from miniapr.remote.connect import connect
from miniapr.remote.engine import RemoteEngine
from miniapr.show.text import Terminal


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load()


def program(prompt: Any, tokens: int = 3, **options: Any) -> Program:
    root = yield op.Start(prompt)
    (done,) = yield op.Decode([root], max_tokens=tokens, **options)
    return done


def asked(server: Foreign, bundle: Bundle | None = None, **options: Any) -> RemoteEngine:
    """In token ids, or, without a bundle, in text."""
    given = {"tries": 1, "pause": 0.0, **options}
    return RemoteEngine(Server(server.url, "m", **given), bundle.tokenizer if bundle else None)


def plain_line(error: BaseException | None) -> bool:
    text = str(error)
    return isinstance(error, ServerError) and 0 < len(text) <= SENTENCE and "\n" not in text and not OBEYED.search(text)


# Anything at all

NAMES = ["choices", "text", "token_ids", "finish_reason", "stop_reason", "usage", "prompt_tokens", "cached_tokens"]
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5)
anything = st.recursive(
    leaves | st.sampled_from([10**400, -1, 2**70, "\ud800", "\x1b[2J"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*NAMES, "prompt_tokens_details", "completion_tokens", "error", "message"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@st.composite
def almost(draw: st.DrawFn) -> Any:
    """A chunk as it should be, but for one place."""
    choice = {"text": "a", "token_ids": [1], "finish_reason": None, "stop_reason": None}
    usage = {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 2}, "completion_tokens": 1}
    whole: Any = {"choices": [choice], "usage": usage}
    inside = draw(st.sampled_from([whole, choice, usage, usage["prompt_tokens_details"]]))
    inside[draw(st.sampled_from(list(inside)))] = draw(anything)
    return whole


@given(almost() | anything)
def test_an_event_is_a_chunk_or_a_plain_line(told: Any) -> None:
    try:
        found = chunk(json.dumps(told).encode())
    except ServerError as error:
        assert plain_line(error)
        return
    assert isinstance(found.text, str) and found.text.encode() is not None
    assert isinstance(found.finish, str | None) and isinstance(found.reason, str | int | None)
    assert all(type(id) is int and id >= 0 for id in found.ids or ())
    usage = found.usage or Usage()
    assert all(type(count) is int for count in vars(usage).values()) and 0 <= usage.cached <= usage.prompt


@given(st.binary(max_size=50))
@example(b"[" * 100_000)
@example(b"1" * 5000)
@example('"\ud800"'.encode("utf-8", "surrogatepass"))
def test_bytes_are_a_chunk_or_a_plain_line(data: bytes) -> None:
    try:
        chunk(data)
    except ServerError as error:
        assert plain_line(error)


HONEST = "honest"
LINES = st.one_of(
    st.builds(event, almost() | anything),
    st.builds(event, st.sampled_from([said("a", [1]), said("b", [2, 3], "stop"), said("", [], "length"), b"[DONE]"])),
    st.builds(event, st.binary(max_size=20)),
    st.sampled_from([b": ping\n", b"\n", b"data:", b"event: x\r\n", b"\x1b]0;owned\x07\n"]) | st.binary(max_size=20),
)


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """Lines, cut anywhere, under any of HTTP's frames, or under none."""
    data = b"".join(draw(st.lists(LINES, max_size=6)))
    cuts = sorted({0, len(data), *draw(st.lists(st.integers(0, len(data)), max_size=4))})
    parts = [data[start:stop] for start, stop in pairwise(cuts)]
    frame = draw(st.sampled_from(FRAMES))
    status = draw(st.sampled_from(["200 OK"] * 8 + ["503 no", "307 there", "204 none", "²"]))
    wait = draw(st.sampled_from([[], ["Retry-After: ²"], ["Retry-After: " + "9" * 400], ["Content-Length: 7"]]))
    whole = [head(frame, status, *wait), *(framed(frame, part) for part in parts if part)]
    whole += [framed(frame, b"")] * (frame == "chunked" and draw(st.booleans()))
    return draw(
        st.sampled_from([whole] * 8 + [whole[1:], [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-7\r\n"]])
    )


class Scripted:
    """To one prompt it answers well, to any other what it was told to."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def __call__(self, path: str, headers: dict[str, str], body: Any) -> Iterator[Piece]:
        if body["prompt"] in (HONEST, [7, 8]):
            return answer(*(said(text, [id]) for id, text in enumerate("xyz", 1)), said("", None, "length"))
        return iter(self.pieces)


@pytest.fixture(scope="module", params=["ids", "text"])
def pair(request: pytest.FixtureRequest, bundle: Bundle) -> Iterator[tuple[Scripted, RemoteEngine]]:
    script = Scripted()
    with foreign(script) as server:
        engine = asked(server, bundle if request.param == "ids" else None)
        yield script, engine
        engine.close()


@settings(max_examples=150)
@given(pieces=streams())
@example(pieces=[head("close"), event(said("a", [99_999]))])
@example(pieces=[head("close"), event(said("a", [2**70]))])
@example(pieces=[head("close"), event(said("a", ["one"])), event(said("b", [-1]))])
def test_any_answer_ends_its_own_request_and_no_other(pair: tuple[Scripted, RemoteEngine], pieces: list[bytes]) -> None:
    script, engine = pair
    script.pieces = pieces
    prompts = (HONEST, "foreign") if engine.as_text else ([7, 8], [9])
    good, bad = (engine.submit(program(prompt, stop=["zz"])) for prompt in prompts)
    while engine.requests:
        engine.step()
    assert good.error is None and engine.wait(good).text == engine.tokenizer.decode(
        [t.id for t in engine.wait(good).tokens]
    )
    assert len(engine.wait(good).tokens) == 3
    assert bad.state == "finished" or (bad.state == "failed" and plain_line(bad.error))
    assert all(0 <= token.id < len(engine.tokenizer) for branch in bad.branches for token in branch.generated)


# What was seen


@pytest.mark.parametrize(
    ("ids", "named"),
    [([-1], "-1"), (["one"], "one"), ([True], "True"), ([1.0], "1.0"), ({"a": 1}, "token_ids"), ([99_999], "99999")],
)
def test_token_ids_that_are_none_are_named(bundle: Bundle, ids: Any, named: str) -> None:
    with foreign(lambda *_: answer(said("a", ids))) as server:
        engine = asked(server, bundle)
        with pytest.raises(ServerError, match=re.escape(named)):
            engine.run(program([7]))
        engine.close()


def endless(path: str, headers: dict[str, str], body: Any) -> Iterator[Piece]:
    """Of what the prompt names: one line, one list of ids, or events that say nothing."""
    what = body["prompt"] if body else "list"
    starts = {"line": b"data: {", "list": b'data: {"choices": [{"token_ids": [1', "events": b""}
    goes_on = {"line": b"x" * 4096, "list": b", 1" * 1024, "events": event(said()) * 40}
    yield head("close") + starts[what]
    while True:
        yield goes_on[what]


@pytest.mark.parametrize("what", ["line", "list", "events"])
def test_what_never_ends_is_given_up_before_memory_is(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(client, "LONGEST", 1 << 16)
    with foreign(endless) as server:
        engine = asked(server)
        with pytest.raises(ServerError, match=r"the server sent (a line of )?more than .* bytes"):
            engine.run(program(what))
        engine.close()
        assert server.sent < 16 << 20  # what fits into the sockets between the two


def test_a_list_of_models_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CARDS", 1 << 16)
    with foreign(endless) as server, pytest.raises(ServerError, match="more than 65,536 bytes"):
        connect(Server(server.url, "m"))


@pytest.mark.parametrize("models", [[], ["m"], [{"id": "m"}], {"data": {"m": 1}}, {"data": ["m"]}, 7, None, "\x1b[2J"])
def test_models_that_are_no_list_of_models_are_named(models: Any) -> None:
    with foreign(lambda *_: [head("close") + json.dumps(models).encode()]) as server:
        with pytest.raises(ServerError, match="/models gives no object with a list of models") as caught:
            connect(Server(server.url, "m"))
    assert plain_line(caught.value)


@pytest.mark.parametrize("wait", ["²", "-1", "nan", "soon", "Wed, 21 Oct 2015 07:28:00 GMT", "9" * 5000, "0"])
def test_retry_after_of_any_kind(wait: str) -> None:
    with foreign(lambda *_: [head("close", "503 no", f"Retry-After: {wait}") + b'{"detail": "too busy"}']) as server:
        engine = asked(server)
        with pytest.raises(ServerError, match="the server answered 503: too busy") as caught:
            engine.run(program("p"))
        assert engine.server.pause_after(0, caught.value) <= 30
        engine.close()


def test_usage_told_in_every_chunk_counts_once() -> None:
    def usage(tokens: int) -> dict[str, Any]:
        return {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 2}, "completion_tokens": tokens}

    events = [said("abc"[i], finish="length" if i == 2 else None, usage=usage(i + 1)) for i in range(3)]
    with foreign(lambda *_: answer(*events)) as server:
        engine = asked(server)
        request = engine.submit(program("p"))
        assert engine.wait(request).text == "abc"
        assert engine.usages == [Usage(5, 2, 3)]
        assert (request.cost.prefilled, request.cost.reused, request.cost.steps) == (3, 2, 1)
        engine.close()


# Leaving


@pytest.mark.parametrize("frame", FRAMES)
def test_cancelling_cuts_the_connection(frame: str) -> None:
    with foreign(lambda *_: answer(said("a"), frame=frame, hold=True)) as server:
        engine = asked(server)
        request = engine.submit(program("p"))
        while not any(event.kind == "decoded" for event in engine.events):
            engine.step()
        engine.abort(request)
        assert server.gone.wait(HANG)
        engine.close()  # and does not wait for the server either


@pytest.mark.parametrize("frame", FRAMES)
def test_a_server_that_does_not_say_what_it_cost_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, frame: str) -> None:
    monkeypatch.setattr(remote_engine, "LINGER", 0.0)
    with foreign(lambda *_: answer(said("a"), said("b"), said("c"), frame=frame, hold=True)) as server:
        engine = asked(server)
        assert engine.run(program("p")).text == "abc"
        assert server.gone.wait(HANG)
        engine.close()


def test_waiting_for_one_program_does_not_wait_for_another() -> None:
    def script(path: str, headers: dict[str, str], body: Any) -> Iterator[Piece]:
        return answer(said("a"), said("b"), said("c", finish="length"), hold=body["prompt"] == "slow")

    with foreign(script) as server:
        engine = asked(server)
        slow, quick = engine.submit(program("slow", 9)), engine.submit(program("quick"))
        assert engine.wait(quick).text == "abc" and slow.state == "running"
        engine.close()
        assert slow.state == "aborted"


def test_a_program_that_does_not_let_itself_be_closed_ends_alone() -> None:
    def stubborn() -> Program:
        try:
            yield op.Start("p")
            while True:
                yield op.Start(7)  # type: ignore[arg-type]
        finally:
            raise KeyError("stubborn")

    with foreign(lambda *_: answer(said("a"), said("b"), said("c", finish="length"))) as server:
        engine = asked(server)
        bad, good = engine.submit(stubborn()), engine.submit(program("p"))
        assert engine.wait(good).text == "abc"
        assert bad.state == "failed" and isinstance(bad.error, KeyError | TypeError)
        engine.close()


# Keys


def test_a_key_with_its_newline_works() -> None:
    seen = []

    def script(path: str, headers: dict[str, str], body: Any) -> Iterator[Piece]:
        seen.append(headers["authorization"])
        return answer(said("abc", finish="stop"))

    with foreign(script) as server:
        engine = asked(server, key=" sk-secret\r\n")
        engine.run(program("p"))
        engine.close()
    assert seen == ["bearer sk-secret"]


@pytest.mark.parametrize("key", ["sk-\nsecret", "sk-secret\x00", "sk-sécret", "sk-\x1bsecret"])
def test_a_key_that_no_header_can_carry_is_refused_unprinted(key: str) -> None:
    with pytest.raises(ValueError, match="no header can carry") as caught:
        Server("http://x/v1", "m", key)
    assert "sk-" not in str(caught.value)
    assert "sk-" not in repr(Server("http://x/v1", "m", "sk-secret"))


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_timeouts_that_are_none(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        Server("http://x/v1", "m", timeout=timeout)


def test_chunks_begin_empty() -> None:
    assert chunk(b"{}") == chunk(b'{"choices": null, "usage": null, "error": null}') == Chunk()


# The terminal


OWNED = "\x1b]0;owned\x07\x9b2J1. one\n2. two \x1b[31m"


@pytest.mark.parametrize("status", ["200 OK", "500 no"])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_nothing_that_a_server_sends_is_an_escape_sequence(run: Run, status: str, options: list[str]) -> None:
    def script(path: str, headers: dict[str, str], body: Any) -> Iterator[Piece]:
        if path.endswith("/models"):
            return iter([head("close"), json.dumps({"data": [{"id": "m"}]}).encode()])
        if status == "200 OK":
            return answer(said(OWNED, finish="stop"))
        return iter([head("close", "400 no"), json.dumps({"error": {"message": OWNED}}).encode()])

    with foreign(script) as server:
        code, out, err = run("compare", "--engine", server.url, "--model", "m", "--prompt", "Why?", *options)
    assert code == (0 if status == "200 OK" else 1)
    assert "]0;owned" in out + err
    assert not OBEYED.search(out + err)


def test_names_of_models_do_not_command_the_terminal_either(run: Run) -> None:
    cards = json.dumps({"data": [{"id": OWNED}]}).encode()
    with foreign(lambda *_: iter([head("close"), cards])) as server:
        code, _, err = run("compare", "--engine", server.url, "--model", "m", "--prompt", "Why?")
    assert code == 2 and "]0;owned" in err and not OBEYED.search(err.removesuffix("\n"))


def test_a_terminal_without_the_character_shows_another() -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    out = Terminal(file=file)
    out.print(Text("a\x1b[2Jb\u4e00\ud800"))
    file.flush()
    assert file.buffer.getvalue() == b"a?[2Jb??\n"  # type: ignore[attr-defined]
