"""The stepper's page of a request that the server ran: whole, and nobody else's."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from serving import PARALLEL, PROMPT, Running, serving

import miniapr
from miniapr.serve.traces import KEPT
from miniapr.stepper.page import STATIC

KEY = "s3cret"


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with serving(miniapr.load(), key=KEY) as running:
        yield running
        assert running.idle()


def page(server: Running, path: str, key: str = KEY) -> str:
    with urlopen(Request(server.url[:-3] + path, headers={"authorization": f"Bearer {key}"})) as answer:
        assert answer.headers["content-type"].startswith("text/html") and answer.headers["x-frame-options"] == "DENY"
        return str(answer.read().decode())


def drawn(server: Running, path: str) -> list[dict[str, Any]]:
    """The events on the page, after the stepper's own scripts have followed them, where there is a node to run them."""
    found = re.search(r'<script type="application/json" id="traces">(.*?)</script>', page(server, path), re.DOTALL)
    assert found
    (trace,) = json.loads(found[1])
    if node := shutil.which("node"):
        command = [node, str(Path(__file__).parent / "states.mjs"), str(STATIC)]
        subprocess.run(command, input=json.dumps(trace), capture_output=True, text=True, check=True)
    events: list[dict[str, Any]] = trace["runs"][0]["events"]
    return events


def check_complete(events: list[dict[str, Any]]) -> None:
    """Nothing is spoken of that was not told before: with how many tokens, each span."""
    told: dict[int, int] = {}
    open_: dict[int, int] = {}
    for event in events:
        data = event["data"]
        begun = [(event["branch"], data)] if "view" in data else []
        begun += [(child["branch"], child) for child in data["children"]] if event["kind"] == "forked" else []
        for branch, said in begun:
            for span, _, stop, _ in said["view"]:
                assert told[span] >= stop, event
            told[said["span"]], open_[branch] = len(said["tokens"]), said["span"]
        if event["kind"] in ("decoded", "extended"):
            told[open_[event["branch"]]] += len(data.get("tokens", [0]))
        if event["kind"] == "computed":
            assert told[data["span"]] >= data["stop"], event


def test_a_run_is_drawn_from_its_page(server: Running) -> None:
    expected = server.complete(miniapr=PARALLEL)
    assert "trace" not in expected
    answer = server.complete(miniapr=PARALLEL, return_trace=True)  # begins on what the first one left in the cache
    assert answer["choices"] == expected["choices"]
    events = drawn(server, answer["trace"])
    check_complete(events)
    kinds = {event["kind"] for event in events}
    assert {"started", "cached", "forked", "joined", "decoded", "finished", "pool", "step"} <= kinds
    decoded = sum(event["kind"] == "decoded" for event in events)
    assert decoded == answer["usage"]["completion_tokens"]


def test_a_stream_ends_with_where_it_is(server: Running) -> None:
    *_, last = server.stream(
        "/chat/completions", messages=[{"role": "user", "content": PROMPT}], n=2, return_trace=True
    )
    check_complete(drawn(server, last["trace"]))


def test_what_others_ask_is_on_nobodys_page(server: Running) -> None:
    """Prompts that begin alike share blocks, and all are decoded in the same steps."""
    shared = " ".join(map(str, range(200, 240)))

    def ask(number: int) -> Any:
        return server.complete(f"{shared} {number}", max_tokens=30, n=2, ignore_eos=True, return_trace=number < 8)

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, range(12)))
    for number, answer in enumerate(answers[:8]):
        events = drawn(server, answer["trace"])
        check_complete(events)
        assert len({event["request"] for event in events if event["kind"] == "decoded"}) == 1
        prompts = [event["data"]["tokens"] for event in events if event["kind"] in ("started", "extended")]
        own = server.service.tokenizer.ids([str(number)])[0]
        others = set(server.service.tokenizer.ids(map(str, range(12)))) - {own}
        assert not others & {token for tokens in prompts for token in tokens}


def test_traces_are_kept_behind_the_key_and_not_for_ever(server: Running) -> None:
    kept = [server.complete(max_tokens=2, return_trace=True)["trace"] for _ in range(KEPT + 1)]
    with pytest.raises(HTTPError, match="401"):
        page(server, kept[-1], key="other")
    for gone in (kept[0], "/v1/traces/cmpl-0"):
        with pytest.raises(HTTPError, match="404"):
            page(server, gone)
    assert "miniapr stepper" in page(server, kept[1])


def test_a_traced_request_is_a_small_one(server: Running) -> None:
    asked = {"model": "countdown", "prompt": PROMPT, "max_tokens": 5000}
    status, said = server.ask("/completions", {**asked, "return_trace": True})
    assert status == 400 and said["error"]["param"] == "max_tokens" and "4096" in said["error"]["message"]
    assert server.ask("/completions", asked)[0] == 200
