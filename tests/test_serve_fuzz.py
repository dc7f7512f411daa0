"""The server under nonsense: its own description turned against it, and bodies that no description knows."""

from __future__ import annotations

import json
import random
import socket
import string
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode, checks
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)
from serving import HANG, PROMPT, Running, serving

import miniapr
from miniapr.serve.limits import ServerLimits

# As the server's own limits, so that what is drawn from its description can be answered quickly.
LIMITS = ServerLimits(tokens=200, n=4, width=4)
CHECKS = [
    checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with serving(miniapr.load(), limits=LIMITS) as running:
        said = running.complete(max_tokens=30)["choices"]
        yield running
        assert running.idle()  # nothing leaked
        assert running.complete(max_tokens=30)["choices"] == said  # and nothing stopped


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_its_own_description(server: Running, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_url(server.url[:-3] + "/openapi.json")
    operations = {operation.path: operation for operation in (found.ok() for found in schema.get_all_operations())}
    assert len(operations) == 7
    for path, operation in operations.items():
        asks = path.endswith("completions")
        if asks or mode is GenerationMode.POSITIVE:  # a path without a body has nothing to be wrong
            answered = _try(operation, mode)
            assert 200 in answered or mode is GenerationMode.NEGATIVE or "{" in path
            assert answered <= {200, 400, 404, 422}, answered


def _try(operation: Any, mode: GenerationMode) -> set[int]:
    """The statuses that it answered with."""
    answered = set()

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
    def check(case: Any) -> None:
        model = case.body.get("model") if isinstance(case.body, dict) else None
        if isinstance(model, str) and len(model) <= 300:
            case.body["model"] = "countdown"  # or nearly all of them would end at the door
        answered.add(case.call_and_validate(checks=CHECKS, timeout=HANG).status_code)

    check()
    return answered


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"model": "countdown", "prompt": "\xff\xfe"}',
        b'{"model": "countdown", "prompt": "\\ud800"}',
        b'{"model": "countdown", "prompt": "8", "\\ud800": 1}',
        b'{"model": "\\ud800", "prompt": "8"}',
        b'{"model": "countdown", "prompt": "8", "stop": "\\udfff"}',
        b'{"model": "countdown", "prompt": "8", "temperature": NaN}',
        b'{"model": "countdown", "prompt": "8", "temperature": Infinity}',
        b'{"model": "countdown", "prompt": "8", "temperature": 1e999}',
        b'{"model": "countdown", "prompt": "8", "max_tokens": 1e3000}',
        b'{"model": "countdown", "prompt": "8", "seed": ' + b"9" * 5000 + b"}",
        b'{"model": "countdown", "prompt": [' + b"9" * 30 + b"]}",
        b'{"model": "countdown", "prompt": [500]}',
        b'{"model": "countdown", "prompt": [-1]}',
        b'{"model": "countdown", "prompt": []}',
        b'{"model": "countdown", "prompt": ""}' * 2,
        b'{"model": "countdown", "prompt": [[]]}',
        b'{"model": "countdown", "prompt": [1, "8"]}',
        b'{"model": "countdown", "prompt": {"a": 1}}',
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"model": "countdown", "prompt": "8", "x": "' + b"y" * 900_000 + b'"}',
        b'{"model": "countdown", "prompt": "' + b"8 " * 300_000 + b'"}',
        json.dumps({"model": "countdown", "prompt": list(range(400)) * 20}).encode(),
        b'{"model": "' + b"m" * 500_000 + b'", "prompt": "8"}',
    ],
    ids=lambda body: repr(body[:40]),
)
@pytest.mark.parametrize("path", ["/completions", "/chat/completions"])
def test_bodies_that_mean_nothing(server: Running, path: str, body: bytes) -> None:
    status, said = server.ask(path, body)
    assert status in (400, 404, 413), said
    assert set(said["error"]) == {"message", "type", "param", "code"}
    assert len(said["error"]["message"]) < 1000


def test_text_that_spells_control_tokens(server: Running) -> None:
    for text in ("<plan>", "</plan>", "<|im_start|>system", "8 <item> 7", "<eos>" * 50):
        for path, prompt in [("/completions", {"prompt": text}), ("/chat/completions", {"messages": [_said(text)]})]:
            status, said = server.ask(path, {"model": "countdown", **prompt})
            assert status == 400 and "no token" in said["error"]["message"]


def _said(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def test_only_json_is_read(server: Running) -> None:
    """A page in a browser can send forms and plain text anywhere without being asked: neither is a request here."""
    good = json.dumps({"model": "countdown", "prompt": PROMPT}).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        assert server.ask("/completions", good, **{"content-type": kind})[0] == 400


def test_bytes_that_are_no_http(server: Running) -> None:
    rng, parts = random.Random(1), urlsplit(server.url)
    letters = string.printable.encode() + bytes(range(128, 256))
    good = json.dumps({"model": "countdown", "prompt": PROMPT, "max_tokens": 5}).encode()
    head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    whole = head % len(good) + good
    for _ in range(60):
        sent = bytearray(whole[: rng.randrange(len(whole))])  # half of it, with some letters changed
        for _ in range(rng.randrange(4)):
            if sent:
                sent[rng.randrange(len(sent))] = rng.choice(letters)
        with socket.create_connection((parts.hostname, parts.port)) as connection:
            connection.sendall(bytes(sent))
            if rng.random() < 0.5:
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(0.2)
                try:
                    answer = connection.recv(100)
                    assert not answer or answer.split()[1][:1] in (b"2", b"4"), answer
                except TimeoutError:
                    pass
    assert server.idle()
