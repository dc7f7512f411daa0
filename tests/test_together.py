"""Several who think at once, as they are shown to a model: what each could have read, and what it did with it."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from miniapr.tasks import together
from miniapr.tasks.countdown import Ranges
from miniapr.tasks.roles import Teacher
from miniapr.tasks.states import Deck, State, steps
from miniapr.tasks.terse import Countdown
from miniapr.tasks.words import CONTROL
from miniapr.train.roles import Recipe, Roles
from miniapr.train.text import pack

TASK, SOURCE, DECK = Countdown(), Roles(Recipe()), Deck(Ranges())
END = CONTROL["thread_end"]


@given(st.integers(0, 10**6), st.integers(2, 4), st.booleans())
@settings(deadline=None, max_examples=60)
def test_a_worker_takes_what_nobody_it_could_read_has_taken(seed: int, width: int, solvable: bool) -> None:
    rng = random.Random(seed)
    state = DECK.draw(rng, solvable)
    texts = [thread.written for thread in together.team(state, width, 0, rng).threads]
    found, solved = steps(state), list[str | None]()
    taken = dict[str, list[int]]()  # at which words a line was begun
    for text in texts:
        begins = [i for i, word in enumerate(text) if word in found and (i == 0 or text[i - 1] == "miss")]
        for i in begins:
            taken.setdefault(text[i], []).append(i)
            # Nobody begins a line when all could have read of one that hit.
            assert not any(END in other[:i] and "hit" in other[:i] for other in texts)
        answer = TASK.answer(" ".join(text), state)
        solved.append(answer)
        assert text[-1] == END and END not in text[:-1]
    assert all(len(set(at)) == 1 for at in taken.values())  # the same line twice: at the same moment only
    assert all(TASK.verify(answer, state).correct for answer in solved if answer)
    assert any(solved) == solvable


def test_the_first_lines_are_dealt_out() -> None:
    threads = together.team(State((8, 7, 3), 29), 3, 0, random.Random(0)).threads
    assert [thread.written[0] for thread in threads] == ["a+b", "a+c", "b+c"]
    assert [thread.given for thread in threads] == [("<thread>", "1"), ("<thread>", "2"), ("<thread>", "3")]


@given(st.integers(0, 10**6), st.sampled_from([0, 64]))
@settings(deadline=None, max_examples=30)
def test_packed_token_i_of_each_worker_sees_the_first_i_and_itself_of_all(seed: int, slot: int) -> None:
    rng = random.Random(seed)
    text = SOURCE.text(together.team(DECK.draw(rng), 3, slot, rng))
    for join in ("stitch", "reprefill"):  # there is nothing to join
        packed, root = pack(text, join), len(text.tokens)
        begin = root
        lengths = [len(thread.tokens) for thread in text.threads]
        starts = [root + sum(lengths[:i]) for i in range(3)]
        assert packed.tokens.tolist() == [token for part in text for token in part.tokens]
        for number, (begin, length) in enumerate(zip(starts, lengths, strict=True)):
            assert packed.positions[begin : begin + length].tolist() == [
                root + number * slot + i for i in range(length)
            ]
            for i in range(length):
                row = torch.zeros(len(packed), dtype=torch.bool)
                row[:root] = True
                for other, its in zip(starts, lengths, strict=True):
                    row[other : other + min(i + 1, its)] = True
                assert torch.equal(packed.visible[begin + i], row)
        assert not packed.voices.any()


def test_paths_speak_in_voices_of_their_own_and_the_summary_names_one_that_hit() -> None:
    rng = random.Random(3)
    for _ in range(20):
        state = DECK.draw(rng, solvable=True)
        trace = together.paths(state, 4, Teacher(), rng)
        text = SOURCE.text(trace)
        packed, read = pack(text, "stitch"), pack(text, "reprefill")
        assert packed.voices.unique().tolist() == [0, 1, 2, 3, 4] and not read.voices.any()
        assert trace.then is not None
        said = TASK.answer(" ".join(trace.then.written), state)
        hits = {TASK.answer(" ".join(thread.written), state) for thread in trace.threads} - {None}
        assert said in hits if hits else said is None


@pytest.mark.parametrize("solvable", [True, False])
def test_workers_without_numbers_left_to_try_say_no_more(solvable: bool) -> None:
    trace = together.team(DECK.draw(random.Random(1), solvable), 4, 0, random.Random(1))
    assert any("hit" in thread.written for thread in trace.threads) == solvable
