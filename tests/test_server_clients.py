"""What ordinary clients send: fields that are null, words of the newer and the older interface, histories, browsers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import PROMPT, Running, serving

import miniapr
from miniapr.model.bundle import Bundle
from miniapr.serve.schema import Asked, ChatBody, ChatMessage, CompletionBody

PAGE = "http://localhost:3000"
USER = {"role": "user", "content": PROMPT}
MINIMAL: dict[type[Asked], dict[str, Any]] = {
    CompletionBody: {"model": "countdown", "prompt": PROMPT},
    ChatBody: {"model": "countdown", "messages": [USER]},
}
PATHS = {CompletionBody: "/completions", ChatBody: "/chat/completions"}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return miniapr.load()


@pytest.fixture(scope="module")
def server(bundle: Bundle) -> Iterator[Running]:
    with serving(bundle, origins=[PAGE]) as running:
        yield running
        assert running.idle()


@pytest.mark.parametrize("body", MINIMAL)
def test_null_is_not_given_and_what_asks_for_nothing_changes_nothing(body: type[Asked]) -> None:
    """Of every field that is known, and of words that are not: any mixture of them is the bare request."""
    given_: dict[str, Any] = {name: (None, *body.plain.get(name, ())) for name in (*body.model_fields, *body.plain)}
    nothing = {name: st.sampled_from(values) for name, values in given_.items() if name not in MINIMAL[body]}
    bare = body.model_validate(MINIMAL[body])

    @given(st.fixed_dictionaries({}, optional=nothing), st.dictionaries(st.text(), st.none()))
    @settings(max_examples=100)
    def check(more: dict[str, Any], unknown: dict[str, None]) -> None:
        assert body.model_validate({**unknown, **more, **MINIMAL[body]}) == bare

    check()


@pytest.mark.parametrize("body", MINIMAL)
@pytest.mark.parametrize(
    ("field", "value"),
    [("frequency_penalty", False), ("tools", [{}]), ("best_of", True), ("stream", 0), ("n", False), ("wings", 2)],
)
def test_what_asks_for_something_is_refused_by_name(server: Running, body: Any, field: str, value: Any) -> None:
    status, said = server.ask(PATHS[body], MINIMAL[body] | {field: value})
    assert status == 400 and said["error"]["param"] == field


@pytest.mark.parametrize("body", MINIMAL)
def test_a_client_that_sends_all_that_it_knows(server: Running, body: type[Asked]) -> None:
    plain = {name: values[-1] for name, values in body.plain.items()}
    bare, full = ({"max_tokens": 9, "temperature": 0, **MINIMAL[body], **more} for more in ({}, plain))
    (_, expected), (status, said) = server.ask(PATHS[body], bare), server.ask(PATHS[body], full)
    assert status == 200 and said["choices"] == expected["choices"]


def test_the_servers_own_answer_is_history(server: Running) -> None:
    """As openai's client keeps it, and as servers of reasoning models write it."""
    with openai.OpenAI(base_url=server.url, api_key="any", max_retries=0) as client:
        asked: dict[str, Any] = {"model": "countdown", "temperature": 0, "max_tokens": 9}
        first = client.chat.completions.create(messages=[USER], **asked).choices[0].message  # type: ignore[list-item]
        assert first.content
        expected = None
        for said in (
            first,
            first.model_dump(),
            first.model_dump() | {"reasoning_content": "7 * 3", "annotations": []},
        ):
            history: Any = [{"role": "developer", "content": ""}, USER, said, USER]
            answer = client.chat.completions.create(messages=history, **asked).choices[0].message.content
            assert answer == (expected := expected or answer)
        silent: Any = [USER, {"role": "assistant", "content": None}, USER]
        assert client.chat.completions.create(messages=silent, **asked).choices[0].message.content


def test_developer_is_system() -> None:
    for role, known in [("developer", "system"), ("system", "system"), ("user", "user")]:
        assert ChatMessage.model_validate({"role": role, "content": "x"}).spoken == {"role": known, "content": "x"}


@pytest.mark.parametrize("message", [{"role": "user"}, {"role": "user", "content": None}, {"role": "tool"}])
def test_messages_that_say_nothing(server: Running, message: dict[str, Any]) -> None:
    status, said = server.ask("/chat/completions", {"model": "countdown", "messages": [message]})
    assert status == 400 and said["error"]["param"].startswith("messages.0")


