"""Weaves: branches that see each other as they write (Group Think, Hogwild! Inference)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from helpers import (
    assert_nothing_held,
    dense_logits,
    distance,
    make_engine,
    plain_logits,
    poison,
    small_model,
    step_until,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from miniapr.engine import operations as op
from miniapr.engine.branch import Branch, Limits
from miniapr.engine.engine import Engine
from miniapr.engine.request import Program
from miniapr.engine.sampling import Sampling
from miniapr.kv.span import Span, View
from miniapr.kv.unroll import unroll
from miniapr.kv.weave import POSITIONS, Weave
from miniapr.model.config import ModelConfig
from miniapr.model.decoder import Decoder
from miniapr.remote.engine import RemoteEngine
from miniapr.remote.joins import NeedsEngine

SLOT = 8
TEXT = [5, 6, 7]
SEEDS = ([1, 2], [3, 4, 5, 6, 7], [8])
positions = pytest.mark.parametrize("positions", [one for one in POSITIONS if one != "private"])


def weave(engine: Engine, root: Branch, seeds: Sequence[Sequence[int]] | int, positions: str) -> list[Branch]:
    return engine.weave(engine.fork(root, seeds), positions, SLOT if positions == "slots" else None)


def spans(lengths: Sequence[int], positions: str) -> tuple[Span, list[Span]]:
    root = Span(0, View(), TEXT)
    begins = [3 + n * SLOT if positions == "slots" else 3 for n in range(len(lengths))]
    made = [Span(begin, View([root.whole()]), range(n)) for begin, n in zip(begins, lengths, strict=True)]
    Weave(made, len(TEXT), positions, len(TEXT))
    return root, made


# What is seen


@positions
@given(lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_a_token_sees_the_others_up_to_its_own_index_where_the_positions_say(
    positions: str, lengths: list[int]
) -> None:
    """By text: in "contiguous" the others' tokens stand before the reader's own, one behind the other; else each stands
    where it was written."""
    root, made = spans(lengths, positions)
    dense = unroll([(span.view, span) for span in made])
    for reader in made:
        for i in range(len(reader.tokens)):
            seen = {(root, j): j for j in range(len(TEXT))}
            others = [(o, j) for o in made if o is not reader for j in range(min(i + 1, len(o.tokens)))]
            own = [(reader, j) for j in range(i + 1)]
            for place, (span, j) in enumerate([*others, *own], start=len(TEXT)):
                seen[span, j] = place if positions == "contiguous" else span.position + j
            row = dense.index(reader, i)
            stands = {dense.index(span, j): place for (span, j), place in seen.items()}
            assert dense.visible[row].nonzero().flatten().tolist() == sorted(stands)
            apart = dense.positions[row] - dense.positions - dense.shift[row]  # only distances count
            assert all(apart[key] == stands[row] - place for key, place in stands.items())


@positions
def test_a_workers_token_changes_exactly_the_later_ones_of_those_who_see_it(positions: str) -> None:
    def keys(change: int | None) -> dict[tuple[int, int], torch.Tensor]:
        """Of the second layer: they depend on all that the token saw."""
        engine = make_engine()
        root = engine.start(TEXT)
        seeds = [[1, 2, 3, 4], [5, 6], [7, 8, 9, 10, 11]]
        if change is not None:
            seeds[0][change] = 20
        branches = weave(engine, root, seeds, positions)
        for branch in branches:
            engine.settle(branch)
        size, pool = engine.pool.block_size, engine.pool.k_cache[1]
        where = {(n, i): b.span.blocks[i // size] for n, b in enumerate(branches) for i in range(len(b.span.tokens))}
        return {token: pool[block, :, :, token[1] % size].clone() for token, block in where.items()}

    plain = keys(None)
    for change in range(4):
        changed = {token for token, key in keys(change).items() if not torch.equal(key, plain[token])}
        assert changed == {(n, i) for n, i in plain if i >= change}


def test_each_index_is_computed_in_one_pass_whatever_a_step_may_have() -> None:
    engine = make_engine(max_batch_tokens=1)
    branches = weave(engine, engine.start(TEXT), SEEDS, "shared")
    engine.decode(branches, max_tokens=3)
    steps: dict[int, set[int]] = {}
    of = {branch.span.id for branch in branches}
    for event in engine.events:
        if event.kind == "computed" and event.data["span"] in of:
            for i in range(event.data["start"], event.data["stop"]):
                steps.setdefault(i, set()).add(event.step)
    assert steps and all(len(step) == 1 for step in steps.values())


@positions
def test_seeing_one_token_less_would_be_another_result(positions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge of the engine can tell."""
    engine = make_engine()
    branches = weave(engine, engine.start(TEXT), SEEDS, positions)
    engine.decode(branches, max_tokens=4)
    for branch in branches:
        engine.settle(branch)
        assert distance(branch.logits, dense_logits(branch)) < 1e-10
    block = Weave._block
    monkeypatch.setattr(Weave, "_block", lambda self, span, stop: block(self, span, stop - 1))
    assert all(distance(branch.logits, dense_logits(branch)) > 1e-3 for branch in branches)


