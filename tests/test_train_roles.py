"""What a model with roles is shown: shares, weights, and nested forks as the engine would hold them."""

from __future__ import annotations

import argparse
import random
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from miniapr.examine import seeds
from miniapr.kv.span import Span, View
from miniapr.model import bundle
from miniapr.tasks import roles, states
from miniapr.tasks.countdown import Problem, Ranges, split_of
from miniapr.tasks.roles import Teacher
from miniapr.tasks.sorting import split_of as split_of_list
from miniapr.tasks.states import Deck, State
from miniapr.tasks.words import CONTROL
from miniapr.train import command
from miniapr.train.config import TrainConfig
from miniapr.train.roles import Recipe, Roles, Shares, weights
from miniapr.train.sft import train
from miniapr.train.stream import Stream
from miniapr.train.text import Text, last_branch, pack

SOURCE = Roles(Recipe())
ALL = Teacher(full=1, narrow=0)
TINY = TrainConfig(
    tokens=60_000,
    batch_tokens=600,
    chunk_size=8,
    hidden_size=16,
    intermediate_size=24,
    layers=1,
    heads=2,
    roles=Recipe(),
)


def nested(seed: int) -> Text:
    """A demonstration that forks within a fork."""
    rng, deck = random.Random(seed), Deck(Ranges(4, 1, 10, 1, 60))
    while True:
        trace = roles.adaptive(deck.draw(rng), ALL, rng)
        if any(thread.threads for thread in trace.threads):
            return SOURCE.text(trace)


def who_sees_whom(text: Text) -> list[tuple[tuple[int, ...], set[int]]]:
    """By the words of the definition, without views: each text of the tree by its number, with those it sees."""
    order = list(text)
    number = {id(part): i for i, part in enumerate(order)}
    seen: list[tuple[tuple[int, ...], set[int]]] = [((), set())] * len(order)

    def walk(part: Text, before: set[int]) -> set[int]:
        """Gives all that stands in this branch at its end."""
        me = number[id(part)]
        seen[me] = (part.tokens, before)
        now = before | {me}
        below = [walk(thread, now) for thread in part.threads]
        return walk(part.then, now.union(*below)) if part.then else now

    walk(text, set())
    return seen


@given(st.integers(0, 10**6))
@settings(deadline=None, max_examples=15)
def test_a_nested_stitch_sees_its_ancestors_and_what_was_joined_and_nobody_else(seed: int) -> None:
    text = nested(seed)
    packed, parts = pack(text, "stitch"), who_sees_whom(text)
    starts = [sum(len(tokens) for tokens, _ in parts[:i]) for i in range(len(parts) + 1)]
    assert packed.tokens.tolist() == [token for tokens, _ in parts for token in tokens]
    for i, (tokens, seen) in enumerate(parts):
        rows = packed.visible[starts[i] : starts[i + 1]]
        for j in range(len(parts)):
            block = rows[:, starts[j] : starts[j + 1]]
            assert bool(block.all()) if j in seen else not block.any() or j == i
        own = rows[:, starts[i] : starts[i + 1]]
        assert torch.equal(own, torch.ones_like(own).tril())
        here = packed.positions[starts[i] : starts[i + 1]]
        assert torch.equal(here, here[0] + torch.arange(len(tokens)))
        # Right after what it has seen: nothing lies ahead, and there is no gap.
        ahead = [packed.positions[starts[j] : starts[j + 1]].max() for j in seen]
        assert here[0] == (max(ahead) + 1 if ahead else 0)


def test_what_an_engine_would_hold_is_what_is_packed() -> None:
    """A fork joined by hand, in spans and views, beside the packed demonstration."""
    text = SOURCE.text(roles.adaptive(State((8, 7, 3), 29), ALL, random.Random(0)))
    root = Span(0, View(), text.tokens)
    prefix = View((root.whole(),))
    threads = [Span(root.end, prefix, thread.tokens) for thread in text.threads]
    view, span = last_branch(text, "stitch")
    assert view.tokens == [*root.tokens, *(token for thread in threads for token in thread.tokens)]
    assert text.then is not None and span.tokens == list(text.then.tokens)
    assert span.position == max(thread.end for thread in threads)
    plain = pack(text, "reprefill")
    assert torch.equal(plain.tokens, pack(text, "stitch").tokens)
    assert torch.equal(plain.positions, torch.arange(len(plain)))
    assert torch.equal(plain.visible, torch.ones_like(plain.visible).tril())


