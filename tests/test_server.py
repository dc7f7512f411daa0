"""The server: what OpenAI's client sees of it, the methods behind the extension field, and who may do what."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import openai
import pytest
from command_line import Run
from serving import PROMPT, Running, serving

import miniapr
from miniapr.engine.operations import Start
from miniapr.methods.grammar import Control
from miniapr.model.bundle import Bundle
from miniapr.serve import work
from miniapr.serve.command import LOCAL
from miniapr.serve.limits import ServerLimits

PARALLEL = {"method": "adaptive", "join": "stitch"}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return miniapr.load()


@pytest.fixture(scope="module")
def server(bundle: Bundle) -> Iterator[Running]:
    with serving(bundle) as running:
        yield running
        assert running.idle()


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def alone(bundle: Bundle) -> dict[str, Any]:
    """What the engine writes without any server."""
    engine, control = miniapr.Engine(bundle.model, bundle.tokenizer), Control.of(bundle.tokenizer, bundle.control)
    ids = bundle.tokenizer.ids(["<bos>", "<adaptive>", *PROMPT.split()])
    joins = ("stitch", "stitch_contiguous", "stitch_copied", "reprefill")
    return {how: engine.run(miniapr.adaptive(ids, control, how)) for how in joins}


# As OpenAI's own client sees it


def test_models(client: openai.OpenAI) -> None:
    (model,) = client.models.list().data
    assert model.id == "countdown"
    assert client.models.retrieve("countdown").id == "countdown"
    with pytest.raises(openai.NotFoundError, match="no model 'gpt'"):
        client.models.retrieve("gpt")


def test_a_completion_is_what_the_engine_writes(client: openai.OpenAI, bundle: Bundle) -> None:
    engine = miniapr.Engine(bundle.model, bundle.tokenizer)
    root = engine.start(bundle.tokenizer.ids(["<bos>", "<sequential>", *PROMPT.split()]))
    (done,) = engine.decode([root], max_tokens=20)
    answer = client.completions.create(model="countdown", prompt=PROMPT, max_tokens=20, temperature=0)
    assert answer.choices[0].text == done.text
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage and (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (8, 20)


def test_streaming_gives_the_same_text(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "countdown", "prompt": PROMPT, "max_tokens": 300, "temperature": 0}
    whole = client.completions.create(**asked)
    chunks = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == whole.choices[0].text
    assert [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason] == ["stop"]
    assert chunks[-1].usage and whole.usage
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert "<eos>" not in whole.choices[0].text


def test_chat_whole_and_streamed(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {
        "model": "countdown",
        "messages": [{"role": "user", "content": PROMPT}],
        "temperature": 0,
        "max_completion_tokens": 300,
    }
    whole = client.chat.completions.create(**asked).choices[0]
    assert whole.message.role == "assistant" and whole.finish_reason == "stop"
    chunks = list(client.chat.completions.create(**asked, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.message.content
    parts = [{"type": "text", "text": PROMPT[:5]}, {"type": "text", "text": PROMPT[5:]}]
    again = client.chat.completions.create(**asked | {"messages": [{"role": "user", "content": parts}]})
    assert again.choices[0].message.content == whole.message.content


def test_several_answers_and_several_prompts(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "countdown", "temperature": 2, "seed": 5, "max_tokens": 40, "n": 3}
    prompts = [PROMPT, "4 5 9 -> 41 :"]
    answer = client.completions.create(prompt=prompts, **asked)
    assert [choice.index for choice in answer.choices] == list(range(6))
    texts = [choice.text for choice in answer.choices]
    assert len(set(texts)) > 2
    assert [choice.text for choice in client.completions.create(prompt=prompts, **asked).choices] == texts
    streamed = [""] * 6
    for chunk in client.completions.create(prompt=prompts, **asked, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] += choice.text
    assert streamed == texts
    greedy = client.completions.create(**asked | {"prompt": PROMPT, "temperature": 0})
    assert len({choice.text for choice in greedy.choices}) == 1


def test_stops(server: Running) -> None:
    whole = server.complete(max_tokens=40)["choices"][0]["text"]
    cut = server.complete(max_tokens=40, stop=["miss", "15 ,"])["choices"][0]
    assert cut["text"] == whole[: whole.index("15 ,")] and cut["finish_reason"] == "stop"
    assert cut["stop_reason"] == "15 ,"
    kept = server.complete(max_tokens=40, stop="15 ,", include_stop_str_in_output=True)["choices"][0]["text"]
    assert kept == cut["text"] + "15 ,"
    streamed = server.stream("/completions", prompt=PROMPT, max_tokens=40, stop=["15 ,"])
    assert "".join(chunk["choices"][0]["text"] for chunk in streamed) == cut["text"]


def test_token_ids_in_and_out(server: Running, bundle: Bundle) -> None:
    ids = bundle.tokenizer.ids(["<bos>", "<sequential>", *PROMPT.split()])
    by_text = server.complete(max_tokens=20, return_token_ids=True)["choices"][0]
    by_ids = server.complete(ids, max_tokens=20, return_token_ids=True)["choices"][0]
    assert by_ids == by_text and bundle.tokenizer.decode(by_ids["token_ids"]) == by_ids["text"]
    several = server.complete([ids, ids], max_tokens=20)["choices"]
    assert [choice["text"] for choice in several] == [by_text["text"]] * 2
    stop = by_ids["token_ids"][4]
    stopped = server.complete(ids, max_tokens=20, stop_token_ids=[stop], return_token_ids=True)["choices"][0]
    assert stopped["token_ids"] == by_ids["token_ids"][:5] and stopped["stop_reason"] == stop
    chunks = server.stream("/completions", prompt=ids, max_tokens=20, return_token_ids=True)
    assert [id for chunk in chunks for id in chunk["choices"][0]["token_ids"]] == by_ids["token_ids"]


def test_logprobs(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "countdown", "temperature": 0, "max_tokens": 6}
    told = client.completions.create(prompt=PROMPT, logprobs=3, **asked).choices[0].logprobs
    assert told and told.tokens and told.token_logprobs and told.top_logprobs
    for token, logprob, top in zip(told.tokens, told.token_logprobs, told.top_logprobs, strict=True):
        assert len(top) == 3 and max(top.values()) == top[token] == logprob
    message = [{"role": "user", "content": PROMPT}]
    chat = client.chat.completions.create(messages=message, logprobs=True, top_logprobs=2, **asked).choices[0].logprobs
    assert chat and chat.content and [c.logprob for c in chat.content] == told.token_logprobs
    assert [len(c.top_logprobs) for c in chat.content] == [2] * 6


def test_a_cached_prefix_is_told(server: Running) -> None:
    words = " ".join(str(number) for number in range(100, 160))
    first, second = (server.complete(f"{words} {last}", max_tokens=1)["usage"] for last in (1, 2))
    assert first["prompt_tokens_details"]["cached_tokens"] < 5 < 60 <= second["prompt_tokens_details"]["cached_tokens"]


# Parallel reasoning


@pytest.mark.parametrize("how", ["stitch", "stitch_contiguous", "stitch_copied", "reprefill"])
def test_a_method_is_the_engines(server: Running, alone: dict[str, Any], bundle: Bundle, how: str) -> None:
    answer = server.complete(miniapr={"method": "adaptive", "join": how})
    told, root = answer["miniapr"], alone[how]
    threads = [branch for branch in told["branches"] if branch["parent"] is not None]
    assert len(threads) == 8 and all(branch["text"].startswith("<thread>") for branch in threads)
    assert told["critical_path"] == root.critical
    assert answer["usage"]["completion_tokens"] == root.request.cost.decoded == told["cost"]["decoded"]
    assert bundle.tokenizer.decode(root.history).endswith(f"{told['answers'][0]} <eos>")
    assert answer["choices"][0]["text"].endswith(told["answers"][0])
    (joined,) = (event for event in told["events"] if event["event"] == "joined")
    assert joined["how"] == how and (joined["recomputed"] > 0) == (how == "reprefill")


def test_ordinary_clients_see_only_the_answer(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {
        "model": "countdown",
        "messages": [{"role": "user", "content": PROMPT}],
        "temperature": 0,
        "extra_body": {"miniapr": PARALLEL},
    }
    whole = client.chat.completions.create(**asked)
    text, lines = "", dict[int, str]()
    for chunk in client.chat.completions.create(**asked, stream=True):
        text += chunk.choices[0].delta.content or ""  # as anyone's loop does it
        told = (chunk.model_extra or {}).get("miniapr", {})
        if told.get("text"):
            lines[told["branch"]] = lines.get(told["branch"], "") + told["text"]
    assert text == whole.choices[0].message.content
    said = {branch["branch"]: branch for branch in whole.miniapr["branches"]}  # type: ignore[attr-defined]
    assert len(lines) == 8
    for number, line in lines.items():  # streamed is what the model wrote; its seed came with the fork
        assert said[number]["text"].endswith(line.strip()) and said[number]["parent"] == 0


def test_several_answers_of_a_method(server: Running) -> None:
    answer = server.complete(miniapr=PARALLEL, n=2, temperature=1.5, seed=3)
    branches = answer["miniapr"]["branches"]
    roots = [branch["branch"] for branch in branches if branch["parent"] is None]
    assert [branches[root]["choice"] for root in roots] == [0, 1]
    assert [branches[root]["text"] for root in roots] == [choice["text"] for choice in answer["choices"]]


def test_what_is_too_much_or_unknown_is_named(server: Running) -> None:
    for options, field in [
        ({"miniapr": {"method": "nonsense"}}, "miniapr.method"),
        ({"miniapr": {"width": 10_000}}, "miniapr.width"),
        ({"miniapr": {"width": 17}}, "miniapr.width"),
        ({"miniapr": {"join": "glue"}}, "miniapr.join"),
        ({"miniapr": PARALLEL, "stop": ["x"]}, None),
        ({"n": 1000}, "n"),
        ({"max_tokens": 1_000_000}, "max_tokens"),
        ({"prompt": [PROMPT] * 33}, "prompt"),
        ({"tools": []}, "tools"),
        ({"frequency_penalty": 1}, "frequency_penalty"),
    ]:
        status, answer = server.ask("/completions", {"model": "countdown", "prompt": PROMPT, **options})
        assert status == 400 and answer["error"]["param"] == field, answer
    few = server.complete(miniapr={"method": "adaptive", "width": 3})["miniapr"]["branches"]
    assert len(few) == 4
    short = server.complete(miniapr=PARALLEL, max_tokens=70)
    assert short["usage"]["completion_tokens"] <= 70 + 8  # a step's branches at most


# One request can never end another's


def test_a_bug_in_one_method_is_its_own(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(setting: work.Setting) -> Any:
        yield Start(setting.prompt.ids)
        raise RuntimeError("secret detail")

    monkeypatch.setitem(work.METHODS, "adaptive", broken)
    with ThreadPoolExecutor(8) as pool:
        bad = {"model": "countdown", "prompt": PROMPT, "miniapr": PARALLEL}
        bads = [pool.submit(server.ask, "/completions", bad) for _ in range(4)]
        goods = [pool.submit(server.complete, max_tokens=50) for _ in range(4)]
        for answer in bads:
            status, said = answer.result()
            assert status == 500 and "secret" not in json.dumps(said)
        assert len({answer.result()["choices"][0]["text"] for answer in goods}) == 1
    assert server.idle()


def test_many_at_once_get_what_they_get_alone(server: Running) -> None:
    kinds: list[dict[str, Any]] = [{"max_tokens": 60}, {"n": 3, "max_tokens": 40}]
    kinds += [{"miniapr": {"method": "adaptive", "join": how}} for how in ("stitch", "stitch_copied", "reprefill")]
    said = [server.complete(**kind)["choices"] for kind in kinds]
    with ThreadPoolExecutor(15) as pool:
        answers = list(pool.map(lambda kind: server.complete(**kind)["choices"], kinds * 3))
    assert answers == said * 3


def test_a_small_pool_serves_everyone_in_turn(bundle: Bundle) -> None:
    """Blocks for about one request: the others wait, are preempted, and come to the same end."""
    with serving(bundle, num_blocks=24) as server:
        alone = server.complete(miniapr=PARALLEL)["choices"]
        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(lambda _: server.complete(miniapr=PARALLEL)["choices"], range(6))) == [alone] * 6
        assert server.idle()


def test_what_does_not_fit_is_told_and_the_others_go_on(bundle: Bundle) -> None:
    with serving(bundle, num_blocks=6) as server:
        body = {"model": "countdown", "prompt": PROMPT, "miniapr": PARALLEL, "temperature": 0}
        status, said = server.ask("/completions", body)
        assert status == 400 and "does not fit" in said["error"]["message"]
        chunks = server.stream("/completions", prompt=PROMPT, miniapr=PARALLEL)  # here it comes in the stream
        assert "does not fit" in chunks[-1]["error"]["message"]
        assert server.complete(max_tokens=20)["choices"][0]["text"]
        assert server.idle()


# Clients that go away


def raw(server: Running, body: dict[str, Any], path: str = "/v1/completions") -> socket.socket:
    """A connection on which a request was sent and nothing was read."""
    parts = urlsplit(server.url)
    connection = socket.create_connection((parts.hostname, parts.port))
    data = json.dumps({"model": server.service.name, "prompt": PROMPT, **body}).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
    connection.sendall(head.encode() + data)
    return connection


@pytest.mark.parametrize("stream", [True, False])
def test_going_away_cancels_the_tree(endless: Any, stream: bool) -> None:
    with serving(miniapr.load(endless)) as server:
        body = {"max_tokens": 15_000, "temperature": 0, "stream": stream, "n": 2}
        with raw(server, body) as connection:
            if stream:
                assert connection.recv(100).startswith(b"HTTP/1.1 200")
            waited = time.monotonic()
            while not server.engine.scheduler.requests and time.monotonic() - waited < 20:
                time.sleep(0.01)
            assert server.engine.scheduler.requests
        assert server.idle()
        assert 'requests_total{state="aborted"} 1' in urlopen(server.url[:-3] + "/metrics").read().decode()


def test_random_disconnects_leave_nothing(server: Running) -> None:
    rng = random.Random(0)
    said = server.complete(miniapr=PARALLEL)["choices"]

    def visit(number: int) -> None:
        with raw(server, {"stream": number % 2 == 0, "temperature": 0, "miniapr": PARALLEL}) as connection:
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


def test_who_does_not_read_holds_no_place(endless: Any) -> None:
    """A client that asks and never reads: its request ends, and the next one is let in."""
    with serving(miniapr.load(endless), limits=ServerLimits(requests=1)) as server:
        with raw(server, {"stream": True, "max_tokens": 1500, "logprobs": 20, "n": 4}):  # far more than buffers hold
            time.sleep(0.1)
            assert server.idle(60)
            assert server.ask("/completions", {"model": server.service.name, "prompt": PROMPT})[0] == 200


# Who may do what


def test_a_key_is_needed_where_one_is_set(bundle: Bundle) -> None:
    with serving(bundle, key="s3cret") as server:
        body = {"model": "countdown", "prompt": PROMPT, "max_tokens": 1}
        assert server.ask("/completions", body)[0] == 200
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


def test_the_command_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    """The process as a user starts it: its address, a key from a file, an interrupt, an address that is taken."""
    (tmp_path / "key").write_text("s3cret\n")
    command = [sys.executable, "-m", "miniapr", "serve", "--port", "0", "--api-key-file", str(tmp_path / "key")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        url = process.stdout.readline().split(" at ")[1].strip()
        client = openai.OpenAI(base_url=url, api_key="s3cret", max_retries=0)
        assert client.completions.create(model="countdown", prompt=PROMPT, max_tokens=3).choices[0].text
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="other").models.list()
        client.close()
        taken = subprocess.run([*command[:5], url.split(":")[2][:-3]], capture_output=True, text=True, check=False)
        assert taken.returncode == 1 and "cannot listen at 127.0.0.1" in taken.stderr
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130 and "Traceback" not in process.stderr.read()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--port", "99999"], "port must be in"),
        (["--max-n", "0"], "limit on n must be above 0"),
        (["--threads", "0"], "threads"),
        (["--model", "nowhere"], "nowhere"),
    ],
)
def test_impossible_options(run: Run, words: list[str], said: str) -> None:
    code, out, error = run("serve", "--port", "0", *words)
    assert (code, out) == (2, "") and said in error


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
    with serving(miniapr.load(endless), limits=ServerLimits(requests=2)) as server:
        held = [raw(server, {"stream": True, "max_tokens": 30_000}) for _ in range(2)]
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


def test_control_tokens_in_text_stay_text(server: Running) -> None:
    for text in ("<plan> 8 - 7 </plan>", "<eos>", "8 7 <join>"):
        status, said = server.ask("/completions", {"model": "countdown", "prompt": text})
        assert status == 400 and "no token for '<" in said["error"]["message"]
    fork = {"model": "countdown", "prompt": "<plan> 1 <item> 2 </plan>", "miniapr": PARALLEL}
    assert server.ask("/completions", fork)[0] == 400


def test_a_stop_of_the_server_ends_what_runs(endless: Any) -> None:
    with serving(miniapr.load(endless)) as server:
        connection = raw(server, {"stream": True, "max_tokens": 30_000})
        connection.recv(10)
        begun = time.monotonic()
    assert time.monotonic() - begun < 15  # the grace of 5 seconds, and the ends of two threads
    assert not server.engine.scheduler.requests
    assert server.engine.pool.free + server.engine.kv.reclaimable == len(server.engine.pool)
    connection.close()


def test_a_stop_lets_what_is_nearly_done_finish(bundle: Bundle) -> None:
    with serving(bundle) as server, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.complete, miniapr=PARALLEL)
        while not server.service.loop.open:
            time.sleep(0.001)
        server.stop()
        assert answer.result(20)["choices"][0]["finish_reason"] == "stop"


def test_metrics_tell_what_was_done(bundle: Bundle) -> None:
    with serving(bundle) as server:
        server.complete(miniapr={"method": "adaptive", "join": "reprefill"})
        server.complete(miniapr=PARALLEL)
        text = urlopen(server.url[:-3] + "/metrics").read().decode()
        values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        assert values['miniapr_joins_total{kind="stitch"}'] == values['miniapr_joins_total{kind="reprefill"}'] == "1"
        assert values["miniapr_forks_total"] == "2" and values["miniapr_prefix_hits_total"] == "1"
        assert values["miniapr_decoded_tokens_total"] == "390" and values["miniapr_pool_blocks_used"] == "0"
        assert values['miniapr_requests_total{state="finished"}'] == "2"
        assert values['miniapr_responses_total{status="200"}'] == "2"


def test_the_engine_lives_in_one_thread(server: Running) -> None:
    assert server.service.loop.ask(lambda: threading.current_thread().name).result(10) == "engine"
    with pytest.raises(ZeroDivisionError):
        server.service.loop.ask(lambda: 1 / 0).result(10)
