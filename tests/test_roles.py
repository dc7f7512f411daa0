"""Countdown as a searched task, and what a model is shown in every role."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miniapr.tasks import roles, states
from miniapr.tasks.countdown import Problem, Ranges, solve, split_of, verify
from miniapr.tasks.roles import Teacher
from miniapr.tasks.states import Deck, State
from miniapr.tasks.terse import Countdown
from miniapr.tasks.trace import Trace
from miniapr.tasks.vocabulary import LIMIT, Vocabulary
from miniapr.tasks.words import CONTROL, LABELS, build_tokenizer

TASK = Countdown()
VOCABULARY = Vocabulary(build_tokenizer())
ALL = Teacher(full=1, narrow=0, partial=0)


def falling(size: int, high: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(st.integers(1, high), min_size=size, max_size=size).map(lambda n: tuple(sorted(n, reverse=True)))


two_or_three = st.builds(State, st.one_of(falling(2, 20), falling(3, 20)), st.integers(0, 100))
four = st.builds(State, falling(4, 10), st.integers(1, 60))
seeds = st.randoms(use_true_random=False)


def text(trace: Trace) -> str:
    return " ".join((*trace.given, *trace.written))


def problem_of(state: State) -> Problem:
    return Problem(state.numbers, state.target)


@given(two_or_three)
@settings(deadline=None, max_examples=60)
def test_the_search_finds_what_the_solver_finds_and_every_path_verifies(state: State) -> None:
    found = states.paths(state)
    assert bool(found) == (solve(problem_of(state), LIMIT) is not None)
    assert bool(found) == (state.target in states.reachable(state.numbers))
    assert all(verify(states.expression(path, state.numbers), problem_of(state)).correct for path in found)
    assert len(set(found)) == len(found)


@given(four, seeds)
@settings(deadline=None, max_examples=20)
def test_a_walk_of_any_legal_steps_is_an_expression_worth_the_number_that_is_left(
    state: State, rng: random.Random
) -> None:
    path, now = [], state
    while found := states.steps(now):
        word = rng.choice(list(found))
        path.append(word)
        now = found[word]
    verdict = TASK.verify(TASK.answer_by(path, state), state)
    assert verdict.value == now.numbers[0] and verdict.correct == bool(TASK.won(now))
    assert TASK.won(state) is None


@given(st.lists(st.sampled_from([*LABELS, "hit", "<eos>", "7", "nonsense"]), max_size=6), two_or_three)
@settings(deadline=None)
def test_whatever_was_written_has_a_defined_answer(words: list[str], state: State) -> None:
    answer = TASK.answer(" ".join(words), state)
    assert answer is None or TASK.verify(answer, state).value is not None
    assert set(TASK.proposed(" ".join(words), state)) <= set(TASK.steps(state))


@pytest.mark.parametrize("role", ["chain", "sequential", "adaptive", "parent"])
@given(state=two_or_three, rng=seeds)
@settings(deadline=None, max_examples=40)
def test_a_text_ends_with_an_answer_that_verifies_or_with_none(role: str, state: State, rng: random.Random) -> None:
    trace = demonstrate(role, state, rng)
    answer = TASK.answer(text(trace.last), state)
    solvable = bool(states.paths(state))
    assert answer is None or TASK.verify(answer, state).correct
    assert (answer is not None) == solvable or role == "chain"
    assert " ".join(trace.given) == TASK.prompt(state, role)
    VOCABULARY.encode(word for part in trace for word in (*part.given, *part.written))


def demonstrate(role: str, state: State, rng: random.Random) -> Trace:
    if role == "sequential":
        return roles.sequential(state)
    return {"chain": roles.chain, "adaptive": roles.adaptive, "parent": roles.parent}[role](state, ALL, rng)


def test_it_reads_as_documented() -> None:
    state = State((8, 7, 3), 29)
    assert text(roles.sequential(state)).startswith(
        "<bos> <sequential> 8 7 3 -> 29 : a+b 15 3 : a+b 18 a-b 12 a*b 45 a/b 5 miss a+c 11 7 : a+b 18 a-b 4"
    )
    root, *threads, after = roles.adaptive(state, ALL, random.Random(0))
    assert " ".join(root.written).endswith("miss <plan> a+c b+c a-b a-c b-c a*b a*c b*c </plan>")
    assert text(threads[-1]) == "<thread> b*c 21 8 : a+b 29 hit b*c a+b </thread>"
    assert text(after) == "<join> b*c a+b <eos>"
    assert text(roles.child(state, "b*c")) == "<bos> <child> 8 7 3 -> 29 : b*c 21 8 : a+b 29 hit b*c a+b <eos>"
    assert TASK.message("21 8 : a+b 29 hit b*c a+b <eos>") == "hit b*c a+b"
    assert TASK.message("15 3 : a+b 18 a-b 12 a*b 45 a/b 5 <eos>") == TASK.message("21 8 : a+b") == "miss"
    assert TASK.answer("21 8 : a+b 29 hit b*c a+b <eos>", state) == "( 7 * 3 ) + 8"
    assert roles.value(state).written == ("likely", "<eos>")
    assert roles.value(State((21, 8), 29)).written == ("a+b", "29", "sure", "<eos>")
    said = ("a+b", "29", "a-b", "13", "a*b", "168", "never", "<eos>")
    assert roles.value(State((21, 8), 30)).written == said


@given(two_or_three, seeds)
@settings(deadline=None, max_examples=60)
def test_what_forks_is_what_the_first_line_misses(state: State, rng: random.Random) -> None:
    trace = roles.adaptive(state, ALL, rng)
    assert bool(trace.threads) == (not roles.easy(state))
    if not trace.threads:
        return
    plan = trace.written[trace.written.index(CONTROL["plan"]) + 1 : -1]
    assert [thread.given for thread in trace.threads] == [(CONTROL["thread"], word) for word in plan]
    assert plan == tuple(states.steps(state))[1:]
    assert all(thread.written[-1] == CONTROL["thread_end"] and not thread.threads for thread in trace.threads)
    hits = [thread.written for thread in trace.threads if "hit" in thread.written]
    assert len(hits) == len({path[0] for path in states.paths(state)})


@given(four, seeds)
@settings(deadline=None, max_examples=10)
def test_with_four_numbers_forks_nest_and_no_thread_is_a_held_out_problem(state: State, rng: random.Random) -> None:
    trace = roles.adaptive(state, Teacher(narrow=0), rng)
    assert trace.written[:2] == (CONTROL["plan"], next(iter(states.steps(state))))
    nested = [thread for thread in trace.threads if thread.threads]
    assert all(roles.easy(states.steps(state)[t.given[1]]) for t in trace.threads if t not in nested)
    assert not any(states.held_out(states.steps(state)[t.given[1]]) for t in trace.threads)
    answer = TASK.answer(text(trace.last), state)
    assert answer is None or verify(answer, problem_of(state)).correct


def test_by_a_coin_that_the_prompt_hides_a_problem_is_forked_at_once_or_told_in_line() -> None:
    coin, rng = Teacher(full=1, narrow=0, tries=0, line=0.5), random.Random(0)
    for state in (State((12, 5), 60), State((8, 7, 3), 29)):
        traces = {bool(trace.threads): trace for trace in (roles.adaptive(state, coin, rng) for _ in range(30))}
        assert traces[True].given == traces[False].given
        assert traces[True].written == (CONTROL["plan"], *states.steps(state), CONTROL["plan_end"])
        assert traces[False].written == roles.sequential(state).written
        assert all(TASK.verify(TASK.answer(text(t.last), state), state).correct for t in traces.values())
    leaning = Teacher(full=1, narrow=0, tries=0, line=0.5, lean=0.5)
    assert not roles.adaptive(State((12, 5), 60), leaning, rng).threads
    assert roles.adaptive(State((8, 7, 3), 29), leaning, rng).threads
    assert text(roles.adaptive(State((12, 5), 60), Teacher(full=1, tries=0), rng).threads[2]) == (
        "<thread> a*b 60 hit a*b </thread>"
    )


def test_on_hard_problems_the_fork_is_much_shorter_than_the_line() -> None:
    rng, deck = random.Random(1), Deck(Ranges())
    hard = [state for state in (deck.draw(rng) for _ in range(400)) if not roles.easy(state)]
    forked = sum(roles.adaptive(state, ALL, rng).critical for state in hard)
    assert forked < 0.62 * sum(roles.sequential(state).critical for state in hard)


def test_a_deck_is_seeded_keeps_to_its_ranges_and_to_its_split() -> None:
    drawn = [Deck(Ranges()).draw(random.Random(5), solvable=solvable, split="sets") for solvable in (True, False)]
    assert drawn[0] == Deck(Ranges()).draw(random.Random(5), split="sets")
    assert bool(states.paths(drawn[0])) and not states.paths(drawn[1])
    assert all(split_of(problem_of(state)) == "sets" and max(state.numbers) <= 20 for state in drawn)


def test_a_task_without_division_is_drawn_solved_and_demonstrated_without_it() -> None:
    ranges, rng = Ranges(3, 1, 12, 1, 60, operators="+-*"), random.Random(0)
    for problem in (Deck(ranges).draw(rng), Countdown(ranges).draw(rng)):
        assert solve(problem_of(problem), LIMIT, "+-*") and solve(problem_of(problem), LIMIT)
        told = (roles.sequential(problem), roles.adaptive(problem, replace(ALL, tries=0), rng))
        assert not [
            word for trace in told for unit in trace for word in unit.written if LABELS.get(word, "...")[1] == "/"
        ]
    numbers, target = (12, 4, 1), 2  # 12 / 4 - 1
    assert states.paths(State(numbers, target)) and not states.paths(State(numbers, target, "+-*"))
    assert target in states.reachable(numbers) - states.reachable(numbers, "+-*")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: State((9, 8, 7, 6, 5), 8), "1 to 4"),
        (lambda: State((401, 5), 8), "400"),
        (lambda: TASK.prompt(State((5, 3), 8), "sing"), "sing"),
        (lambda: Deck(Ranges(2, 1, 1, 90, 99)).draw(random.Random(0), attempts=50), "50"),
    ],
)
def test_bad_states_and_roles_are_named(make, said) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=said):
        make()


def test_text_cannot_write_a_role() -> None:
    tokenizer = build_tokenizer()
    assert all(tokenizer.token_to_id(word) not in tokenizer.encode(f"3 {word} 4").ids for word in CONTROL.values())
    assert tokenizer.encode("3 a+b 400").ids == [3, VOCABULARY.ids["a+b"], 400]


SMALL = Deck(Ranges(3, 1, 12, 1, 60, operators="+-*"))


@given(seeds, st.sampled_from([1, 2, 3, 5, 9]))
@settings(deadline=None, max_examples=60)
def test_so_many_steps_at_a_time_as_slots_are_free_until_one_hits(rng: random.Random, free: int) -> None:
    state = SMALL.draw(rng)
    trace = roles.adaptive(state, Teacher(full=1.0, narrow=0.0, tries=0, free=(free,)), rng)
    assert trace.given == roles.prompt(replace(state, free=free), "adaptive")
    assert trace.given[:-3] == roles.prompt(state, "adaptive")[:-1] and trace.given[-3:] == (",", str(free), ":")
    forks = [text for text in trace if text.threads]
    if free == 1:
        assert not forks and trace.written == roles.sequential(state).written
        return
    named = [text.written[1:-1] for text in forks]
    steps = list(states.steps(state))
    assert [word for plan in named for word in plan] == steps[: sum(map(len, named))]
    assert all(len(plan) == free for plan in named[:-1]) and 1 <= len(named[-1]) <= free
    hits = [any("hit" in thread.written for thread in text.threads) for text in forks]
    assert hits == [False] * (len(forks) - 1) + [True]
    assert TASK.verify(TASK.answer(text(trace.last), state), state).correct


def test_what_is_free_is_a_number_that_has_a_word() -> None:
    for free in (0, 401):
        with pytest.raises(ValueError, match="1 to 400"):
            State((8, 7, 3), 29, free=free)
    assert all(after.free is None for after in states.steps(State((8, 7, 3), 29, free=4)).values())