@pytest.mark.parametrize(
    ("field", "value", "param", "message"),
    [
        ("prompt", 5, "prompt", "must be text, a list of texts"),
        ("prompt", [], "prompt", "must be text, a list of texts"),
        ("prompt", [[]], "prompt", "must be text"),
        ("prompt", ["8", 7], "prompt.1", "valid string"),
        ("prompt", [7, "8"], "prompt.1", "valid integer"),
        ("prompt", [[7], [-1]], "prompt.1.0", "greater than or equal to 0"),
        ("prompt", [[7], []], "prompt.1", "at least 1 item"),
        ("stop", [1], "stop", "must be text or a list of texts"),
        ("stop", ["a", ""], "stop.1", "at least 1 character"),
        ("stop", {"a": 1}, "stop", "must be text or a list of texts"),
        ("messages", [{"role": "user", "content": 7}], "messages.0.content", "must be text or a list of parts"),
        ("messages", [{"role": "user", "content": [{"type": "image_url"}]}], "messages.0.content.0.type", "'text'"),
    ],
)
def test_a_field_of_several_kinds_is_told_what_was_meant(
    server: Running, field: str, value: Any, param: str, message: str
) -> None:
    body = ChatBody if field == "messages" else CompletionBody
    status, said = server.ask(PATHS[body], MINIMAL[body] | {field: value})
    assert status == 400 and said["error"]["param"] == param and message in said["error"]["message"]


def test_a_body_without_its_type_is_told_so(server: Running) -> None:
    good = json.dumps(MINIMAL[CompletionBody]).encode()
    for kind in ("", "text/plain"):
        status, said = server.ask("/completions", good, **{"content-type": kind})
        assert status == 400 and "content-type" in said["error"]["message"]
    assert server.ask("/completions", good, **{"content-type": "Application/JSON; charset=utf-8"})[0] == 200
    status, said = server.ask("/completions", b'{"model": }')
    assert status == 400 and "not JSON" in said["error"]["message"] and said["error"]["param"] is None


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/countdown", "/health", "/metrics", "/openapi.json", "/no"])
def test_head_is_get_without_the_body(server: Running, path: str) -> None:
    found = []
    for method in ("GET", "HEAD"):
        try:
            answer = urlopen(Request(server.url[:-3] + path, method=method))
        except HTTPError as error:
            answer = error
        found.append((answer.status, answer.headers["content-type"], bool(answer.read())))
    assert found[0] == (*found[1][:2], True) and not found[1][2]


def test_the_name_that_chose_the_model_is_its_name(bundle: Bundle) -> None:
    with serving(bundle, asked_as="someone/countdown") as server:
        for name in ("countdown", "someone/countdown"):
            assert server.ask("/completions", {"model": name, "prompt": PROMPT, "max_tokens": 1})[0] == 200
            assert server.ask(f"/models/{name}")[0] == 200
        assert server.ask("/models/someone/else")[0] == 404


# Browsers


def preflight(server: Running, origin: str) -> tuple[int, str | None]:
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,x-stainless-os"}
    try:
        answer = urlopen(Request(server.url + "/completions", headers={"origin": origin, **asks}, method="OPTIONS"))
    except HTTPError as error:
        answer = error
    return answer.status, answer.headers["access-control-allow-origin"]


def test_a_browser_is_let_in_where_its_page_is_named(server: Running) -> None:
    assert preflight(server, PAGE) == (200, PAGE)
    assert preflight(server, "http://evil.example") == (400, None)
    with server.open("/completions", MINIMAL[CompletionBody], origin=PAGE) as answer:
        assert answer.headers["access-control-allow-origin"] == PAGE
    with pytest.raises(HTTPError) as refused:  # it must be able to read why
        server.open("/completions", {}, origin=PAGE)
    assert refused.value.headers["access-control-allow-origin"] == PAGE


def test_no_browser_is_let_in_unasked(bundle: Bundle) -> None:
    with serving(bundle) as server:
        assert preflight(server, PAGE) == (405, None)
        with server.open("/completions", MINIMAL[CompletionBody], origin=PAGE) as answer:
            assert answer.headers["access-control-allow-origin"] is None
