"""Open arrivals: when they come, what the clock counts, who holds which slots, and what each policy makes of it."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import mean
from types import SimpleNamespace
from typing import Any

import pytest
from taught import Taught

from benchmarks import load as benchmark
from miniapr.lab import busy
from miniapr.lab.load import Answer, Arrival, Counted, Live, Put, Scale, Slots, arrivals, pace, scale, serve
from miniapr.lab.replay import Replayed, played
from miniapr.lab.slots import TOLD
from miniapr.methods.admission import Admission
from miniapr.players.choose import game_of
from miniapr.players.game import Game
from miniapr.tasks import roles
from miniapr.tasks.roles import Teacher
from miniapr.tasks.states import State
from miniapr.tasks.trace import Trace, Words

PROBLEM = State((9, 5, 2), 8)  # the fourth of its nine steps hits, and no other before it
IN_LINE, AT_ONCE = busy.says(1), busy.says(9)


@cache
def demonstrated(prompt: Words) -> Trace:
    numbers, target = prompt[2 : prompt.index("->")], prompt[prompt.index("->") + 1]
    free = (int(prompt[-2]),) if "," in prompt else ()
    state = State(tuple(map(int, numbers)), int(target), "+-*")
    return roles.adaptive(state, Teacher(full=1.0, narrow=0.0, tries=0, free=free), random.Random(0))


def obedient() -> tuple[Taught, Game]:
    """A model that writes what the teacher would."""
    engine = Taught(demonstrated, num_blocks=2000, record=False, reuse_prefixes=False)
    return engine, game_of(engine.bundle, temperature=0.0)


def answered(
    put: Put, count: int, rows: int = 1, each: float = 0.1, gap: float = 0.0, admitted: int | None = None
) -> list[Answer]:
    coming = [Arrival(gap * i, PROBLEM) for i in range(count)]
    return serve(Live(*obedient(), admission=Admission(admitted)), coming, Counted(1.0, each), put, rows)


def test_arrivals_are_a_poisson_process_and_who_comes_does_not_hang_on_its_rate() -> None:
    slow, fast = (arrivals(range(1000), rate, 400, seed=1) for rate in (0.5, 2.0))
    assert [one.problem for one in slow] == [one.problem for one in fast]
    assert [one.at for one in slow] == pytest.approx([4 * one.at for one in fast])
    gaps = [after.at - before.at for before, after in pairwise(slow)]
    assert mean(gaps) == pytest.approx(2.0, rel=0.15)
    assert mean(gap > 2.0 for gap in gaps) == pytest.approx(0.368, abs=0.07)  # 1/e: no clock gives them out


def test_alone_a_fork_is_sooner_and_writes_more_and_all_are_right() -> None:
    (line,), (forked,) = answered(IN_LINE, 1, each=0.03), answered(AT_ONCE, 1, each=0.03)
    assert line.right and forked.right
    assert forked.seconds < line.seconds and forked.tokens > line.tokens
    assert line.steps <= line.seconds < 2 * line.steps  # rows take time too, the prompt's among them


def test_time_in_which_nothing_is_asked_is_not_waited_for_and_does_not_count() -> None:
    first, last = answered(IN_LINE, 2, gap=10_000.0)
    assert first.seconds == pytest.approx(last.seconds)


def test_a_step_of_many_rows_makes_everybody_wait() -> None:
    alone, together = answered(IN_LINE, 1)[0], answered(IN_LINE, 20)
    assert all(one.seconds > 2 * alone.seconds and one.tokens == alone.tokens for one in together)


def test_what_one_is_told_is_its_own_until_it_ends() -> None:
    slots = Slots(12)
    assert slots.free == 12
    slots.held["one"] = 9
    assert slots.free == 3 and busy.tells(PROBLEM, 3).free == 3 and busy.tells(PROBLEM, 8).free == 5
    slots.held["another"] = 9
    assert slots.free == 1  # whoever comes can begin


def test_the_first_are_told_that_much_is_free_and_the_last_that_nothing_is() -> None:
    put: list[Any] = []

    def told(problem: State, free: int) -> State:
        put.append(busy.tells(problem, free))
        return put[-1]

    answered(told, 6, rows=20)
    assert [problem.free for problem in put] == [9, 9, 2, 1, 1, 1]
    put.clear()
    answered(told, 3, rows=9, gap=10_000.0)
    assert [problem.free for problem in put] == [9, 9, 9]  # who has ended holds nothing


def test_who_waits_writes_all_the_same_and_a_plan_that_is_not_made_is_not_written() -> None:
    """Of twelve at once: held back by the scheduler all come later than without it; told what is free, sooner."""
    rows = Counted(1.0, 0.1).slack(2.0)
    assert rows == 12
    eager, admitted = answered(AT_ONCE, 12), answered(AT_ONCE, 12, admitted=rows)
    told = answered(busy.tells, 12, rows)
    tokens = [mean(answer.tokens for answer in some) for some in (eager, admitted, told)]
    seconds = [mean(answer.seconds for answer in some) for some in (eager, admitted, told)]
    assert tokens[0] == tokens[1] > tokens[2] and seconds[1] > seconds[0] > seconds[2]
    paces = [mean(answer.seconds / answer.steps for answer in some) for some in (eager, admitted)]
    assert paces[1] < 0.7 * paces[0]  # what it is for: short steps


def test_figures_are_told_in_times_of_an_idle_line() -> None:
    answers = [Answer(seconds, 1, 10, right) for seconds, right in ((5.0, True), (10.0, False), (21.0, True))]
    found = busy.told(answers, Scale(10.0, 1.0, 1.0))
    assert (found["right in time"]["share"], found["p50"], found["p95"]) == (0.3333, 1.0, 2.1)


def test_loads_are_told_in_the_rows_of_lines() -> None:
    engine, game = obedient()
    clock = Counted(1.0, 0.1)
    unit = scale(Live(engine, game), 3 * [replace(PROBLEM, free=1)], clock, 0.1)
    assert unit.line == pytest.approx(clock.now / 3) and unit.rows == clock.rows / 3
    assert unit.rate(0.5) * unit.rows * unit.each == pytest.approx(0.5)


def test_the_pace_is_the_line_through_what_steps_took() -> None:
    engine, _ = obedient()
    engine.script = lambda words: "a+b"
    ticks, step = SimpleNamespace(now=0.0), engine.step

    def stepped() -> Any:
        events = step()
        ticks.now += 2.0 + 0.25 * sum(event.data["rows"] for event in events if event.kind == "step")
        return events

    engine.step = stepped  # type: ignore[method-assign]
    found = pace(engine, lambda: ticks.now, (1, 4, 8))
    assert (found.base, found.each) == (pytest.approx(2.0), pytest.approx(0.25))


@pytest.mark.parametrize("put", [IN_LINE, AT_ONCE, busy.tells])
def test_replayed_every_answer_comes_when_the_engine_would_have_given_it(put: Put) -> None:
    problems = [PROBLEM, State((9, 5, 2), 16), State((11, 4, 1), 14)]
    book = played(Live(*obedient()), [replace(problem, free=free) for problem in problems for free in TOLD])
    coming = arrivals(problems, 0.2, 6, seed=3)
    rows = 12
    live, again = (serve(desk, coming, Counted(1.0, 0.05), put, rows) for desk in (Live(*obedient()), Replayed(book)))
    assert live == again and len({answer.tokens for answer in live}) > 1


def test_counted_the_benchmark_tells_who_waits_and_who_writes_more(tmp_path: Path) -> None:
    found = benchmark.measure("countdown", "counted", 2, 1, loads=(0.25,))
    rows = {row["policy"]: row for row in found["rows"]}
    assert list(rows) == ["in line", "eager", "cap 2", "cap 4", "slack"]
    tokens = [row["tokens"]["median"] for row in rows.values()]
    assert len(set(tokens[1:])) == 1 and tokens[0] < tokens[1]  # who waits writes all the same
    assert rows["eager"]["p50"]["median"] <= rows["cap 4"]["p50"]["median"] <= rows["cap 2"]["p50"]["median"]
    assert all(
        row["right within 1"]["share"] <= row["right within 2"]["share"] <= row["right"]["share"]
        for row in rows.values()
    )
    benchmark.plot(found, tmp_path / "load.png")
    assert (tmp_path / "load.png").stat().st_size > 10_000
