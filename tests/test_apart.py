"""An organizer and an outline: what a model is shown, and that methods read it back as it was meant."""

from __future__ import annotations

import random
from collections import deque

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from taught import Taught

from miniapr.methods.budget import Budget
from miniapr.methods.table import METHODS
from miniapr.players import game_of
from miniapr.tasks import apart, roles, states
from miniapr.tasks.countdown import Ranges
from miniapr.tasks.lines import lines, message
from miniapr.tasks.roles import Teacher
from miniapr.tasks.states import Deck, State
from miniapr.tasks.terse import Countdown
from miniapr.tasks.trace import Trace, Words
from miniapr.tasks.words import CONTROL, LATER, build_tokenizer
from miniapr.train.roles import Recipe, Roles, Shares
from miniapr.train.text import Text, pack

TASK = Countdown()
DECK = Deck(Ranges(3, 1, 12, 1, 60, operators="+-*"))
FORK, JOIN, END, EOS = (CONTROL[name] for name in ("thread", "join", "thread_end", "eos"))


@st.composite
def drawn(draw: st.DrawFn) -> State:
    return DECK.draw(random.Random(draw(st.integers(0, 10**6))), draw(st.sampled_from([True, True, False])))


seeds = st.integers(0, 10**6)


@given(drawn(), seeds, st.integers(2, 6))
@settings(deadline=None, max_examples=40)
def test_an_organizer_hears_what_is_so_of_what_it_has_handed_out_and_ends_with_the_first_hit(
    state: State, seed: int, most: int
) -> None:
    trace = apart.organize(state, random.Random(seed), most)
    found, out, taken, hits = states.steps(state), deque[str](), list[str](), 0
    for part in trace:
        words = deque(part.written)
        while words and words[0] in found:
            step, then = words.popleft(), words.popleft()
            assert hits == 0
            if then == JOIN:
                assert out.popleft() == step and not words  # the oldest; and it writes no more before it is told
                told = message(lines(found, [step])[1])
                assert part.then and part.then.given == told
                hits += told[0] == "hit"
                continue
            taken.append(step)
            if then == FORK:
                out.append(step)
                assert len(out) <= most
                continue
            mine, path = lines(found, [step])
            assert (step, then, *(words.popleft() for _ in mine[2:])) == tuple(mine)
            hits += path is not None
        assert not words or (part.then is None and words[-1] == EOS)
    assert taken == list(found)[: len(taken)] and hits == bool(states.paths(state))
    assert hits or (len(taken) == len(found) and not out)
    answer = TASK.answer(" ".join((*trace.last.given, *trace.last.written)), state)
    assert TASK.verify(answer, state).correct == bool(hits)


def test_no_order_of_an_organizers_actions_is_the_only_one() -> None:
    state = State((8, 7, 3), 29, "+-*")
    told = {tuple(part.written for part in apart.organize(state, random.Random(seed))) for seed in range(20)}
    assert len(told) > 10


@given(drawn())
@settings(deadline=None, max_examples=25)
def test_every_paragraph_has_the_search_after_its_step_for_detail(state: State) -> None:
    trace, found, named = apart.outline(state), states.steps(state), list[str]()
    while trace.threads:
        named.append(trace.written[0])
        assert trace.written[1:] == (FORK,)
        trace, detail = trace.threads
        searched, path = lines(found, named[-1:])
        hit = (*message(path), END) if path else (END,)
        assert (*named[-1:], *detail.written) == (*(w for w in searched if w != "miss"), *hit)
    assert named == list(found) and trace.written == (EOS,)


def test_what_is_never_joined_sees_what_was_there_when_it_began() -> None:
    source = Roles(Recipe(Shares(outline=1.0)))
    trace = apart.outline(State((8, 7, 3), 29, "+-*"))
    packed = pack(source.text(trace), "reprefill")
    assert torch.equal(packed.tokens, pack(source.text(trace), "stitch").tokens)
    words = [word for part in trace for word in (*part.given, *part.written)]
    assert packed.tokens.tolist() == list(source.vocabulary.encode(words)) and len(packed.weights) == len(words)
    end = words.index(EOS) + 1  # of the outline; the details stand behind it, the last one first
    assert torch.equal(packed.visible[:end, :end], torch.ones(end, end).tril().bool())
    begins = [i for i, word in enumerate(words) if word == CONTROL["child"]]
    for i, stop in zip(begins, [*begins[1:], len(words)], strict=True):
        fork = int(packed.positions[i])
        assert words[fork - 1] == FORK
        for row in range(i, stop):
            assert packed.visible[row].nonzero()[:, 0].tolist() == [*range(fork), *range(i, row + 1)]
        assert packed.positions[i:stop].tolist() == list(range(fork, fork + stop - i))
        assert packed.weights[i] == 0 and packed.weights[stop - 1] == 6


