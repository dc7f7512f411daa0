"""Programs on a server: the same text as in the engine, and what happens when the line is bad."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from serving import HANG, PROMPT, Running, serving

import miniapr
from miniapr.engine import operations as op
from miniapr.engine.joins import message
from miniapr.engine.request import Program
from miniapr.methods.adaptive import adaptive
from miniapr.methods.grammar import Control
from miniapr.model.bundle import Bundle
from miniapr.remote.answers import ServerError
from miniapr.remote.client import Server
from miniapr.remote.connect import connect
from miniapr.remote.engine import RemoteEngine
from miniapr.remote.joins import NeedsEngine
from miniapr.tasks.countdown import Problem
from miniapr.tasks.terse import prompt_text

PROBLEMS = [Problem((3, 7, 8), 29), Problem((4, 5, 9), 41), Problem((2, 6, 11), 34), Problem((1, 13, 17), 52)]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return miniapr.load()


@pytest.fixture(scope="module")
def control(bundle: Bundle) -> Control:
    return Control.of(bundle.tokenizer, bundle.control)


@pytest.fixture(scope="module")
def server(bundle: Bundle) -> Iterator[Running]:
    with serving(bundle) as running:
        yield running
        assert running.idle()


@pytest.fixture
def remote(server: Running, bundle: Bundle) -> Iterator[RemoteEngine]:
    engine = RemoteEngine(
        Server(server.url, "countdown"), bundle.tokenizer, bundle.model.config.max_position_embeddings
    )
    yield engine
    engine.close()


def prompts(bundle: Bundle) -> list[list[int]]:
    return [bundle.tokenizer.ids(prompt_text(problem).split()) for problem in PROBLEMS]


def test_reprefill_by_a_client_is_reprefill_in_the_engine(
    bundle: Bundle, control: Control, remote: RemoteEngine
) -> None:
    local = miniapr.Engine(bundle.model, bundle.tokenizer)
    forks = 0
    for prompt in prompts(bundle):
        here = local.run(adaptive(prompt, control, "reprefill"))
        there = remote.run(adaptive(prompt, control, "reprefill"))
        assert there.history == here.history
        assert (there.position, there.critical) == (here.position, here.critical)
        forks += here.forks
    assert forks  # or nothing was shown


def test_many_programs_at_the_same_time(bundle: Bundle, control: Control, remote: RemoteEngine) -> None:
    alone = [remote.run(adaptive(prompt, control, "reprefill")).history for prompt in prompts(bundle)]
    requests = [remote.submit(adaptive(prompt, control, "reprefill")) for prompt in prompts(bundle)]
    assert [remote.wait(request).history for request in requests] == alone


def test_a_text_join_of_each_kind(bundle: Bundle, control: Control, remote: RemoteEngine) -> None:
    local = miniapr.Engine(bundle.model, bundle.tokenizer)
    prompt = prompts(bundle)[0]
    for how in ("select", message(bundle.tokenizer.encode("b*c 21 8"), keep=len(prompt))):
        here, there = local.run(_joined(prompt, how)), remote.run(_joined(prompt, how))
        assert there == here


def _joined(prompt: list[int], how: object) -> Program:
    root = yield op.Start(prompt)
    yield op.Decode([root], max_tokens=4)
    yield op.Settle([root])
    left, right = yield op.Fork(root, 2)
    yield op.Decode([left, right], max_tokens=6)
    yield op.Join(root, [right] if how == "select" else [left, right], how)
    yield op.Decode([root], max_tokens=6, stop=["miss"])
    return root.history, root.completion.text, root.completion.finish


@pytest.mark.parametrize("how", ["stitch", "stitch_contiguous", "stitch_copied"])
def test_a_stitch_is_refused_in_one_sentence(bundle: Bundle, control: Control, remote: RemoteEngine, how: str) -> None:
    with pytest.raises(NeedsEngine, match=f"'{how}' puts together keys and values .* reprefill, message or select$"):
        remote.run(adaptive(prompts(bundle)[0], control, how))
    assert remote.run(adaptive(prompts(bundle)[0], control, "reprefill")).text  # others go on as if nothing were


def test_text_prompts_where_the_vocabulary_is_unknown(server: Running, bundle: Bundle) -> None:
    engine = RemoteEngine(Server(server.url, "countdown"))
    whole = server.complete(max_tokens=12)["choices"][0]["text"]

    def program() -> Program:
        root = yield op.Start(PROMPT)
        (done,) = yield op.Decode([root], max_tokens=12)
        return root, done

    root, done = engine.run(program())
    assert (done.text, done.finish, len(done.tokens)) == (whole, "length", 12)
    assert engine.tokenizer.decode(root.history) == PROMPT + whole
    assert engine.usages[0].completion == root.request.cost.decoded == 12
    engine.close()


@pytest.mark.parametrize("until", [(), ("hit",), ("<eos>",)])
def test_a_server_of_text_is_spoken_to_in_ids(
    server: Running, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, until: tuple[str, ...]
) -> None:
    """Programs of a known vocabulary run on servers that know no ids: the tokens, and where a text ends, are the same,
    whether what ends it is a word (``hit``), which is seen, or a control token, which is not."""
    monkeypatch.setattr("miniapr.remote.connect.speaks_ids", lambda server: False)

    def program(prompt: list[int]) -> Program:
        root = yield op.Start(prompt)
        (done,) = yield op.Decode([root], until=until, max_tokens=200 if until else 12)
        return [token.id for token in done.tokens], done.text, done.finish

    asked = bundle.tokenizer.ids(("<bos>", "<sequential>", *PROMPT.split()))  # what the server makes of the text
    here = miniapr.Engine(bundle.model, bundle.tokenizer).run(program(asked))
    engine = connect(Server(server.url, "countdown"), bundle.tokenizer)
    assert engine.as_text and engine.run(program(bundle.tokenizer.encode(PROMPT))) == here
    engine.close()


def test_stop_strings_end_a_text_as_in_the_engine(server: Running, bundle: Bundle, remote: RemoteEngine) -> None:
    def program() -> Program:
        root = yield op.Start(prompts(bundle)[0])
        (done,) = yield op.Decode([root], stop=["15 3", "nowhere"], max_tokens=50)
        return done.text, done.finish, root.history

    local = miniapr.Engine(bundle.model, bundle.tokenizer)
    assert remote.run(program()) == local.run(program())
    text, finish, _ = remote.run(program())
    assert finish == "stop" and text == "a+b "


# A bad line


class Flaky(Server):
    """Fails a given number of times, before anything or after the first tokens."""

    failures: list[ServerError]
    after: int

    def complete(self, call):  # type: ignore[no-untyped-def]
        for count, chunk in enumerate(super().complete(call)):
            if self.failures and count == self.after:
                raise self.failures.pop()
            yield chunk


def flaky(server: Running, times: int, status: int, after: int = 0) -> Flaky:
    made = Flaky(server.url, "countdown", pause=0.01)
    object.__setattr__(made, "failures", [ServerError(status, "no") for _ in range(times)])
    object.__setattr__(made, "after", after)
    return made


@pytest.mark.parametrize("after", [0, 5])
@pytest.mark.parametrize("status", [0, 429, 503])
def test_what_may_pass_is_tried_again(
    server: Running, bundle: Bundle, control: Control, remote: RemoteEngine, status: int, after: int
) -> None:
    prompt = prompts(bundle)[0]
    engine = RemoteEngine(flaky(server, 3, status, after), bundle.tokenizer)
    assert engine.run(adaptive(prompt, control, "reprefill")).history == (
        remote.run(adaptive(prompt, control, "reprefill")).history
    )
    engine.close()


@pytest.mark.parametrize(("times", "status"), [(99, 503), (1, 400), (1, 401)])
def test_what_will_not_pass_ends_this_request_alone(
    server: Running, bundle: Bundle, control: Control, times: int, status: int
) -> None:
    engine = RemoteEngine(flaky(server, times, status), bundle.tokenizer)
    doomed = engine.submit(adaptive(prompts(bundle)[0], control, "reprefill"))
    with pytest.raises(ServerError):
        engine.wait(doomed)
    engine.server.failures.clear()  # type: ignore[attr-defined]
    assert engine.run(adaptive(prompts(bundle)[1], control, "reprefill")).text
    engine.close()


def test_nobody_there(bundle: Bundle, control: Control) -> None:
    engine = RemoteEngine(Server("http://127.0.0.1:9/v1", "countdown", tries=2, pause=0.01), bundle.tokenizer)
    with pytest.raises(ServerError, match=r"127\.0\.0\.1:9"):
        engine.run(adaptive(prompts(bundle)[0], control, "reprefill"))
    engine.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n\r\n<html>",
        b"HTTP/1.1 200 OK\r\n\r\ndata: {nonsense\n\n",
        b"HTTP/1.1 200 OK\r\n\r\ndata: []\n\n",
        b'HTTP/1.1 200 OK\r\n\r\ndata: {"choices": [7]}\n\n',
        b'HTTP/1.1 200 OK\r\n\r\ndata: {"error": {"message": "out of memory"}}\n\n',
        b"HTTP/1.1 500 Oops\r\n\r\nnot json",
        b"nonsense\r\n\r\n",
        None,  # and one that says nothing at all
    ],
)
def test_answers_that_are_none(bundle: Bundle, control: Control, answer: bytes | None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        kept = []

        def answer_all() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    kept.append(connection)  # the one that says nothing does not hang up either
                    if answer is not None:
                        connection.recv(65536)
                        connection.sendall(answer)
                        connection.close()

        thread = threading.Thread(target=answer_all)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        engine = RemoteEngine(Server(url, "m", timeout=0.3, tries=2, pause=0.01), bundle.tokenizer)
        with pytest.raises(ServerError):
            engine.run(adaptive(prompts(bundle)[0], control, "reprefill"))
        engine.close()
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(HANG)
        for connection in kept:
            connection.close()


def test_an_aborted_program_lets_the_server_forget(
    server: Running, bundle: Bundle, control: Control, remote: RemoteEngine
) -> None:
    request = remote.submit(adaptive(prompts(bundle)[0], control, "reprefill"))
    for _ in range(20):
        remote.step()
    remote.abort(request)
    assert request.state == "aborted"
    assert server.idle()


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "ftp://x/v1", "http://", "", "http://[::1/v1", "http://x:99999/v1", "http://x:0"]
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ValueError, match="engine must be an address"):
        Server(url, "m")
