"""The joins: what they agree on, what they cost, what they refuse."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers import (
    JOINS,
    dense_logits,
    distance,
    join,
    make_engine,
    plain_logits,
    small_model,
    tree,
)
from programs import told

from miniapr.engine.branch import Branch
from miniapr.engine.engine import Engine
from miniapr.engine.joins import message
from miniapr.ops import Operations

# What they agree on


@pytest.mark.parametrize("how", JOINS)
def test_joined_logits_are_those_of_the_oracle(backend: Operations, how: str) -> None:
    engine = make_engine(small_model(), backend)
    root, branches = tree(engine, [[1], [2, 3], []])
    joined = join(engine, root, branches, how)
    assert distance(joined.logits, dense_logits(joined)) < 1e-10


def test_reprefill_is_the_plain_prompt_of_the_same_text(backend: Operations) -> None:
    engine = make_engine(backend=backend)
    root, branches = tree(engine, [[1], [2, 3], []])
    text = root.history + [t for b in branches for t in b.tokens] + [4, 2]
    joined = join(engine, root, branches, "reprefill")
    assert joined.history == text
    assert joined.position == len(text)
    assert distance(joined.logits, plain_logits(small_model(), text)) < 1e-10


@pytest.mark.parametrize("how", JOINS)
def test_reprefill_computes_anew_what_an_inner_join_put_side_by_side(how: str) -> None:
    """Also where its copies stand at the right positions: they were written without seeing each other."""
    engine = make_engine()
    root, (left, right) = tree(engine, [[1], [2, 3]])
    inner = engine.fork(left, [[7, 8], [9]])
    engine.decode(inner, max_tokens=2)
    left = join(engine, left, inner, how, keep=False)
    joined = join(engine, root, [left, right], "reprefill")
    assert distance(joined.logits, plain_logits(small_model(), joined.history)) < 1e-10


@pytest.mark.parametrize("how", JOINS)
def test_f52_joining_one_branch_is_going_on_from_it(how: str) -> None:
    engine = make_engine()
    root, (only,) = tree(engine, [[1, 2]])
    joined = join(engine, root, [only], how)
    text = [*only.history, 4, 2]
    assert joined.history == text
    assert joined.position == len(text)
    assert distance(joined.logits, plain_logits(small_model(), text)) < 1e-10
    assert joined.request.cost.keys_shifted == 0, "nothing was moved"


@pytest.mark.parametrize("block_size", [1, 2, 3, 16])
@pytest.mark.parametrize("interleaved", [False, True])
def test_f51_f56_f57_turning_the_query_equals_copying_and_turning_the_keys(block_size: int, interleaved: bool) -> None:
    engine = make_engine(small_model(3, interleaved), block_size=block_size, num_blocks=200)
    root, branches = tree(engine, [[1], [2, 3], [5, 5, 5]])
    turned, copied = (join(engine, root, branches, how) for how in ("stitch_contiguous", "stitch_copied"))
    assert turned.position == copied.position
    assert distance(turned.logits, copied.logits) < 1e-10
    overlapping = join(engine, root, branches, "stitch")
    assert distance(turned.logits, overlapping.logits) > 1e-3, "the shift must matter for this to mean anything"
    for branch in (turned, copied):
        engine.decode([branch], max_tokens=4)
    assert turned.history == copied.history


def nested(engine: Engine, how: str) -> Branch:
    """Both branches of a root fork again and are joined before the root is."""
    root, branches = tree(engine, [[1], [2, 3]])
    for branch in branches:
        inner = engine.fork(engine.settle(branch), [[6], [7, 8]])
        engine.decode(inner, max_tokens=2)
        engine.join(branch, inner, how, then=[9])
        engine.decode([branch], max_tokens=2)
    return join(engine, root, branches, how, keep=False)


@pytest.mark.parametrize("how", JOINS)
def test_f50_joins_of_joins_add_their_shifts_up(how: str) -> None:
    engine = make_engine()
    joined = nested(engine, how)
    assert distance(joined.logits, dense_logits(joined)) < 1e-10
    assert distance(joined.logits, nested(make_engine(block_size=2), how).logits) < 1e-10


def test_f50_moved_twice_equals_moved_once_by_the_sum() -> None:
    """Contiguous in contiguous, by query and by key; the text is at the positions of the plain text."""
    turned, copied = nested(make_engine(), "stitch_contiguous"), nested(make_engine(), "stitch_copied")
    assert turned.history == copied.history
    assert turned.position == copied.position == len(turned.history)
    assert distance(turned.logits, copied.logits) < 1e-10


def test_f64_join_order_is_the_order_of_birth_not_of_naming() -> None:
    engine = make_engine()
    root, branches = tree(engine, [[1], [2, 3], []])
    for how in JOINS:
        forward, backward = (join(engine, root, list(given), how) for given in (branches, reversed(branches)))
        assert forward.history == backward.history
        assert distance(forward.logits, backward.logits) < 1e-10


def test_positions_after_each_join_are_those_of_its_paper() -> None:
    engine = make_engine()
    root, branches = tree(engine, [[1], [2, 3]], prompt=(1, 2, 3))  # 4 and 5 tokens from position 3 on
    assert [len(b.tokens) for b in branches] == [4, 5]
    position = {how: engine.join(root, branches, how, then=[4], keep=True).position for how in JOINS}
    assert position == {"stitch": 9, "stitch_contiguous": 13, "stitch_copied": 13, "reprefill": 13}
    assert engine.join(root, branches[:1], "select", then=[4], keep=True).position == 8
    assert engine.join(root, branches, message([4]), keep=True).position == 4
    assert engine.join(root, branches, message([4], keep=1), keep=True).position == 2


def test_f60_each_branch_matters_to_the_join_and_none_to_its_siblings() -> None:
    def run(seeds: list[list[int]], how: str) -> tuple[list[torch.Tensor], torch.Tensor]:
        engine = make_engine(reuse_prefixes=False)
        root, branches = tree(engine, seeds, tokens=0)
        alone = [engine.settle(branch).logits.clone() for branch in branches]
        return alone, join(engine, root, branches, how).logits

    base = [[1, 6, 6], [2, 6, 6], [3, 6, 6]]
    for how in JOINS:
        alone, joined = run(base, how)
        for changed in range(3):
            seeds = [[7, 6, 6] if i == changed else seed for i, seed in enumerate(base)]
            others, rejoined = run(seeds, how)
            assert distance(joined, rejoined) > 1e-6, f"{how}: branch {changed} is not seen"
            for i in range(3):
                assert torch.equal(alone[i], others[i]) == (i != changed)


def test_select_goes_on_from_the_chosen_branch_without_computing_anything() -> None:
    engine = make_engine()
    root, branches = tree(engine, [[1], [2, 3]])
    chosen = engine.settle(branches[1])
    text, logits, prefilled = chosen.history, chosen.logits, root.request.cost.prefilled
    joined = engine.settle(engine.join(root, [chosen], "select"))
    assert joined is root
    assert torch.equal(joined.logits, logits)
    assert joined.history == text
    assert joined.request.cost.prefilled == prefilled
    engine.decode([joined], max_tokens=1)


def test_message_replaces_the_call_by_its_answer() -> None:
    engine = make_engine()
    root, branches = tree(engine, [[1], [2, 3]], prompt=(1, 2, 3, 4))
    joined = engine.settle(engine.join(root, branches, message([9, 8], keep=3)))
    assert joined.history == [1, 2, 3, 9, 8]
    assert distance(joined.logits, plain_logits(small_model(), joined.history)) < 1e-10


def test_a_message_stands_after_all_that_is_kept_though_the_last_branch_is_not_the_longest() -> None:
    engine = make_engine()
    root, branches = tree(engine, [[1, 1, 1], [2]])
    joined = engine.settle(engine.join(root, branches, "stitch", then=[4]))
    kept = len(joined.history) - 1
    (child,) = engine.fork(joined, [[5]])
    joined = engine.join(joined, [child], message([7], keep=kept))
    assert joined.position == 3 + (3 + 3) + 1, "the prompt, the longer branch, the message"


@pytest.mark.parametrize("how", JOINS)
def test_keeping_the_branches_lets_all_of_them_go_on(how: str) -> None:
    engine = make_engine(block_size=3)
    root, branches = tree(engine, [[1], [2, 3]])
    before = [b.history for b in branches]
    joined = join(engine, root, branches, how)
    engine.decode(branches, max_tokens=3)
    engine.decode([joined], max_tokens=3)
    assert [b.history[:-3] for b in branches] == before
    for branch in (*branches, joined):
        assert distance(engine.settle(branch).logits, dense_logits(branch)) < 1e-10
    _, others = tree(other := make_engine(), [[1], [2, 3]])
    other.decode(others, max_tokens=3)
    assert [b.history for b in others] == [b.history for b in branches]


# What they say


@pytest.mark.parametrize("how", JOINS)
def test_a_join_says_which_of_its_tokens_are_read_again_and_which_are_new(how: str) -> None:
    engine = make_engine()
    root, branches = tree(engine, [[1], [2, 3]])
    own, again = root.history, branches[1].tokens  # the first branch's are kept as they are
    engine.settle(branches[0])
    joined = engine.join(root, branches, how, then=[4, 2])
    data = next(e.data for e in engine.events if e.kind == "joined")
    assert data["tokens"][: data["read"]] == (again if how == "reprefill" else [])
    assert told(engine.events, joined.request)[root.id] == [*own, 4, 2]
    silent = [replace(e, data=e.data | {"read": 0}) if e.kind == "joined" else e for e in engine.events]
    assert (told(silent, joined.request)[root.id] == [*own, 4, 2]) == (how != "reprefill"), "control"


def test_a_message_is_new() -> None:
    engine = make_engine()
    root, branches = tree(engine, [[1], [2, 3]])
    own = root.history
    engine.join(root, branches, message([7, 8], 1))
    assert told(engine.events, root.request)[root.id] == [*own, 7, 8]


# What they cost


def test_what_each_join_recomputes_reuses_copies_and_shifts() -> None:
    engine = make_engine(block_size=2)
    root, branches = tree(engine, [[1], [2, 3]], prompt=(1, 2, 3))  # 4 and 5 tokens, all computed by stitching
    for branch in branches:
        engine.settle(branch)
    done = {}
    for how in JOINS:
        engine.join(root, branches, how, then=[4], keep=True)
        event = next(e for e in reversed(engine.events) if e.kind == "joined")
        names = ("recomputed", "reused", "bytes_moved", "keys_shifted")
        done[how] = tuple(event.data[name] for name in names)
    moved = 3 * engine.pool.bytes_per_block  # the second branch, 5 tokens in blocks of 2
    assert done == {
        "stitch": (0, 12, 0, 0),
        "stitch_contiguous": (0, 12, 0, 0),
        "stitch_copied": (0, 12, moved, 5),
        "reprefill": (5, 7, 0, 0),
    }


def test_recomputed_counts_the_tokens_whose_keys_had_been_there_and_no_others() -> None:
    engine = make_engine()
    root, branches = tree(engine, [[1], [2, 3]])  # the last sampled token of each has not been computed yet
    join(engine, root, branches, "stitch")
    assert root.request.cost.recomputed == 0
    engine = make_engine()
    root, branches = tree(engine, [[1], [2, 3]])
    before = root.request.cost.prefilled
    join(engine, root, branches, "reprefill")
    assert root.request.cost.recomputed == 4, "of the second branch; the first's are kept"
    assert root.request.cost.prefilled - before == 1 + 5 + 2


def test_copying_without_room_turns_the_query_instead_and_says_so() -> None:
    free = make_engine(block_size=1, num_blocks=200)
    root, branches = tree(free, [[1] * 5, [2] * 6])
    expected = join(free, root, branches, "stitch_copied", keep=False)
    engine = make_engine(block_size=1, num_blocks=3 + 8 + 9 + 2, reuse_prefixes=False)
    root, branches = tree(engine, [[1] * 5, [2] * 6])
    joined = join(engine, root, branches, "stitch_copied", keep=False)
    assert [e.data["did"] for e in engine.events if e.kind == "fallback"] == ["stitch_contiguous"]
    assert distance(joined.logits, expected.logits) < 1e-10
