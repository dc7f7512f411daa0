"""The server: what OpenAI's client sees of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from serving import PROMPT, Running, serving

import miniapr
from miniapr.model.bundle import Bundle


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


def test_an_engine_that_records_nothing_cannot_be_served(bundle: Bundle) -> None:
    """It would write, and nobody would hear of it."""
    with pytest.raises(ValueError, match="record=True"), serving(bundle, record=False):
        pass


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
    cut = server.complete(max_tokens=40, stop=["miss", "15 3"])["choices"][0]
    assert cut["text"] == whole[: whole.index("15 3")] and cut["finish_reason"] == "stop"
    assert cut["stop_reason"] == "15 3"
    kept = server.complete(max_tokens=40, stop="15 3", include_stop_str_in_output=True)["choices"][0]["text"]
    assert kept == cut["text"] + "15 3"
    streamed = server.stream("/completions", prompt=PROMPT, max_tokens=40, stop=["15 3"])
    assert "".join(chunk["choices"][0]["text"] for chunk in streamed) == cut["text"]


def test_token_ids_in_and_out(server: Running, bundle: Bundle) -> None:
    ids = bundle.tokenizer.ids(["<bos>", "<sequential>", *PROMPT.split()])
    by_text = server.complete(max_tokens=20, return_token_ids=True)["choices"][0]
    by_ids = server.complete(ids, max_tokens=20, return_token_ids=True)["choices"][0]
    assert by_ids == by_text and bundle.tokenizer.decode(by_ids["token_ids"]) == by_ids["text"]
    several = server.complete([ids, ids], max_tokens=20)["choices"]
    assert [choice["text"] for choice in several] == [by_text["text"]] * 2
    written = by_ids["token_ids"]
    at = next(i for i in range(2, 20) if written[i] not in written[:i])
    stop = written[at]
    stopped = server.complete(ids, max_tokens=20, stop_token_ids=[stop], return_token_ids=True)["choices"][0]
    assert stopped["token_ids"] == written[: at + 1] and stopped["stop_reason"] == stop
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
