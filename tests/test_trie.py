"""A trie of requests is the same training row as the tree of views: loss, gradient, and each written token once."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from helpers import distance, make_engine, small_model
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from miniapr.engine import operations as op
from miniapr.engine.joins import message
from miniapr.engine.request import Program
from miniapr.engine.sampling import Sampling
from miniapr.model.decoder import Decoder
from miniapr.rl.rollouts import Unit, Watched
from miniapr.rl.rows import Row, collate, logprobs, row
from miniapr.rl.trie import Request, requests, trie

WARM = Sampling(temperature=1.0, seed=3)


def blocks(how: Any, widths: list[int], keep: int | None = None) -> Program:
    """A fork, a join and more text, once for each of ``widths``; equal siblings, and in the first thread a block."""
    root = yield op.Start("abc", WARM)
    yield op.Decode([root], max_tokens=3)
    for number, width in enumerate(widths):
        seeds: Any = width if number % 2 and keep is None else ["d", "ef", "d", "gh"][:width]
        threads = yield op.Fork(root, seeds, keep=keep)
        yield op.Decode(threads, max_tokens=4)
        inner = yield op.Fork(threads[0], 2)
        yield op.Decode(inner, max_tokens=2)
        yield op.Join(threads[0], inner, how, "k" if not callable(how) else ())
        yield op.Decode([threads[0]], max_tokens=1)
        yield op.Join(root, threads, how, "ij" if not callable(how) else ())
        yield op.Decode([root], max_tokens=2)


def watched(program: Program) -> Unit:
    watch = Watched(program)
    make_engine(record=False, num_blocks=400).run(watch.program)
    return watch.root


def update(rows: list[Row], advantage: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities in the order of the rows, loss, and the gradient of all weights [P]."""
    model: Decoder = copy.deepcopy(small_model()).requires_grad_()
    found, _ = logprobs(model, collate(rows))
    weight = torch.arange(1, len(found) + 1) / len(found)  # no two tokens alike: an exchange is found out
    loss = -(advantage * weight * found).sum()
    loss.backward()
    return found.detach(), loss.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])  # type: ignore


def same(one: list[Row], other: list[Row]) -> bool:
    pairs = zip(update(one), update(other), strict=True)
    return all(a.shape == b.shape and distance(a, b) < 1e-10 for a, b in pairs)


@given(widths=st.lists(st.integers(2, 4), min_size=1, max_size=2))
@settings(deadline=None, max_examples=5)
def test_three_forms_of_one_tree_give_one_gradient(widths: list[int]) -> None:
    """The views of the engine, the trie, and each request in a row of its own."""
    root = watched(blocks("reprefill", widths))
    asked = requests(root)
    whole, packed, alone = [row(root)], [trie(asked)], [trie([one]) for one in asked]
    assert same(whole, packed) and same(packed, alone)
    assert distance(update(packed)[0], packed[0].logprobs) < 1e-10  # and they are those of sampling
    assert sum(map(len, alone)) > 2 * len(packed[0])
    assert len(packed[0]) <= len(whole[0])  # less where equal siblings began alike


def test_children_with_a_context_of_their_own_are_requests_too() -> None:
    """Spawn and join by messages (APR): a child's context is its message, the parent's is its own text."""
    root = watched(blocks(message([5, 6]), [3, 2], keep=0))
    asked = requests(root)
    child = next(iter(root.threads))
    assert asked[1].context == child.given and asked[1].written == child.written
    assert same([row(root)], [trie(asked)])


@pytest.mark.parametrize("how", ["reprefill", message([5, 6])], ids=["reprefill", "message"])
def test_each_written_token_counts_once_also_where_it_is_read_again(how: Any) -> None:
    root = watched(blocks(how, [3]))
    packed = trie(requests(root))
    assert len(packed.sampled) == root.total == sum(len(unit.written) for unit in root)
    written = [token for unit in root for token in unit.written]
    assert packed.sampled.tolist() == written
    # The control: to learn what was read as well is another gradient.
    *asked, last = requests(root)
    text, length = (*last.context, *last.written), len(root.given)
    again = Request(text[:length], text[length:], (0.0,) * (len(text) - length))
    assert len(trie([*asked, again]).sampled) > root.total
    assert not same([packed], [trie([*asked, again])])


def test_positions_are_depths_and_a_token_sees_its_ancestors_only() -> None:
    asked = [((1, 2), (3, 4)), ((1, 2), (3, 5, 6)), ((1, 7), (8,))]
    packed = trie([Request(context, written, (0.0,) * len(written)) for context, written in asked])
    assert packed.dense.tokens.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert packed.dense.positions.tolist() == [0, 1, 2, 3, 3, 4, 1, 2]
    seen = [row.nonzero()[:, 0].tolist() for row in packed.dense.visible]
    assert seen == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 4], [0, 1, 2, 4, 5], [0, 6], [0, 6, 7]]
    assert packed.before.tolist() == [1, 2, 1, 2, 4, 6]  # the 3 was written twice, after the same: both count
    assert packed.sampled.tolist() == [3, 4, 3, 5, 6, 8]


def test_what_was_stitched_or_not_watched_is_refused() -> None:
    with pytest.raises(ValueError, match="stitched"):
        requests(watched(blocks("stitch", [2])))
    with pytest.raises(ValueError, match="not watched"):
        requests(Unit((1,), (2, 3)))
    with pytest.raises(ValueError, match="nothing was written"):
        trie([Request((1,), (), ())])
    with pytest.raises(ValueError, match="empty context"):
        trie([Request((), (1,), (0.0,))])
