"""Sorting: nested threads and a merge that reads them, by a model that writes what the teacher would."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from taught import Taught
from test_methods_players import nonsense  # noqa: F401

from miniapr.methods.blocks import multiverse, threadweaver
from miniapr.methods.budget import Budget
from miniapr.methods.calls import apr, recursive
from miniapr.methods.play import play, play_together
from miniapr.methods.search.graph_of_thoughts import graph_of_thoughts
from miniapr.methods.self_consistency import self_consistency
from miniapr.methods.sequential import sequential
from miniapr.model.bundle import Bundle
from miniapr.players import Game, game_of
from miniapr.players.sorting import Half
from miniapr.tasks.sorting import Numbers, Sorting, merge, sort
from miniapr.tasks.trace import Trace, Words
from miniapr.tasks.words import CONTROL, LABELS, WORDS


def numbers(count: int, seed: int = 0) -> Numbers:
    dice = random.Random(seed)
    return tuple(dice.randint(0, 99) for _ in range(count))


def demonstrate(prompt: Words) -> Trace:
    if prompt[1] == CONTROL["merge"]:
        comma = prompt.index(",")
        return merge([int(word) for word in prompt[2:comma]], [int(word) for word in prompt[comma + 1 : -1]])
    return sort(tuple(map(int, prompt[4:-1])), int(prompt[2]))


def taught(levels: int = 3) -> tuple[Taught, Game]:
    engine = Taught(demonstrate, num_blocks=2000)
    return engine, game_of(engine.bundle, task="sorting", levels=levels)


BUDGET = Budget(2000)
CRITICAL = {0: 484, 1: 280, 2: 214, 3: 201}  # of 64 numbers, as docs/training/roles.md has them


@pytest.mark.parametrize("levels", CRITICAL)
def test_the_critical_path_falls_with_every_level_that_forks(levels: int) -> None:
    engine, game = taught(levels)
    problem = numbers(64)
    outcome = engine.play(multiverse, game.player, problem=problem)
    assert outcome.answer == Sorting().solve(problem) and outcome.costs.critical == CRITICAL[levels]
    assert outcome.costs.decoded == sort(problem, levels).total and outcome.costs.recomputed == 0
    assert len(outcome.tree) == 2 ** (levels + 1) - 1


@settings(max_examples=10)
@given(st.integers(4, 40), st.integers(0, 3), st.integers(0, 99))
def test_lists_of_any_length_nest_as_deep_as_they_are_long(count: int, levels: int, seed: int) -> None:
    engine, game = taught(levels)
    problem = numbers(count, seed)
    outcome = engine.play(multiverse, game.player, problem=problem)
    trace = sort(problem, levels)
    assert outcome.answer == Sorting().solve(problem)
    assert (outcome.costs.decoded, outcome.costs.critical) == (trace.total, trace.critical)


@pytest.mark.parametrize("method", [sequential, self_consistency])
def test_in_line_the_same_model_sorts_without_a_fork_of_its_own(method: object) -> None:
    engine, game = taught()
    problem = numbers(20)
    outcome = engine.play(method, game.player, problem=problem)
    assert outcome.answer == Sorting().solve(problem)
    assert outcome.costs.critical == sort(problem, 0).total


def test_one_level_of_plans_is_followed_by_threadweaver() -> None:
    engine, game = taught(levels=1)
    outcome = engine.play(threadweaver, game.player, problem=numbers(20))
    assert outcome.answer == Sorting().solve(numbers(20)) and len(outcome.tree) == 3
    # Computed again is the second thread: its seed, and all that it wrote but its last word, which nobody asked for.
    assert outcome.costs.recomputed == 2 + outcome.tree[2].decoded - 1


@pytest.mark.parametrize(("depth", "join"), [(0, "stitch"), (1, "stitch"), (2, "stitch"), (2, "reprefill")])
def test_graph_of_thoughts_aggregates_by_a_join(depth: int, join: str) -> None:
    engine, game = taught()
    problem = numbers(30)
    outcome = engine.play(graph_of_thoughts, game.player, problem=problem, depth=depth, join=join, width=2)
    assert outcome.answer == Sorting().solve(problem) and outcome.judge == "exact"
    kinds = [event.data["how"] for event in engine.events if event.kind == "joined"]
    assert kinds.count(join) == 2**depth - 1 and kinds.count("select") == 2 ** (depth + 1) - 1
    assert outcome.costs.critical == sort(problem, depth).critical  # all tries are written at the same time
    assert bool(outcome.costs.recomputed) == (join == "reprefill")


@pytest.mark.parametrize("depth", [1, 2])
def test_graph_of_thoughts_as_published_puts_every_thought_in_a_context_of_its_own(depth: int) -> None:
    engine, game = taught()
    problem = numbers(30)
    outcome = engine.play(graph_of_thoughts, game.player, problem=problem, depth=depth, join="message", width=2)
    assert outcome.answer == Sorting().solve(problem) and outcome.costs.recomputed == 0
    half = sorted(problem[:15]), sorted(problem[15:])
    assert f"<bos> <merge> {' '.join(map(str, half[0]))} , {' '.join(map(str, half[1]))} :" in engine.read
    stitched, other = taught()
    joined = stitched.play(graph_of_thoughts, other.player, problem=problem, depth=depth, width=2)
    assert outcome.costs.largest_context < joined.costs.largest_context
    assert outcome.costs.prefilled > joined.costs.prefilled  # who is given nothing has to be told


@pytest.mark.parametrize(("method", "critical"), [(apr, 4 + 9 + 17), (recursive, 4 + 9 + 9 + 17)])
def test_halves_are_called_in_contexts_of_their_own(method: Any, critical: int) -> None:
    engine, game = taught(levels=1)
    problem = numbers(16)
    outcome = engine.play(method, game.player, problem=problem)
    assert outcome.answer == Sorting().solve(problem) and len(outcome.tree) == 3
    # The plan; of each half its numbers and the end of its text; all numbers and the end.
    assert outcome.costs.decoded == 4 + 9 + 9 + 17 and outcome.costs.critical == critical
    assert f"<bos> <sort> 0 , {' '.join(map(str, problem[:8]))} :" in engine.read


def test_a_list_that_the_model_does_not_split_is_sorted_in_line() -> None:
    engine, game = taught()
    outcome = engine.play(graph_of_thoughts, game.player, problem=numbers(7), width=2)
    assert outcome.answer == Sorting().solve(numbers(7))
    assert any(text.startswith("<bos> <sort> 1 ,") for text in engine.read)  # it was asked to split it first
    assert any(text.startswith("<bos> <sort> 0 ,") for text in engine.read)


@given(st.lists(st.sampled_from([*LABELS, *WORDS, *CONTROL.values(), "0", "7", "400"]), max_size=30))
def test_F49_reading_never_fails(nonsense: Bundle, words: list[str]) -> None:  # noqa: F811
    game, text = game_of(nonsense, task="sorting"), " ".join(words)
    for part in ((5, 3), (7,), Half((5, 3, 1), "left")):
        for name, role in game.player.roles.items():
            role.read(part, text)
            more = {"split": ("9",), "apart": (text, "7 x 9"), "call": (text, "7", "x 9")}.get(name, ())
            assert name in ("chain", "adaptive") or role.ask(part, *more)


def test_halves_are_cut_as_the_teacher_cuts_them(nonsense: Bundle) -> None:  # noqa: F811
    read = game_of(nonsense, task="sorting").player["split"].read
    assert read((5, 3, 1), "<plan> left right </plan>") == [Half((5, 3), "left"), Half((1,), "right")]
    for text in ("<plan> right left </plan>", "<plan> left </plan>", "left right </plan>", "1 3 5 <eos>"):
        assert read((5, 3, 1), text) == []
    assert read((5,), "<plan> left right </plan>") == []


def test_what_a_model_was_not_trained_for_is_said(nonsense: Bundle) -> None:  # noqa: F811
    game = game_of(nonsense, task="sorting")
    assert game.outside((5, 3, 1, 99)) is None and game.draw
    assert "was trained to sort 4 to 64 numbers of 0 to 99; these are 3 of 1 to 300" in str(game.outside((300, 3, 1)))
    assert len(game.draw(random.Random(0), 5)) == 5
    for wrong in ([], [-1, 2]):
        with pytest.raises(ValueError, match="a list to sort"):
            game.put(wrong)
    with pytest.raises(ValueError, match="0 to 3 levels"):
        game_of(nonsense, task="sorting", levels=4)


def test_lists_sorted_together_come_to_what_each_comes_to_alone() -> None:
    lists, counts = (
        [numbers(count, count) for count in (20, 33, 12)],
        ("decoded", "critical", "largest_context", "resent"),
    )
    engine, game = taught()
    together = play_together(engine, [multiverse(some, game.player, BUDGET) for some in lists], BUDGET)
    for some, outcome in zip(lists, together, strict=True):
        alone, other = taught()
        single = play(alone, multiverse(some, other.player, BUDGET), BUDGET)
        assert single is not None and outcome.answer == single.answer == Sorting().solve(some)
        assert [thought.text for thought in outcome.tree] == [thought.text for thought in single.tree]
        assert [getattr(outcome.costs, count) for count in counts] == [getattr(single.costs, count) for count in counts]
    assert play_together(engine, [multiverse(lists[0], game.player, BUDGET)], BUDGET, lambda: True) == []