# Nothing else counts


def thinkers(positions: str, found: list[Any], until: Sequence[int] = ()) -> Program:
    """Seeds of different lengths, ends at different times, one that goes on later, one that is let go."""
    root = yield op.Start(TEXT, Sampling(temperature=1.0, seed=3))
    children = yield op.Fork(root, [*SEEDS, []][::-1])
    branches = yield op.Weave(children, positions, SLOT if positions == "slots" else None)
    one, two, three, four = branches
    yield op.Decode([one, three, four], until=until, max_tokens=6)
    yield op.Release([four])
    yield op.Extend(two, [9, 9])
    yield op.Decode([two, three], max_tokens=4)
    yield op.Settle([one, two, three])
    found += [branch.logits.clone() for branch in (one, two, three)]
    joined = yield op.Join(root, [three, one], "stitch", then=[4])
    yield op.Decode([joined], max_tokens=3)
    return [branch.history for branch in (one, two, three, four, joined)]


def thought(positions: str, mates: int = 0, preempted: int = 0, **given: Any) -> tuple[Any, list[torch.Tensor]]:
    """Its texts and logits, beside ``mates`` others, if it gives up its blocks before every ``preempted``-th step."""
    found: list[torch.Tensor] = []
    engine = make_engine(num_blocks=400 // given.get("block_size", 3), **given)
    request = engine.submit(thinkers(positions, found, until=[1, 2, 11]))
    others = [engine.submit(thinkers("shared", [])) for _ in range(mates)]
    for step in range(400):
        if preempted and step % preempted == 0 and request.resident:
            engine.scheduler.preempt(request)
        if not engine.scheduler.requests:
            break
        engine.step()
        engine.check()
        poison(engine)
        if preempted and request.kept is not None:
            step_until_held(engine, request)
    assert all(one.state == "finished" for one in (request, *others)), request.error
    assert_nothing_held(engine)
    assert request.task
    return request.task.value, found


@positions
@pytest.mark.parametrize(
    "batch, block, mates, preempted",
    [(512, 3, 0, 2), (1, 2, 0, 0), (1, 2, 0, 3), (3, 16, 0, 2), (5, 1, 2, 0), (5, 1, 1, 3)],
)
def test_the_result_depends_on_no_step_no_block_and_nobody_else(
    positions: str, batch: int, block: int, mates: int, preempted: int
) -> None:
    plain, logits = thought(positions)
    again, same = thought(positions, mates, preempted, max_batch_tokens=batch, block_size=block)
    assert again == plain
    assert all(distance(a, b) < 1e-10 for a, b in zip(logits, same, strict=True))


def step_until_held(engine: Engine, request: Any) -> None:
    """Else who is preempted at every step never gets on."""
    while request.kept is not None:
        engine.step()
        engine.check()
    engine.step()


@positions
@pytest.mark.parametrize("gone", range(1, 9))
def test_a_member_that_is_aborted_leaves_what_it_wrote(positions: str, gone: int) -> None:
    engine = make_engine()

    def program() -> Program:
        root = yield op.Start(TEXT)
        branches = yield op.Weave((yield op.Fork(root, SEEDS)), positions, SLOT if positions == "slots" else None)
        yield op.Decode(branches, max_tokens=6)
        left = [branch for branch in branches if branch.state == "alive"]
        yield op.Settle(left)
        for branch in left:
            assert distance(branch.logits, dense_logits(branch)) < 1e-10
        return [branch.tokens for branch in branches]

    request = engine.submit(program())
    for _ in range(gone):
        engine.step()
    victim = next((branch for branch in request.branches if len(branch.path) == 3), None)
    if victim:
        engine.abort(victim)
        wrote = victim.tokens
    step_until(engine)
    assert request.state == "finished" and request.task
    if victim:
        assert request.task.value[0] == wrote
        assert all(len(tokens) == 6 + len(seed) for tokens, seed in zip(request.task.value[1:], SEEDS[1:], strict=True))
    assert_nothing_held(engine)


@positions
@pytest.mark.parametrize("settled", [False, True])
def test_who_was_overtaken_goes_on_where_the_others_are(positions: str, settled: bool) -> None:
    engine = make_engine()
    root = engine.start(TEXT)
    one, two, three = branches = weave(engine, root, SEEDS, positions)
    engine.decode([two, three], max_tokens=5)
    if settled:
        engine.settle(two)
    before = one.span
    engine.extend(one, [9])
    assert one.span is not before and one.span.weave is two.span.weave
    engine.decode(branches, max_tokens=2)
    for branch in branches:
        engine.settle(branch)
        assert distance(branch.logits, dense_logits(branch)) < 1e-10
    assert two.tokens[:5] == SEEDS[1] and len(two.tokens) == 12 and one.tokens[:3] == [1, 2, 9]


# Paragraphs that move into everybody's history


def hogwild(layout: str, found: list[Any]) -> Program:
    """Three workers; the second and the first share what they have, at different times."""
    root = yield op.Start(TEXT, Sampling(temperature=1.0, seed=5))
    workers = yield op.Weave((yield op.Fork(root, SEEDS)), layout)
    one, two, three = workers
    yield op.Decode(workers, max_tokens=3)
    yield op.Share(two)
    found.append([branch.seen[0].tokens for branch in workers])
    yield op.Extend(two, [9, 9])
    yield op.Decode([two, three], max_tokens=4)
    yield op.Share(one)
    yield op.Share(two)
    yield op.Decode(workers, max_tokens=2)
    yield op.Settle(workers)
    found.append([branch.seen[0].tokens for branch in workers])
    for branch in workers:
        dense = dense_logits(branch)
        assert distance(branch.logits, dense) < 1e-10
        found.append(dense)
    joined = yield op.Settle([(yield op.Join(root, [three], "select", then=[4]))])
    assert distance(joined[0].logits, dense_logits(joined[0])) < 1e-10
    return [branch.tokens for branch in (one, two, three)]


@pytest.mark.parametrize("layout", ["contiguous", "private"])
@pytest.mark.parametrize("batch, block, preempted", [(512, 3, 0), (1, 2, 3), (3, 1, 0), (64, 16, 2)])
def test_what_is_shared_stands_in_everybodys_text_and_nothing_else_counts(
    layout: str, batch: int, block: int, preempted: int
) -> None:
    def run(**given: Any) -> tuple[Any, list[Any]]:
        found: list[Any] = []
        engine = make_engine(num_blocks=400 // given.get("block_size", 3), **given)
        request = engine.submit(hogwild(layout, found))
        for step in range(300):
            if given and preempted and step % preempted == 0 and request.resident:
                engine.scheduler.preempt(request)
            if not engine.scheduler.requests:
                break
            engine.step()
            engine.check()
            poison(engine)
            if given and preempted and request.kept is not None:
                step_until_held(engine, request)
        assert request.state == "finished" and request.task, request.error
        assert_nothing_held(engine)
        return request.task.value, found

    plain, found = run()
    again, same = run(max_batch_tokens=batch, block_size=block)
    assert again == plain and same[:2] == found[:2]
    assert all(distance(a, b) < 1e-10 for a, b in zip(same[2:], found[2:], strict=True))


@pytest.mark.parametrize("layout", ["contiguous", "private"])
def test_a_shared_paragraph_comes_first_and_is_read_as_one_text(layout: str) -> None:
    engine = make_engine()
    one, two = weave(engine, engine.start(TEXT), [[1, 2], [3, 4, 5]], layout)
    for branch in (one, two):
        engine.settle(branch)
    engine.share(engine.extend(two, [6]))
    assert one.history == [*TEXT, 3, 4, 5, 6, 1, 2] and two.history == [*TEXT, 3, 4, 5, 6]
    beside = [1, 2] if layout == "contiguous" else []
    view, position = two.seen
    assert view.tokens == [*TEXT, 3, 4, 5, 6, *beside] and position == view.length
    assert [piece.position for piece in view] == [0, 3, *([6] if view.pieces[1].stop == 3 else []), 7][
        : len(view.pieces)
    ]
    view, position = one.seen
    assert view.tokens == [*TEXT, 3, 4, 5, 6, 1, 2] and position == 9
    engine.check()


def test_in_private_nothing_is_seen_before_it_is_shared() -> None:
    _, made = spans([2, 3], "private")
    dense = unroll([(span.view, span) for span in made])
    for reader, other in (made, made[::-1]):
        assert not dense.visible[dense.index(reader, 0), dense.index(other, 0)]
    engine = make_engine()
    one, two = weave(engine, engine.start(TEXT), [[1, 2], [3]], "private")
    assert distance(engine.settle(one).logits, plain_logits(small_model(), [*TEXT, 1, 2])) < 1e-10
    engine.share(one)
    assert distance(engine.settle(engine.extend(two, [4])).logits, dense_logits(two)) < 1e-10


@pytest.mark.parametrize("layout", ["slots", "shared", None])
def test_only_a_text_can_be_shared(layout: str | None) -> None:
    engine = make_engine()
    root = engine.start(TEXT)
    branch = weave(engine, root, 2, layout)[0] if layout else engine.fork(root, 2)[0]
    with pytest.raises(ValueError, match="read as one text"):
        engine.share(branch)


# Going back, and the limits


@positions
def test_a_commit_in_a_weave_is_not_seen_in_anything(positions: str) -> None:
    def run(committing: bool) -> list[Any]:
        engine = make_engine()
        root = engine.start(TEXT)
        one, two, three = branches = weave(engine, root, SEEDS, positions)
        engine.decode(branches, max_tokens=3)
        engine.decode([one, two], max_tokens=2)
        engine.release(three)
        if committing:
            commit = engine.commit(root)
            engine.decode([one], max_tokens=4)
            engine.join(root, [one, two], "stitch", then=[1])
            engine.checkout(commit)
            engine.check()
            engine.scheduler.preempt(one.request)
            engine.kv.flush()
            engine.checkout(commit)
            engine.forget(commit)
        engine.decode([two, one], max_tokens=4)
        engine.check()
        logits = [engine.settle(branch).logits for branch in (one, two)]
        assert distance(logits[0], dense_logits(one)) < 1e-10
        root = engine.join(root, [one], "select", then=[4])
        texts = [one.history, two.history, root.history]
        engine.settle(root)
        logits.append(root.logits)
        engine.release(root)
        assert_nothing_held(engine)
        return [texts, logits]

    (plain, logits), (again, same) = run(False), run(True)
    assert again == plain
    assert all(distance(a, b) < 1e-10 for a, b in zip(logits, same, strict=True))


@positions
@pytest.mark.parametrize("how", ["stitch", "stitch_contiguous", "stitch_copied", "reprefill", "select"])
def test_a_join_of_woven_branches_is_any_join_and_survives_all(positions: str, how: str) -> None:
    engine = make_engine()
    root = engine.start(TEXT)
    one, two, _ = branches = weave(engine, root, SEEDS, positions)
    engine.decode(branches, max_tokens=4)
    joined = engine.join(root, [two] if how == "select" else [two, one], how, then=[4, 2])
    engine.settle(joined)
    wanted = joined.logits
    assert distance(wanted, dense_logits(joined)) < 1e-10
    engine.scheduler.preempt(joined.request)
    engine.kv.flush()
    engine.settle(engine.extend(joined, [3]))
    assert distance(joined.logits, dense_logits(joined)) < 1e-10
    assert not any(piece.span.causal for piece in joined.view if piece.span.weave)
    assert all(branch.state in ("joined", "released") for branch in branches)


def test_the_largest_context_counts_what_is_written_beside() -> None:
    engine = make_engine()
    branches = weave(engine, engine.start(TEXT), [[1, 2, 3], [4, 5]], "shared")
    engine.settle(branches[0])
    assert branches[0].request.largest_context == len(TEXT) + 3 + 2


def test_a_contiguous_weave_ends_where_the_text_is_as_long_as_the_context() -> None:
    engine = make_engine(small_model(context=20))
    branches = weave(engine, engine.start(TEXT), 3, "contiguous")
    found = engine.decode(branches)
    assert {one.finish for one in found} == {"context"}
    assert 20 <= len(TEXT) + sum(len(one.tokens) for one in found) <= 20 + 2 * len(branches)


def test_a_limit_of_tokens_is_kept_in_a_weave() -> None:
    engine = make_engine()
    root = engine.start(TEXT, limits=Limits(tokens=10))
    found = engine.decode(weave(engine, root, 4, "shared"))
    assert [len(one.tokens) for one in found] == [3, 3, 2, 2]


def mistakes() -> list[tuple[str, str]]:
    return [
        ("nothing", "at least one branch"),
        ("root", "not fresh from a fork"),
        ("written", "not fresh from a fork"),
        ("twice", "not fresh from a fork"),
        ("two forks", "not of one fork"),
        ("words", "positions are slots, shared, contiguous, private"),
        ("no size", "slots have a size"),
        ("size", "slots have a size"),
        ("fork", "in a weave: join its members"),
        ("context", "exceed the context"),
    ]


@pytest.mark.parametrize("mistake, why", mistakes())
def test_a_mistake_is_told_and_changes_nothing(mistake: str, why: str) -> None:
    engine = make_engine(small_model(context=60))
    root = engine.start(TEXT)
    left, right = engine.fork(root, [[1], [2]])
    if mistake in ("written", "two forks"):
        engine.settle(left)
    if mistake in ("twice", "fork"):
        engine.weave([left, right])
    below = engine.fork(left, 2) if mistake == "two forks" else []
    call = {
        "nothing": lambda: engine.perform(root, op.Weave([])),
        "root": lambda: engine.weave([engine.start([1, 2])]),
        "two forks": lambda: engine.weave([below[0], right]),
        "words": lambda: engine.weave([left, right], "anywhere"),
        "no size": lambda: engine.weave([left, right], "slots"),
        "size": lambda: engine.weave([left, right], "shared", 4),
        "fork": lambda: engine.fork(left, 2),
        "context": lambda: engine.weave([left, right], "slots", 60),
    }.get(mistake, lambda: engine.weave([left, right]))
    before = [(branch.view, branch.span) for branch in (left, right)]
    with pytest.raises(ValueError, match=why):
        call()
    assert [(branch.view, branch.span) for branch in (left, right)] == before
    engine.check()


def test_a_server_has_no_weave() -> None:
    class Nobody:
        pass

    engine = RemoteEngine(Nobody())  # type: ignore[arg-type]
    branch = engine.branching
    with pytest.raises(NeedsEngine, match="read each other's keys"):
        branch.weave([], "shared", 0)
    engine.close()


def test_keys_that_cannot_be_moved_cannot_be_seen_as_moved() -> None:
    config = ModelConfig(29, 16, 64, 1, 2, 2, 8, model_type="gpt2", max_position_embeddings=64)
    engine = make_engine(Decoder(config).double().requires_grad_(False))
    root = engine.start(TEXT)
    children = engine.fork(root, 2)
    with pytest.raises(ValueError, match="learned positions"):
        engine.weave(children, "contiguous")
    assert len(engine.decode(engine.weave(children, "shared"), max_tokens=3)) == 2


@settings(max_examples=10)
@given(seed=st.integers(0, 99), width=st.integers(1, 4), positions=st.sampled_from(POSITIONS))
def test_programs_of_workers_go_in_step(seed: int, width: int, positions: str) -> None:
    """Each worker is a program of its own, that gives itself words on the way; all at once they are one weave."""
    engine = make_engine(max_batch_tokens=1 + seed % 5)

    def worker(branch: Branch, number: int) -> Program:
        for turn in range(3):
            yield op.Decode([branch], until=[seed % 7], max_tokens=2 + (seed + number) % 3)
            if turn < 2:
                yield op.Extend(branch, [9] * ((seed + number + turn) % 3))

    def program() -> Program:
        root = yield op.Start(TEXT, Sampling(temperature=1.0, seed=seed))
        branches = yield op.Weave((yield op.Fork(root, width)), positions, 20 if positions == "slots" else None)
        yield op.All([worker(branch, number) for number, branch in enumerate(branches)])
        assert all(branch.span.view == branches[0].span.view for branch in branches), "nobody was overtaken"
        yield op.Settle(branches)
        for branch in branches:
            assert distance(branch.logits, dense_logits(branch)) < 1e-10
        return True

    assert engine.run(program())
