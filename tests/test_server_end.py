"""The server's end: what still runs is told so, and what is nearly done finishes. The command, from start to end."""

from __future__ import annotations

import argparse
import copy
import json
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import openai
import pytest
from command_line import Run
from serving import HANG, LASTING, PARALLEL, PROMPT, nothing_held, serving

import miniapr
from miniapr.model.bundle import SHIPPED, Bundle
from miniapr.serve import command, connection
from miniapr.serve.work import opening
from miniapr.show.models import known


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return miniapr.load()


def test_what_outlasts_the_grace_is_told_so(
    endless: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole answers and streams: both end in words, and without a traceback."""
    monkeypatch.setattr(connection, "LAST_WORDS", HANG)
    with serving(miniapr.load(endless), grace=0, **LASTING) as server, ThreadPoolExecutor(1) as pool:
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        body = {"model": server.service.name, "prompt": PROMPT, "max_tokens": 60_000}
        whole = pool.submit(server.ask, "/completions", body)
        stream = server.open("/completions", {**body, "stream": True})  # whose beginning is there
        while len(server.engine.scheduler.requests) < 2:
            time.sleep(0.01)
        server.stop()
        status, said = whole.result(HANG)
        assert status == 503 and said["error"]["type"] == "server_error" and "stopping" in said["error"]["message"]
        *_, last, done = stream.read().strip().split(b"\n\n")
        assert done == b"data: [DONE]" and json.loads(last[6:])["error"] == said["error"]
    assert "Traceback" not in capsys.readouterr().err and nothing_held(server.engine)


def test_who_does_not_read_what_it_is_told_is_not_waited_for(
    endless: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "LAST_WORDS", 0.1)
    with serving(miniapr.load(endless), grace=0, **LASTING) as server:
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        deaf = server.raw({"max_tokens": 60_000, "stream": True, "logprobs": 20})
        while not any(one.flow.write_paused for one in list(server.server.server_state.connections)):
            time.sleep(0.01)
    deaf.close()
    log = capsys.readouterr().err
    assert "Cancel 1 running task" in log and "Traceback" not in log and nothing_held(server.engine)


def test_nothing_is_taken_in_after_the_end(bundle: Bundle) -> None:
    with serving(bundle) as server:
        server.service.loop.end()
        status, said = server.ask("/completions", {"model": "countdown", "prompt": PROMPT})
        assert status == 503 and "stopping" in said["error"]["message"]
        for path in ("metrics", "health"):
            with pytest.raises(HTTPError) as refused:
                urlopen(f"{server.url[:-3]}/{path}")
            assert refused.value.code == 503


def test_a_stop_lets_what_is_nearly_done_finish(bundle: Bundle) -> None:
    with serving(bundle, grace=60) as server, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.complete, miniapr=PARALLEL)
        while not server.service.visits and not answer.done():
            time.sleep(0.001)
        server.stop()
        assert answer.result(HANG)["choices"][0]["finish_reason"] == "stop"


def test_a_bug_in_the_edge_is_told_and_logged(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(bundle) as server:
        monkeypatch.setattr(server.service, "enter", lambda: 1 / 0)
        status, said = server.ask("/completions", {"model": "countdown", "prompt": PROMPT})
        assert status == 500 and "its log tells more" in said["error"]["message"]
        assert "ZeroDivisionError" in caplog.text and "POST /v1/completions failed" in caplog.text
        assert 'responses_total{status="500"} 1' in urlopen(server.url[:-3] + "/metrics").read().decode()


# The command


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(["--port", "0", *words])


def statuses(words: Sequence[str], hosts: Sequence[str]) -> list[int]:
    """What a server with these options answers to whoever calls it by these names; {} is the address it printed."""
    server, listening, url = command.build(parsed(*words))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    found = []
    try:
        for host in hosts:
            try:
                named = Request(url + "/models", headers={"host": host.format(urlsplit(url).netloc)})
                found.append(urlopen(named, timeout=HANG).status)
            except HTTPError as error:
                found.append(error.code)
    finally:
        server.should_exit = True
        thread.join()
    return found


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.1.1", "localhost", "LOCALHOST"])
def test_it_answers_at_the_address_that_it_prints(host: str) -> None:
    names = ("{}", host, "localhost:1", "box", "evil.example")
    assert statuses(["--host", host], names) == [200, 200, 200, 403, 403]
    assert statuses(["--host", host, "--allow-host", "Box"], names) == [200, 200, 200, 200, 403]


def test_a_model_is_served_under_the_name_that_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "models--someone--count" / "snapshots" / "0123abc"
    folder.parent.mkdir(parents=True)
    folder.symlink_to(SHIPPED / "countdown", target_is_directory=True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    listed = [model.name for model in known() if model.about and model.where == str(folder)]
    for words, name in [("someone/count", "someone/count"), (str(folder), "countdown"), ("countdown", "countdown")]:
        server, listening, _ = command.build(parsed("--model", words))
        listening.close()
        assert server.service.name == name and {words, name} <= server.service.names
    assert listed == ["someone/count"]


def test_a_prompt_begins_as_the_models_file_wants(bundle: Bundle) -> None:
    tokenizer = copy.copy(bundle.tokenizer)
    tokenizer.opening = (7,)
    assert opening(replace(bundle, tokenizer=tokenizer, control={}), False) == (7,)
    assert opening(replace(bundle, tokenizer=tokenizer), False) == tokenizer.ids(["<bos>", "<sequential>"])


def test_a_key_loses_the_space_around_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("  s3cret \n")
    assert command._key(str(tmp_path / "key")) == "s3cret"
    monkeypatch.setenv("MINIAPR_API_KEY", " s3cret\n")
    assert command._key(None) == "s3cret"
    for bad in (" ", "a\nb", "é"):
        monkeypatch.setenv("MINIAPR_API_KEY", bad)
        with pytest.raises(ValueError, match="one line of printable ASCII"):
            command._key(None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--port", "99999"], "port must be in"),
        (["--max-n", "0"], "limit on n must be above 0"),
        (["--grace", "-1"], "grace must be at least 0"),
        (["--threads", "0"], "threads"),
        (["--model", "nowhere"], "nowhere"),
        (["--allow-origin", "*"], "an origin is like"),
        (["--allow-origin", "http://localhost:3000/"], "an origin is like"),
        (["--allow-origin", "localhost:3000"], "an origin is like"),
    ],
)
def test_impossible_options(run: Run, words: list[str], said: str) -> None:
    code, out, error = run("serve", "--port", "0", *words)
    assert (code, out) == (2, "") and said in error


def test_the_command_serves_until_it_is_told_to_stop(tmp_path: Path, endless: Path) -> None:
    """The process as a user starts it: its address, a key from a file, an interrupt, an address that is taken."""
    (tmp_path / "key").write_text("s3cret\n")
    words = [sys.executable, "-m", "miniapr", "serve", "--model", str(endless), "--grace", "0"]
    options = ["--api-key-file", str(tmp_path / "key"), "--port"]
    with subprocess.Popen(
        [*words, *options, "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stderr
        url = process.stdout.readline().split(" at ")[1].strip()
        asked: dict[str, Any] = {"model": str(endless), "prompt": PROMPT, "max_tokens": 32_000}
        with openai.OpenAI(base_url=url, api_key="s3cret", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError):
                client.with_options(api_key="other").models.list()
            with pytest.raises(OSError, match=r"cannot listen at 127\.0\.0\.1"):
                command.build(parsed("--port", str(urlsplit(url).port)))
            with pytest.raises(openai.APIError, match="stopping"):
                for number, _ in enumerate(client.completions.create(**asked, stream=True)):
                    if number == 3:
                        process.send_signal(signal.SIGINT)
        assert process.wait(HANG) == 130 and "Traceback" not in process.stderr.read()
