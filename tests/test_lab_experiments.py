"""The experiments of the lab, each as small as it goes: what they put there, what they count, and what they train."""

from __future__ import annotations

import dataclasses
import random
from functools import partial
from typing import Any

import pytest
import torch

from miniapr.lab import clock, depth, reader, transfer, window
from miniapr.lab.arms import Room, Size
from miniapr.lab.examine import Sampled
from miniapr.lab.little import LITTLE, RECIPE, TEACHER, taught
from miniapr.lab.plans import any_order, forced, in_order, reversed_order
from miniapr.lab.solve import Solved, solve
from miniapr.methods.table import METHODS
from miniapr.model.bundle import Bundle, load
from miniapr.model.decoder import Decoder
from miniapr.players.choose import game_of
from miniapr.rl.practice import practice
from miniapr.rl.sampler import Sampler
from miniapr.tasks import roles, states
from miniapr.tasks.states import State
from miniapr.tasks.words import CONTROL
from miniapr.train.roles import Roles

TINY = dataclasses.replace(
    LITTLE, hidden_size=16, intermediate_size=16, layers=1, heads=2, batch_tokens=400, chunk_size=16, tokens=800
)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    folder = tmp_path_factory.mktemp("lab")
    return Room(folder / "starts", folder / "runs", Size(count=4))


@pytest.fixture(scope="module")
def tiny(room: Room) -> Bundle:
    """Of the little problem, and hardly taught."""
    return load(
        dataclasses.replace(taught("tiny"), config=dataclasses.replace(TINY, roles=RECIPE)).make(0, room, print)
    )


# Demonstrations


def test_a_teacher_forks_problems_up_to_a_size_and_names_steps_in_any_order() -> None:
    dice = random.Random(0)
    problem, small = State((9, 5, 2), 12), State((9, 5), 14)
    assert roles.adaptive(problem, TEACHER, dice).threads
    low = dataclasses.replace(TEACHER, forks=2)
    assert not roles.adaptive(problem, low, dice).threads and roles.adaptive(small, low, dice).threads
    mixed = dataclasses.replace(TEACHER, shuffled=1.0)
    plans = {roles.adaptive(problem, mixed, dice).written[1:-1] for _ in range(20)}
    assert len(plans) > 10 and {frozenset(plan) for plan in plans} == {frozenset(states.steps(problem))}
    for trace in (
        roles.adaptive(problem, mixed, dice) for _ in range(5)
    ):  # a thread for each step, in the plan's order
        assert [thread.given[1] for thread in trace.threads] == list(trace.written[1:-1])


# Plans that are put there


@pytest.mark.parametrize("order", [in_order, reversed_order, any_order])
def test_a_forced_plan_has_every_step_in_the_order_that_was_asked_for(tiny: Bundle, order: object) -> None:
    kind = forced(tiny, order)  # type: ignore[arg-type]
    problem = kind.draw(random.Random(0), "pairs")
    (rollout,) = Sampler(tiny.model, tiny.tokenizer).roll(kind, [problem], 1)
    seeds = [
        tiny.tokenizer.decode(thread.given).split() for thread in rollout.root.threads or rollout.root.then.threads
    ]  # type: ignore[union-attr]
    steps, named = list(states.steps(problem)), [words[1] for words in seeds]
    assert sorted(named) == sorted(steps) and {words[0] for words in seeds} == {CONTROL["thread"]}
    assert order is any_order or named == (steps if order is in_order else steps[::-1])


# Examinations


def test_several_rollouts_of_a_problem_tell_whether_one_of_them_is_right(tiny: Bundle) -> None:
    found = Sampled(lambda bundle: {"hard": practice(bundle, counts=(3,))}, samples=3)(tiny, 8)
    assert found["hard"]["one of 3"]["n"] == 2 and found["hard"]["right"]["n"] == 6


def test_a_window_cuts_what_needs_more_context() -> None:
    row = window.figures([Solved(True, 128, 10, 20), Solved(True, 129, 20, 40), Solved(False, 10, 30, 60)])
    assert [row[f"right in {size}"]["share"] for size in (128, 256)] == [0.3333, 0.6667]
    assert row["right"]["share"] == 0.6667 and row["critical"] == 20 and row["tokens"] == 40


def test_the_teachers_line_counts_every_token_that_the_last_one_had_before_it() -> None:
    problem = State((9, 5, 2), 16)
    line, written = window.by_teacher(problem), roles.sequential(problem).written
    assert line.right and line.critical == line.tokens == len(written)
    assert line.context == len(roles.prompt(problem, "sequential")) + len(written) - 1


def test_the_model_that_ships_is_examined_in_each_way_that_it_knows() -> None:
    found = window.examine(load("countdown"), 1)
    ways = ["spawn", "spawn in two levels", "line", "forks", "teacher's line"]
    assert list(found) == [way + which for which in ("", window.HARD) for way in ways]
    assert found["spawn"]["largest context"] < 256 < found["spawn"]["tokens"]
    assert all(window.first_steps(problem) <= window.FEW for problem in window.drawn(5)[window.HARD])


