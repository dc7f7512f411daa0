"""Thinking by prompts: what is read from an outline, and that a thread is a turn of the chat, on any model."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from helpers import Letters, assert_nothing_held, make_engine
from test_methods_players import talker

from miniapr.engine import operations as op
from miniapr.engine.branch import Branch, Limits
from miniapr.engine.engine import Engine
from miniapr.engine.request import Program
from miniapr.engine.sampling import Sampling
from miniapr.methods.compare import JOINS, Comparison, compare
from miniapr.methods.distance import distances
from miniapr.methods.skeleton import Skeleton, read_points, skeleton

END = 28  # "|"


class Chat(Letters):
    """A chat in letters: every message is its number of words, and ends with |."""

    ends = frozenset({END})

    def encode(self, text: str, start: bool = True) -> list[int]:
        return super().encode("".join(letter for letter in text.lower() if letter in self.alphabet)[:6])

    def chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        return [*self.encode(messages[0]["content"]), END]

    def turn(self, text: str) -> list[int]:
        return [END, *self.encode(text), END]


@pytest.mark.parametrize(
    "text, points",
    [
        ("1. one\n2. two\n3. three", ["one", "two", "three"]),
        ('1) *one*\n\n 2: "two"<|im_end|>\nand so on', ["one", "two"]),
        ("1. same\n2. same\n3. other", ["same", "other"]),
        ("1.\n2.   \nnothing", []),
        ("1. a\n2. b\n3. c\n4. d\n5. e", ["a", "b", "c", "d"]),
        ("no list at all", []),
        ("", []),
        ("1. " + "word " * 40, [" ".join(["word"] * 12)]),
    ],
)
def test_points_of_an_outline(text: str, points: list[str]) -> None:
    assert read_points(text, 4) == points


class Planned(Skeleton):
    """A random model writes no outline: here it has two points."""

    def plan(self, root: Branch) -> Program:
        yield op.Decode([root], max_tokens=2)
        return (yield op.Fork(root, [self._next_turn(text, "so", ended=False) for text in ("cat", "dog ape")]))


def planned() -> Planned:
    return Planned("why", Chat(), max_tokens=5)


def test_every_thread_ends_its_turn_and_every_join_is_made_from_one_state() -> None:
    engine: Engine = make_engine()
    engine.tokenizer = Chat()
    result = Comparison()
    engine.run(compare(engine, result, planned()))
    assert list(result.joins) == list(JOINS) and not result.left_out
    assert [thread.seed for thread in result.threads] == ["|cat|so", "|dog ap|so"]
    for joined in result.joins.values():
        assert 1 <= joined.tokens <= 5
    assert_nothing_held(engine)


def by_hand(engine: Engine, root: Branch, program: Program) -> Any:
    """A program's operations as a person's calls; so its tree stays."""
    value = None
    try:
        while True:
            value = engine.perform(root, program.send(value))
    except StopIteration as end:
        return end.value


def test_how_far_a_join_is_is_a_mean_over_what_reprefill_concluded() -> None:
    """Against the same by hand, token by token. A join's own conclusion and the first token alone are other numbers."""
    engine, method, result = make_engine(), planned(), Comparison()
    engine.tokenizer = Chat()
    conclusions = engine.run(compare(engine, result, method))
    engine.run(distances(result, method, conclusions["reprefill"], Sampling()))
    assert_nothing_held(engine)
    root = engine.start(method.prompt)
    threads = by_hand(engine, root, method.plan(root))
    for thread in threads:
        by_hand(engine, root, method.think(thread))
    readers = {how: engine.join(root, threads, how, then=method.then, keep=True) for how in JOINS}
    far: dict[str, list[float]] = {how: [] for how in JOINS}
    for token in conclusions["reprefill"]:
        said = {how: engine.settle(reader).logits.double().log_softmax(-1) for how, reader in readers.items()}
        for how, reader in readers.items():
            far[how].append(float((said["reprefill"].exp() * (said["reprefill"] - said[how])).sum()))
            engine.extend(reader, [token])
    for how, joined in result.joins.items():
        assert joined.kl_to_reprefill == pytest.approx(statistics.mean(far[how]), rel=1e-3, abs=1e-9)
    stitch = result.joins["stitch"]
    assert result.joins["reprefill"].kl_to_reprefill == 0 and result.joins["reprefill"].top1_agrees == 1
    assert stitch.kl_to_reprefill and abs(stitch.kl_to_reprefill - far["stitch"][0]) > 0.01 * stitch.kl_to_reprefill


def test_what_reprefill_reads_is_an_ordinary_chat() -> None:
    """Every turn is closed once: a model never sees an open turn, nor two ends in a row."""
    engine: Engine = make_engine()
    engine.tokenizer = Chat()
    seen = []

    def program() -> Program:
        method = planned()
        root = yield op.Start(method.prompt)
        threads = yield from method.plan(root)
        yield op.All([method.think(thread) for thread in threads])
        seen.extend(thread.history[-1] for thread in threads)
        joined = yield op.Join(root, threads, "reprefill", then=method.then)
        yield from method.conclude(joined, "reprefill")
        return joined.text

    text = engine.run(program())
    assert seen == [END, END]
    before = text[: text.index("now pu")]
    assert before.endswith("|") and not before.endswith("||")


def test_a_model_that_writes_no_list_ends_with_what_it_wrote() -> None:
    engine: Engine = make_engine()
    engine.tokenizer = Chat()
    root = engine.run(skeleton("why", Chat(), max_tokens=4))
    assert root.completion is not None and len(root.children) == 0
    assert_nothing_held(engine)


@pytest.mark.parametrize("most", [1, 2, 64])
def test_points_beyond_the_width_are_left_out_and_the_others_thought_about(most: int) -> None:
    def script(words: list[str]) -> str:
        said = words[len(words) - list(reversed(words)).index("assistant:") :]
        outline = ["1.", "Food", "\n2.", "Warmth", "\n3.", "Care"]
        return outline[len(said)] if said[:1] == ["1."] and len(said) < len(outline) else "<|end|>"

    engine, _ = talker(script)
    engine.tokenizer.decode = lambda ids: "".join(f"{engine.words.words[id]} " for id in ids)  # type: ignore[method-assign]
    engine.run(skeleton("What?", engine.tokenizer), Limits(width=most))
    (forked,) = [event for event in engine.events if event.kind == "forked"]
    assert len(forked.data["children"]) == min(most, 3)