def demonstrate(prompt: Words) -> Trace:
    role, middle = prompt[1], prompt.index("->")
    state = State(tuple(map(int, prompt[2:middle])), int(prompt[middle + 1]))
    if role == CONTROL["child"]:
        return roles.child(state, prompt[-1])
    if role == CONTROL["adaptive"]:
        return roles.adaptive(state, Teacher(full=1, narrow=0, tries=0), random.Random(0))
    return apart.outline(state) if role == "<outline>" else apart.organize(state, random.Random(state.target))


@pytest.mark.parametrize("name", ["asyncthink", "apar", "skeleton-of-thought", "skeleton-joined"])
@given(state=drawn())
@settings(deadline=None, max_examples=8)
def test_what_the_teacher_writes_is_read_as_it_was_meant(name: str, state: State) -> None:
    state = State(state.numbers, state.target)
    engine = Taught(demonstrate, num_blocks=1000)
    player = game_of(engine.bundle).player
    outcome = engine.play(METHODS[name], player, Budget(2000), state, width=24)
    assert player.check and player.check(state, outcome.answer) == bool(states.paths(state))
    if name == "apar":
        trace = apart.outline(state)
        assert (outcome.costs.decoded, outcome.costs.critical) == (trace.total, trace.critical)
    elif name == "asyncthink":
        trace = apart.organize(state, random.Random(state.target))
        forks = [words[i - 1] for words in (part.written for part in trace) for i, w in enumerate(words) if w == FORK]
        assert outcome.tree[0].decoded == trace.critical
        assert [thought.parent for thought in outcome.tree] == [None] * (1 + len(forks))
    else:
        assert len(outcome.tree) == 1 + len(states.steps(state))


def test_roles_that_came_later_move_no_word() -> None:
    first, more = build_tokenizer().get_vocab(), build_tokenizer(LATER).get_vocab()
    assert first.items() <= more.items() and {*more} - {*first} == {f"<{role}>" for role in LATER}
    assert min(more[f"<{role}>"] for role in LATER) == len(first)
    known = Roles(Recipe(Shares(organizer=0.5)))
    assert "<organizer>" in known.about["control"].values() and "<outline>" not in known.vocabulary.ids
    assert known.about["roles"][-1] == "organizer" and set(Roles(Recipe()).about["roles"]).isdisjoint(LATER)


def test_a_trie_has_each_thread_as_it_is_written_and_the_text_read_again() -> None:
    leaf = Text((5, 6), (1.0, 2.0))
    inner = Text((3,), (1.0,), (leaf, Text((7,), (3.0,))), Text((8, 9), (4.0, 5.0)))
    root = Text((1, 2), (0.0, 1.0), (inner, Text((4,), (6.0,))), Text((10, 11), (0.0, 7.0)))
    packed = pack(root, "trie")
    ways = {  # of each token that is learned: its weight, and all that it sees
        weight: [int(packed.tokens[j]) for j in packed.visible[i].nonzero().flatten()]
        for i, weight in enumerate(packed.weights.tolist())
        if weight > 1
    }
    assert ways == {
        2.0: [1, 2, 3, 5, 6],
        3.0: [1, 2, 3, 7],
        4.0: [1, 2, 3, 5, 6, 7, 8],  # the inner join, and the thread that goes on from it
        5.0: [1, 2, 3, 5, 6, 7, 8, 9],
        6.0: [1, 2, 4],
        7.0: [1, 2, 3, 5, 6, 7, 8, 9, 4, 10, 11],  # all of it, as one text
    }
    for i in range(len(packed)):  # who reads text again stands where the text does
        seen = packed.visible[i].nonzero().flatten()
        assert packed.positions[seen].tolist() == list(range(len(seen)))
    assert packed.weights.sum() == sum(weight for part in root for weight in part.weights)
    alone = pack(Text((1, 2), (0.0, 1.0)), "trie")
    assert alone.tokens.tolist() == [1, 2] and alone.weights.tolist() == [0.0, 1.0]
