"""Every kind of tokenizer against transformers: texts, chats and their templates, and text that comes in pieces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Inner
from tokenizers import models, pre_tokenizers
from vocabularies import KINDS, with_control, write

from miniapr.engine.stopping import TextStream
from miniapr.model.tokenizer import Tokenizer

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|user|> {{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<plan>{% endif %}"
)
TEXTS = ["", "hello", " the cat ", "the cat <think> sat  ", "if x then y </think>x", "a\n\nb", "  hello world,"]
FLAGS = [{}, {"lstrip": True}, {"rstrip": True}, {"lstrip": True, "rstrip": True}, {"single_word": True}]


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def ours(kind: str) -> Tokenizer:
    return Tokenizer(with_control(KINDS[kind]()), TEMPLATE, {"bos": "<s>", "eos": "</s>"})


def expressible(kind: str, texts: list[str]) -> list[str]:
    return [text for text in texts if kind != "word level" or not set(text) & set(",\n")]


@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_texts_and_chats_become_what_they_become_in_transformers(
    kind: str, flags: dict[str, bool], tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    write(with_control(KINDS[kind](), **flags), tmp_path, chat_template=TEMPLATE)
    ours, theirs = Tokenizer.load(tmp_path), transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in expressible(kind, TEXTS):
        ids = theirs(text, add_special_tokens=False)["input_ids"]
        assert ours.encode(text) == ids
        assert ours.decode(ids, start=True) == theirs.decode(ids)
        assert [*ours.prompt(text), ours.id("</s>")] == theirs(text)["input_ids"]
        if kind == "word level" and flags.get("single_word"):
            continue  # "hello<|end|>" is one unknown word then
        talk = [{"role": "user", "content": text}, {"role": "user", "content": text}]
        rendered = theirs.apply_chat_template(talk, add_generation_prompt=True, tokenize=False)
        assert ours.chat(talk) == theirs(rendered, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("said, begins", [({}, 1), ({"add_bos_token": True}, 1), ({"add_bos_token": False}, 0)])
def test_what_comes_before_a_text_is_as_the_file_says(said: dict[str, bool], begins: int, tmp_path: Path) -> None:
    ours = Tokenizer.load(write(with_control(KINDS["byte level"]()), tmp_path, **said))
    assert ours.prompt("hello") == [1] * begins + ours.encode("hello")


@settings(max_examples=30)
@given(st.data())
def test_f44_pieces_of_a_text_are_the_text_wherever_it_is_cut(ours: Tokenizer, data: st.DataObject) -> None:
    """Also broken bytes, control tokens and ids beyond the vocabulary; with a stop string and without one."""
    ids = data.draw(st.lists(st.integers(0, len(ours) + 1), max_size=20))
    stop = data.draw(st.lists(st.sampled_from(["the", " a", "\ufffd\ufffd", "<s>"]), max_size=2))
    whole = ours.decode(ids)
    for stops in ([], stop):
        stream = TextStream(ours.decode, stops)
        said = "".join([*map(stream.push, ids), stream.finish()])
        at = [whole.find(stop) + len(stop) for stop in stops if stop in whole]
        assert said == stream.text == (whole[: min(at)].removesuffix(stream.stopped or "") if at else whole)


def test_a_completion_begins_with_its_space_and_each_token_has_its_own(kind: str, ours: Tokenizer) -> None:
    ids = ours.encode("hello the a")
    if kind == "word level":  # words, with spaces between them
        assert ours.decode(ids) == "hello the a"
        return
    assert ours.decode(ids[:1], start=True) + ours.decode(ids[1:]) == "hello the a"
    assert "".join(ours.decode([id]) for id in ids).removeprefix(" ") == "hello the a"
    assert b"".join(map(ours.bytes_of, ids)).decode().removeprefix(" ") == "hello the a"


@pytest.mark.parametrize("kind", ["byte level", "sentencepiece, first"])
def test_a_token_within_a_character_has_its_own_bytes(kind: str) -> None:
    ours = Tokenizer(KINDS[kind]())
    ids = ours.encode("\u20ac")
    assert [ours.bytes_of(id) for id in ids[-3:]] == [b"\xe2", b"\x82", b"\xac"]
    assert ours.decode(ids, start=True) == "\u20ac" and ours.decode(ids[-3:-1]) == "\ufffd"


@pytest.mark.parametrize("unknown", [{}, {"unk_token": "<unk>"}, {"unk_token": "elsewhere"}])
def test_what_a_vocabulary_cannot_express_is_refused_and_never_left_out(unknown: dict[str, str]) -> None:
    letters = {letter: id for id, letter in enumerate(["<unk>", "a", "b"])}
    for model in (
        models.BPE(letters, [], **unknown),
        models.WordLevel(letters, unk_token=unknown.get("unk_token", "")),
    ):
        inner = Inner(model)
        inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
        ours = Tokenizer(inner)
        assert ours.encode("ab") == [1, 2]
        with pytest.raises(ValueError, match="no token for 'x'"):
            ours.encode("axb")


def test_half_a_surrogate_pair_is_no_text(ours: Tokenizer) -> None:
    asked: list[Any] = [ours.encode, ours.prompt, ours.id, lambda x: ours.chat([{"role": "user", "content": x}])]
    for ask in asked:
        with pytest.raises(ValueError, match=r"not valid Unicode.*U\+DC80.*character 1"):
            ask("a\udc80b")


# Chat templates


def rendered(template: str, *said: str) -> list[int]:
    talk = [{"role": "user", "content": text} for text in said]
    return Tokenizer(with_control(KINDS["byte level"]()), template, {"bos": "<s>"}).chat(talk)


@pytest.mark.parametrize(
    "template, wanted",
    [
        ("{% if tools is not none %}tools{% else %}none{% endif %}", "none"),
        ("{% if documents is defined and documents %}some{% else %}none{% endif %}", "none"),
        ("{% generation %}{{ messages[0].content }}{% endgeneration %}", "hello"),
        ("{{ {'b': '<', 'a': messages[0].content} | tojson(sort_keys=true) }}", '{"a": "hello", "b": "<"}'),
        ("{{ [1, 2] | tojson(indent=1) }}", "[\n 1,\n 2\n]"),
        ("{{ ['\u20ac'] | tojson }}{{ '\u20ac' | tojson(ensure_ascii=true) }}", '["\u20ac"]"\\u20ac"'),
        ("{{ strftime_now('%Y') | length }}", "4"),
        ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
    ],
)
def test_templates_find_what_transformers_gives_them(template: str, wanted: str, tmp_path: Path) -> None:
    assert rendered(template, "hello") == rendered(json.dumps(wanted).join(["{{ ", " }}"]), "hello")
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(write(with_control(KINDS["byte level"]()), tmp_path))
    talk = [{"role": "user", "content": "hello"}]
    assert theirs.apply_chat_template(talk, chat_template=template, tokenize=False) == wanted


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('no') }}",
        "{{ 1 / 0 }}",
        "{{ messages[0]['content'] + 1 }}",
        "{{ messages[7]['content'] }}",
        "{{ messages | tojson(indent='x', separators=3) }}",
        "{% for i in range(10 ** 9) %}{% endfor %}",
        "{% if %}",
        "{{ strftime_now(3) }}",
        "{{ nothing.at.all }}",
    ],
)
def test_an_error_inside_a_template_is_a_sentence(template: str) -> None:
    with pytest.raises(ValueError, match=r"the model's chat template (refuses|fails on) these messages: "):
        rendered(template, "hello")


def test_what_the_template_writes_after_an_answer_ends_a_turn() -> None:
    inner = with_control(KINDS["byte level"]())
    template = "{% for m in messages %}<|user|>{{ m.content | trim }}<|end|>{% endfor %}"
    assert Tokenizer(inner, template, {"eos": "</s>"}).ends == {2, inner.token_to_id("<|end|>")}
    assert Tokenizer(inner, "{{ raise_exception('no') }}", {"eos": "</s>"}).ends == {2}
    assert Tokenizer(inner, "{% for m in messages %}<|user|>{{ m.content }}{% endfor %}").ends == frozenset()