def test_what_the_engine_puts_there_is_not_learned_and_decisions_weigh_most() -> None:
    words = ["21", "8", ":", "a+b", "29", "hit", "b*c", "a+b", "</thread>"]
    assert weights(words, concludes=False) == (1, 1, 1, 1, 1, 6, 6, 6, 6)
    words = ["1", "3", ":", "a+b", "4", "a-b", "2", "a*b", "3", "</thread>"]
    assert weights(words, concludes=False) == (1, 1, 1, 1, 1, 3, 1, 3, 1, 6)
    assert set(weights(["b*c", "a+b", "<eos>"], concludes=True)) == {6.0}
    text = SOURCE.text(roles.adaptive(State((8, 7, 3), 29), ALL, random.Random(0)))
    assert text.weights[:8] == (0,) * 8 and text.weights[8] > 0
    assert all(thread.weights[:2] == (0, 0) and thread.weights[2] > 0 for thread in text.threads)
    assert text.then is not None and text.then.weights == (0, 6, 6, 6)


def test_the_stream_is_seeded_and_holds_no_held_out_problem() -> None:
    def chunk(seed: int) -> list[list[int]]:
        stream = Stream(seed, Roles(Recipe()), chunk_size=200, batch_tokens=2000)
        return [sequence.tokens.tolist() for group in stream.groups(3) for sequence in group]

    first = chunk(1)
    assert first == chunk(1) and first != chunk(2)
    arrow, vocabulary = SOURCE.vocabulary.ids["->"], SOURCE.vocabulary
    seen = set()
    for ids in first:
        split = ids.index(arrow)
        seen.add(vocabulary.words[ids[1]])
        state = State(tuple(ids[2:split]), ids[split + 1])
        assert not states.held_out(state) and len(state.numbers) <= 4
    assert seen == {f"<{role}>" for role, share in asdict(Shares()).items() if share}


def test_a_child_searches_no_held_out_state() -> None:
    rng = random.Random(3)
    for _ in range(60):
        trace = SOURCE._child(rng)
        arrow = trace.given.index("->")
        state = State(tuple(map(int, trace.given[2:arrow])), int(trace.given[arrow + 1]))
        after = states.steps(state)[trace.given[-1]]
        assert len(after.numbers) < 3 or 0 in after.numbers or split_of(Problem(after.numbers, after.target)) == "train"


def test_lists_are_shown_too_and_none_that_is_held_out() -> None:
    source = Roles(Recipe(Shares(**{role: float(role in ("sort", "merge")) for role in asdict(Shares())})))
    rng, vocabulary = random.Random(0), source.vocabulary
    for _ in range(30):
        words = vocabulary.decode(source(rng).tokens.tolist()).split()
        if words[1] == "<sort>":
            numbers = tuple(map(int, words[4 : words.index(":")]))
            assert split_of_list(numbers) == "train"
    assert source.about["roles"] == ["sort", "merge"]
    assert source.about["task"] == "sorting" and "ranges" not in source.about


@pytest.mark.parametrize("lengths, within", [((1, 0, 0), range(4, 17)), ((0, 0, 1), range(4, 65))])
def test_lists_are_as_long_as_they_are_to_be(lengths: tuple[float, float, float], within: range) -> None:
    recipe = Recipe(Shares(**{role: float(role == "sort") for role in asdict(Shares())}), lengths=lengths)
    source, rng = Roles(recipe), random.Random(0)
    shown = [source.vocabulary.decode(source(rng).tokens.tolist()).split() for _ in range(60)]
    counts = {words.index(":") - 4 for words in shown}
    assert counts <= {*within} and max(counts) > within[-1] * 3 // 4


@pytest.mark.parametrize("lengths", [(0, 0, 0), (1, -1, 1), (1, 1, float("inf"))])
def test_bad_lengths_are_named(lengths: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="lengths are three numbers from 0 on, and not all 0"):
        Recipe(lengths=lengths)


def test_without_four_numbers_no_role_has_any() -> None:
    source, rng = Roles(Recipe(four=0)), random.Random(0)
    arrow = source.vocabulary.ids["->"]
    counts = {source(rng).tokens.tolist().index(arrow) - 2 for _ in range(200)}
    assert counts == {1, 2, 3}
    both = Roles(Recipe())
    assert {both(rng).tokens.tolist().index(arrow) - 2 for _ in range(200)} == {1, 2, 3, 4}