def test_lists_and_puzzles_are_the_same_at_every_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []

    def solved(bundle: Bundle, player: Any, think: Any, problems: Any, budget: Any) -> list[Solved]:
        asked.append(tuple(getattr(problem, "numbers", problem) for problem in problems))
        return [Solved(True, 3, 2, 1)]

    monkeypatch.setattr(depth, "solve", solved)
    lists, puzzles = (depth.examine(load(name), 4) for name in ("sorting", "countdown"))
    assert list(lists) == [f"{n} numbers, depth {d}" for n, d in ((8, 0), (16, 0), (16, 1), (32, 0), (32, 1), (32, 2))]
    assert list(puzzles) == [f"{n} numbers, depth {d}" for n, d in ((3, 0), (3, 1), (3, 2), (4, 1), (4, 2))]
    assert len(asked) == 11 and len(set(asked)) == 5


def test_who_calls_in_its_turn_needs_the_smallest_context() -> None:
    bundle = load("countdown")
    problems, player = depth.drawn(bundle, 3, 4), game_of(bundle).player
    once, twice = (
        solve(bundle, player, partial(METHODS["apr"], levels=levels), problems, depth.OF_A_PUZZLE) for levels in (1, 2)
    )
    assert sum(one.right for one in once) >= 3 and all(one.critical < one.tokens for one in once)
    assert all(two.tokens > one.tokens and two.context <= one.context for one, two in zip(once, twice, strict=True))


def test_the_clock_is_read_in_the_engine_and_through_a_server(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "WIDTHS", (2,))
    found = clock.examine(load(clock.Fresh("fresh", 32, 32, 1).make(0, room, print)), 0)
    row = found["2 threads"]
    assert row["tokens"] == 1.75 and row["engine"]["n"] == 3
    for name in ("engine", "server"):
        assert row[f"arrives, {name}"]["median"] == pytest.approx(row[name]["median"] / 1.75, abs=2e-3)


def test_a_list_whose_prompt_hides_the_coin_is_forked_or_not() -> None:
    source = Roles(transfer.BOTH.config.roles, "stitch")
    traces = [source._sort(random.Random(seed)) for seed in range(40)]
    assert {trace.given[2] for trace in traces} == {"1"} and max(len(trace.given) for trace in traces) <= 16 + 5
    long = [bool(trace.threads) for trace in traces if len(trace.given) > 8 + 5]
    assert 0.2 < sum(long) / len(long) < 0.8


def test_a_reward_for_puzzles_is_examined_on_lists_too(tiny: Bundle) -> None:
    knows_both = dataclasses.replace(tiny, about={**tiny.about, "roles": ["adaptive", "sort"]})
    kinds = transfer.on_lists(knows_both)
    assert list(kinds) == ["puzzles", "lists of 12", "lists of 16"] and "own plan" in transfer.on_lists(tiny)
    numbers = kinds["lists of 12"].draw(random.Random(0), "pairs")
    assert len(numbers) == 12 and tiny.tokenizer.decode(kinds["lists of 12"].prompt(numbers)).split()[2] == "1"


# The change of low rank


def test_a_low_rank_change_changes_nothing_at_first_and_is_merged_to_an_ordinary_model(tiny: Bundle) -> None:
    plain, changed = (Decoder(tiny.model.config) for _ in range(2))
    for model in (plain, changed):
        model.load_state_dict(tiny.model.state_dict())
    low = reader.change(changed, 2, 0)
    tokens = torch.arange(8)[None]
    given = tokens, tokens, torch.ones(1, 8, 8).tril().bool()
    assert torch.equal(plain.dense(*given), changed.dense(*given))
    for parameter in low:
        parameter.data.add_(0.1)
    moved = changed.dense(*given)
    assert not torch.allclose(plain.dense(*given), moved)
    reader.merge(changed)
    assert changed.state_dict().keys() == plain.state_dict().keys() and torch.equal(changed.dense(*given), moved)
    same = [name for name, weight in plain.state_dict().items() if torch.equal(weight, changed.state_dict()[name])]
    assert same and not [name for name in same if "proj" in name]  # embeddings, norms and head are as they were


def test_an_adapted_model_is_made_once_and_says_what_it_was_made_of(room: Room) -> None:
    start = dataclasses.replace(taught("tiny"), config=dataclasses.replace(TINY, roles=RECIPE))
    arm = reader.Adapted("adapted", dataclasses.replace(TINY, roles=RECIPE, joins="reprefill"), start, rank=2)
    said: list[str] = []
    made = load(arm.make(0, room, said.append))
    assert made.about["provenance"]["rank"] == 2 and made.about["start"]["joins"] == "stitch"
    assert said and not again(arm, room)


def again(arm: reader.Adapted, room: Room) -> list[str]:
    said: list[str] = []
    arm.make(0, room, said.append)
    return said
