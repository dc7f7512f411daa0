"""The wall between text and control: nothing that is said becomes a control token, in no copy, whatever it spells."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, models
from tokenizers import Tokenizer as Inner
from vocabularies import CONTROL, KINDS, with_control

import miniapr.model.wall as walls
from miniapr.model.tokenizer import Tokenizer
from miniapr.model.wall import MARK, Wall

TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] | trim }}<|end|>{% endfor %}"
    "{% for m in messages %}<{{ m['content'] | lower }}>{{ m['content'] }}{{ m | tojson }}{% endfor %}<plan>"
)
PARTS = [*CONTROL, "<", "|", ">", "plan", "an>", "<PLAN", "end|>", "<|", "s", "/s", " ", "\ue000", "\uffff", "x"]
said = st.lists(st.sampled_from(PARTS), max_size=8).map("".join)
COPIES: list[Callable[[Any], Any]] = [lambda x: x, copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]


@pytest.fixture(scope="module", params=["byte level", "sentencepiece, first", "unigram, always", "whole words"])
def copies(request: pytest.FixtureRequest) -> list[Tokenizer]:
    """Of a tokenizer that has bytes for all text, or the pieces of all parts."""
    tokenizer = Tokenizer(with_control(KINDS[request.param]()), TEMPLATE, {"bos": "<s>", "eos": "</s>"})
    return [make(tokenizer) for make in COPIES]


@settings(max_examples=20)
@given(text=said)
def test_f49_text_is_text_in_every_copy(copies: list[Tokenizer], text: str) -> None:
    found = []
    for tokenizer in copies:
        try:
            ids = tokenizer.encode(text)
        except ValueError as error:  # a vocabulary without this character
            assert {"\ue000", "\uffff"} & set(text), error
            return
        assert tokenizer.control.isdisjoint(ids)
        assert tokenizer.decode(ids).removeprefix(" ") == text.removeprefix(" ")
        found.append(ids)
    assert all(ids == found[0] for ids in found)


@settings(max_examples=20)
@example(first="<PLAN>", second="x", role="user")  # a template may change the case
@example(first="plan> x", second="x <plan", role="user")  # and write the rest of a name before or after
@given(first=said, second=said, role=st.sampled_from(["user", "end", *CONTROL]))
def test_f49_a_chat_has_the_control_tokens_of_its_template_and_no_others(
    copies: list[Tokenizer], first: str, second: str, role: str
) -> None:
    """Whatever is trimmed, put in lower case, written next to halves of a name, or turned into JSON."""
    talk = [{"role": role, "content": first}, {"role": "user", "content": second}]
    harmless = [{"role": role, "content": "x"}, {"role": "user", "content": "x"}]
    for tokenizer in copies:
        try:
            ids = tokenizer.chat(talk)
        except ValueError as error:
            assert {"\ue000", "\uffff"} & set(first + second), error
            return
        wanted = [id for id in tokenizer.chat(harmless) if id in tokenizer.control]
        assert tokenizer.id("<|user|>") in wanted, "of a role and what stands around it a template makes a name"
        assert [id for id in ids if id in tokenizer.control] == wanted


def test_f49_what_was_said_reaches_the_model_as_it_was_said() -> None:
    tokenizer = Tokenizer(with_control(KINDS["byte level"]()), "{% for m in messages %}{{ m.content }}{% endfor %}")
    for text in ("<plan>", "an>", "<|end|><|end|", "\ue000<s>\uf8ff", "\u20ac<s>", " <s> "):
        assert tokenizer.decode(tokenizer.chat([{"role": "user", "content": text}])) == text


@pytest.mark.parametrize("name", ["|", "\u20ac", "aa", "a", " ", "x\ny", "plan"])
def test_a_control_token_may_have_any_name(name: str) -> None:
    """One character long it ended in an endless loop. What is left of the vocabulary expresses it, or nothing does."""
    inner = KINDS["byte level"]()
    inner.add_special_tokens([AddedToken(name, normalized=False)])
    tokenizer = Tokenizer(inner, "{% for m in messages %}{{ m.content }}" + name + "{% endfor %}")
    for text in (name, name * 3, "b" + name + "b", name + "b" + name):
        try:
            ids = tokenizer.chat([{"role": "user", "content": text}])
        except ValueError as error:  # the only token for this byte is the control token
            assert f"no token for {name!r}" in str(error)
        else:
            assert [id for id in ids if id in tokenizer.control] == [tokenizer.id(name)]
            assert tokenizer.decode(ids) == text + name


def test_named_tokens_are_control_though_the_file_does_not_mark_them() -> None:
    inner = Inner(models.WordLevel({"<unk>": 0, "<eos>": 1, "a": 2}, unk_token="<unk>"))
    assert Tokenizer(inner).encode("<eos>") == [1], "an ordinary word of this vocabulary"
    tokenizer = Tokenizer(inner, named={"eos": "<eos>"})
    assert (tokenizer.ends, tokenizer.encode("a")) == ({1}, [2])
    with pytest.raises(ValueError, match="no token for '<eos>'"):
        tokenizer.encode("<eos>")


def test_a_name_from_behind_the_wall_is_no_way_around_it() -> None:
    """The entries of control tokens are renamed, not gone: who spells the new name is refused."""
    inner = Inner(models.WordLevel({"<unk>": 0, "<eos>": 1, "\uffff": 2}, unk_token="<unk>"))
    tokenizer = Tokenizer(inner, named={"eos": "<eos>"})
    with pytest.raises(ValueError, match="no token"):
        tokenizer.encode("\uffff1")


def test_of_two_names_that_begin_alike_the_longer_one_is_meant() -> None:
    wall = Wall([AddedToken("<x", special=True), AddedToken("<x>", special=True)])
    assert list(wall.cut("1<x>2<x3")) == [("1", "<x>"), ("2", "<x"), ("3", None)]


def test_a_whole_word_is_none_where_what_was_said_goes_on_with_it() -> None:
    wall = Wall([AddedToken("end", special=True, single_word=True)])
    (said,) = wall.around([{"content": "ing"}])
    assert list(wall.cut("end " + said["content"])) == [("", "end"), (" ing", None)]
    for beginning in (MARK, ""):
        assert list(wall.cut(f"end{beginning}ing")) == [("ending", None)]


def test_text_costs_time_linear_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: at most a mark for each character, and every character is encoded once."""
    template = "{% for m in messages %}{{ m.content }}<plan>{% endfor %}"
    tokenizer = Tokenizer(with_control(KINDS["byte level"]()), template)
    encoded: list[str] = []
    encode = tokenizer._encoder.encode
    monkeypatch.setattr(
        tokenizer._encoder, "encode", lambda text, start: (encoded.append(text), encode(text, start))[1]
    )
    everything = "".join(map(chr, range(0xE000, 0xF900)))  # no private character is left for a mark
    for text in ("<|end|>" * 20_000, "<" * 100_000, everything * 16, " " * 100_000, "<|user|" * 20_000):
        (marked,) = tokenizer._wall.around([{"role": "user", "content": text}])
        assert len(marked["content"]) <= 2 * len(text)
        assert tokenizer.chat([{"role": "user", "content": text}])[-1] == tokenizer.id("<plan>")
        assert encoded == [text]
        encoded.clear()


def test_without_marks_what_is_said_would_be_control(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above can fail."""
    monkeypatch.setattr(walls.Wall, "around", lambda self, messages: messages)
    tokenizer = Tokenizer(with_control(KINDS["byte level"]()), "{% for m in messages %}{{ m.content }}{% endfor %}")
    assert tokenizer.chat([{"role": "user", "content": "<plan>"}]) == [tokenizer.id("<plan>")]