def test_a_role_without_a_share_is_left_out() -> None:
    source = Roles(Recipe(Shares(**{role: float(role == "value") for role in asdict(Shares())}), four=0))
    rng = random.Random(0)
    value = source.vocabulary.ids["<value>"]
    assert all(source(rng).tokens[1] == value for _ in range(30))
    assert source.about["roles"] == ["value"] and "ranges_of_four" not in source.about


def test_a_killed_run_with_roles_resumes_to_the_same_bits(tmp_path: Path) -> None:
    def quiet(_: str) -> None:
        return None

    whole = train(TINY, tmp_path / "whole", say=quiet, stop_after=8)
    train(TINY, tmp_path / "cut", say=quiet, stop_after=3)
    resumed = train(TINY, tmp_path / "cut", say=quiet, stop_after=8)
    for (name, a), b in zip(whole.model.state_dict().items(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_the_command_trains_roles_in_the_shares_that_it_is_given(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    sizes = "--tokens 1500 --layers 1 --hidden-size 16 --intermediate-size 24 --heads 2 --four 0.5 --operators=+-*"
    words = [*sizes.split(), "--lengths", "1", "0", "2", "--roles", "chain=0.5", "parent=0", "--out", str(tmp_path)]
    args = parser.parse_args(words)
    assert command.config_from(args).roles.lengths == (1, 0, 2)
    command.run(args)
    loaded = bundle.load(tmp_path)
    assert "--lengths 1.0 0.0 2.0" in loaded.about["provenance"]["command"]
    assert "--roles chain=0.5 parent=0" in loaded.about["provenance"]["command"]
    assert loaded.about["roles"] == ["chain", "value", "propose", "sequential", "adaptive", "child", "path", "worker"]
    assert loaded.about["ranges"]["operators"] == "+-*"
    assert loaded.tokenizer.id("a*c") == SOURCE.vocabulary.ids["a*c"]


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_of_the_problems_is_one(share: float) -> None:
    with pytest.raises(ValueError, match=f"four is a share from 0 to 1, got {share}"):
        Recipe(four=share)


@pytest.mark.parametrize("words", [["sing=1"], ["chain=much"], ["chain=-1"], ["chain"]])
def test_bad_shares_are_named(words: list[str]) -> None:
    with pytest.raises(ValueError, match="share"):
        command.read_shares(words)


def test_several_seeds_are_put_side_by_side_and_nothing_is_done_twice(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    sizes = "--roles --tokens 600 --batch-tokens 300 --chunk-size 8 --layers 1 --hidden-size 16 --heads 2"
    args = parser.parse_args([*sizes.split(), "--out", str(tmp_path)])
    seen: list[str] = []

    def examine(folder: Path) -> dict[str, Any]:
        seen.append(bundle.load(folder).about["provenance"]["command"])
        return {"right": {"share": 0.5 + 0.1 * len(seen), "low": 0.0, "high": 1.0, "n": 9}, "width": len(seen)}

    for _ in range(2):
        reports = seeds.examined(args, (3, 5), examine)
    assert ["--seed 3" in seen[0], "--seed 5" in seen[1], len(seen)] == [True, True, 2]
    width = {"mean": 1.5, "min": 1, "max": 2}
    assert seeds.across(reports) == {"right": {"mean": 0.65, "min": 0.6, "max": 0.7}, "width": width}
    assert seeds.across([{"ratio": None}, {"ratio": 0.6}]) == {"ratio": None}


def test_a_plan_that_nothing_precedes_weighs_as_a_line_does_and_any_other_is_a_verdict() -> None:
    assert weights(("<plan>", "a+b", "</plan>"))[0] == weights(("a+b", "15", "3"))[0] == 1.0
    assert weights(("a+b", "15", "3", ":", "miss", "<plan>"))[-1] == 6.0


def test_where_a_prompt_says_what_is_free_much_hangs_on_how_wide_a_plan_is() -> None:
    plan = [CONTROL["plan"], "a+b", "b+c", CONTROL["plan_end"]]
    assert weights(plan) == (1, 1, 1, 1) and weights(plan, free=True) == (6, 1, 1, 6)
    text = SOURCE.text(roles.adaptive(State((8, 7, 3), 29), replace(ALL, tries=0, free=(2,)), random.Random(0)))
    prompt, threads = text.weights[:-4], [thread.weights[:3] for thread in text.threads]
    assert text.weights[-4:] == (6, 1, 1, 6) and not any(prompt) and {*threads} == {(0, 0, 1)}
