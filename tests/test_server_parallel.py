"""The server: parallel reasoning behind the extension field, and many requests at once that leave each other alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.request import urlopen

import openai
import pytest
from serving import HANG, PARALLEL, PROMPT, Running, serving

import miniapr
from miniapr.engine.operations import Start
from miniapr.methods.grammar import Control
from miniapr.model.bundle import Bundle
from miniapr.serve import work


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
        ({"tools": [{}]}, "tools"),
        ({"frequency_penalty": 1}, "frequency_penalty"),
    ]:
        status, answer = server.ask("/completions", {"model": "countdown", "prompt": PROMPT, **options})
        assert status == 400 and answer["error"]["param"] == field, answer
    few = server.complete(miniapr={"method": "adaptive", "width": 3})["miniapr"]["branches"]
    assert len(few) == 4
    short = server.complete(miniapr=PARALLEL, max_tokens=70)
    assert short["usage"]["completion_tokens"] <= 70 + 8  # a step's branches at most


# One request can never end another's


def test_a_bug_in_one_method_is_its_own(
    server: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The client hears that it happened, the log what it was."""

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
            assert (
                status == 500 and "secret" not in json.dumps(said) and "its log tells more" in said["error"]["message"]
            )
        assert len({answer.result()["choices"][0]["text"] for answer in goods}) == 1
    assert server.idle()
    assert caplog.text.count("RuntimeError: secret detail") == 4


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


def test_control_tokens_in_text_stay_text(server: Running) -> None:
    for text in ("<plan> b*c </plan>", "<eos>", "8 7 <join>"):
        status, said = server.ask("/completions", {"model": "countdown", "prompt": text})
        assert status == 400 and "no token for '<" in said["error"]["message"]
    fork = {"model": "countdown", "prompt": "<plan> b*c a-b </plan>", "miniapr": PARALLEL}
    assert server.ask("/completions", fork)[0] == 400


def test_metrics_tell_what_was_done(bundle: Bundle) -> None:
    with serving(bundle) as server:
        answers = [server.complete(miniapr=asked) for asked in ({"method": "adaptive", "join": "reprefill"}, PARALLEL)]
        decoded = sum(answer["usage"]["completion_tokens"] for answer in answers)
        text = urlopen(server.url[:-3] + "/metrics").read().decode()
        values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        assert values['miniapr_joins_total{kind="stitch"}'] == values['miniapr_joins_total{kind="reprefill"}'] == "1"
        assert values["miniapr_forks_total"] == "2" and values["miniapr_prefix_hits_total"] == "1"
        assert values["miniapr_decoded_tokens_total"] == str(decoded) and values["miniapr_pool_blocks_used"] == "0"
        assert values['miniapr_requests_total{state="finished"}'] == "2"
        assert values['miniapr_responses_total{status="200"}'] == "2"


def test_the_engine_lives_in_one_thread(server: Running) -> None:
    assert server.service.loop.ask(lambda: threading.current_thread().name).result(HANG) == "engine"
    with pytest.raises(ZeroDivisionError):
        server.service.loop.ask(lambda: 1 / 0).result(HANG)
