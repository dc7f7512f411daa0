"""A person at a prompt, at random, with the books recounted after every move; and proof that the checks can fail."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from helpers import assert_nothing_held, backend_or_skip, distance, make_engine, poison, share, small_model, tree
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from programs import HOW, MAX_TOKENS, some_tokens
from shadow import Shadow, oracle

from miniapr.engine.branch import Branch
from miniapr.engine.engine import Engine
from miniapr.engine.joins import message
from miniapr.engine.sampling import Sampling
from miniapr.kv.unroll import unroll

number = st.integers(0, 7)


class ByHand(RuleBasedStateMachine):
    """Several trees driven by hand, one operation at a time: most are idle, and give way, and come back."""

    @initialize(
        block_size=st.sampled_from((1, 2, 3, 16)),
        tokens=st.sampled_from((240, 120)),
        chunk=st.sampled_from((64, 5, 1)),
        interleaved=st.booleans(),
        reuse=st.booleans(),
        backend=st.sampled_from(("reference", "cpp")),
    )
    def begin(self, block_size: int, tokens: int, chunk: int, interleaved: bool, reuse: bool, backend: str) -> None:
        try:
            ops = backend_or_skip(backend)
        except pytest.skip.Exception:
            ops = backend_or_skip("reference")
        self.model = small_model(3, interleaved)
        self.engine = make_engine(
            self.model,
            ops,
            num_blocks=tokens // block_size + 8,
            block_size=block_size,
            max_batch_tokens=chunk,
            reuse_prefixes=reuse,
        )
        self.shadows: dict[Branch, Shadow] = {}

    def leaves(self) -> list[Branch]:
        return [b for b in self.shadows if b.state == "alive" and not b.children]

    def pick(self, which: int) -> Branch:
        leaves = self.leaves()
        return leaves[which % len(leaves)]

    def sync(self, branch: Branch) -> Shadow:
        shadow = self.shadows[branch]
        return shadow.append(branch.history[len(shadow.sees) :])

    def attempt(self, call: Any, *args: Any, **kwargs: Any) -> Any:
        """What a tree cannot do for want of room is a ValueError, and leaves it as it was."""
        try:
            return call(*args, **kwargs)
        except ValueError as error:
            assert "does not fit" in str(error) or "pool has" in str(error), error
            return None

    @precondition(lambda self: len(self.leaves()) < 8)
    @rule(prompt=st.lists(st.integers(0, 1), min_size=1, max_size=8), warm=st.booleans())
    def start(self, prompt: list[int], warm: bool) -> None:
        if branch := self.attempt(self.engine.start, prompt, Sampling(temperature=float(warm))):
            self.shadows[branch] = Shadow().append(prompt)

    @precondition(lambda self: self.leaves())
    @rule(which=number, n=st.integers(0, 4))
    def decode(self, which: int, n: int) -> None:
        branch = self.pick(which)
        if len(branch.history) < MAX_TOKENS:
            self.attempt(self.engine.decode, [branch], max_tokens=n)
            self.sync(branch)

    @precondition(lambda self: self.leaves())
    @rule(which=number, tokens=some_tokens)
    def extend(self, which: int, tokens: list[int]) -> None:
        branch = self.pick(which)
        if len(branch.history) < MAX_TOKENS:
            self.engine.extend(branch, tokens)

    @precondition(lambda self: 0 < len(self.leaves()) < 8)
    @rule(which=number, seeds=st.lists(st.lists(st.integers(0, 5), max_size=2), min_size=1, max_size=3))
    def fork(self, which: int, seeds: list[list[int]]) -> None:
        parent = self.pick(which)
        children = self.attempt(self.engine.fork, parent, seeds)
        for child, seed in zip(children or (), seeds, strict=False):
            self.shadows[child] = self.sync(parent).fork().append(seed)

    @precondition(lambda self: any(b.children for b in self.shadows))
    @rule(which=number, how=st.sampled_from(HOW), then=some_tokens, keep=st.booleans())
    def join(self, which: int, how: str, then: tuple[int, ...], keep: bool) -> None:
        parents = [b for b in self.shadows if b.children and not any(c.children for c in b.children)]
        parent = parents[which % len(parents)]
        branches = parent.children[:1] if how == "select" else parent.children[:]
        shadows = [self.sync(b) for b in sorted(branches, key=lambda b: b.path)]
        if len({n for s in shadows for n, _ in s.own}) < sum(len(s.own) for s in shadows):
            return
        before = self.sync(parent)
        rest = () if how == "message" else then
        rule_ = message(then) if how == "message" else how
        if joined := self.attempt(self.engine.join, parent, branches, rule_, rest, keep):
            self.shadows[joined] = before.joined(how, shadows, then, len(before.sees)).append(rest)

    @precondition(lambda self: self.leaves())
    @rule(which=number, whole=st.booleans())
    def release(self, which: int, whole: bool) -> None:
        branch = self.pick(which)
        self.engine.abort(branch.request) if whole else self.engine.release(branch)

    @precondition(lambda self: self.leaves())
    @rule(which=number)
    def preempt(self, which: int) -> None:
        request = self.pick(which).request
        if request.resident:
            self.engine.scheduler.preempt(request)

    @rule(blocks=number)
    def evict(self, blocks: int) -> None:
        self.engine.kv.make_room(min(self.engine.kv.available, self.engine.pool.free + blocks))

    @precondition(lambda self: self.leaves())
    @rule(which=number)
    def settle(self, which: int) -> None:
        branch = self.pick(which)
        if self.attempt(self.engine.settle, branch):
            (expected,) = oracle(self.model, [self.sync(branch)])
            assert distance(branch.logits, expected) < 1e-10

    @invariant()
    def books_are_right(self) -> None:
        if hasattr(self, "engine"):
            self.engine.check()
            poison(self.engine)

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            for request in list(self.engine.scheduler.requests.values()):
                self.engine.abort(request)
            assert_nothing_held(self.engine)


TestByHand = ByHand.TestCase
TestByHand.settings = settings(share(3), stateful_step_count=20)


# Negative controls: each check notices what it is there for


def running() -> tuple[Engine, list[Branch]]:
    engine = make_engine(block_size=2)
    _, branches = tree(engine, [[1], [2, 3]])
    engine.check()
    return engine, branches


@pytest.mark.parametrize("by", [1, -1])
def test_f02_f04_control_check_notices_a_count_that_is_off_by_one(by: int) -> None:
    engine, branches = running()
    engine.pool.refs[branches[0].span.blocks[0]] += by
    with pytest.raises(AssertionError, match=r"counts|disagree"):
        engine.check()


def test_f04_control_check_notices_a_share_of_the_cache_that_is_off() -> None:
    engine, branches = running()
    engine.kv._tree_refs[branches[0].span.blocks[0]] += 1
    with pytest.raises(AssertionError, match="tree counts differ"):
        engine.check()


def test_f06_control_check_notices_a_holding_that_nobody_has() -> None:
    engine, branches = running()
    engine.kv.hold(branches[0].view)
    with pytest.raises(AssertionError, match="pool counts differ"):
        engine.check()


def test_f65_control_poison_reaches_every_slot_that_is_not_known_to_hold_a_key() -> None:
    engine, branches = running()
    expected = engine.settle(branches[0]).logits
    poison(engine)
    engine.extend(branches[0], [1])
    assert engine.settle(branches[0]).logits.isfinite().all(), "what is read is untouched"
    branches[0].view.pieces[0].span.written -= 1  # a key that is there, and that the books do not know of
    poison(engine)
    engine.extend(branches[0], [1])
    with pytest.raises((RuntimeError, AssertionError)):
        if not engine.settle(branches[0]).logits.isfinite().all():
            raise RuntimeError("NaN was read")
    assert expected.isfinite().all()


def test_f22_control_a_write_to_a_block_that_two_hold_is_stopped_by_engine_and_guard() -> None:
    engine, branches = running()
    blocks = branches[0].span.blocks
    engine.pool.retain(blocks[-1:])
    with pytest.raises(RuntimeError, match="another one holds"):
        engine.kv.slots([(branches[0].span, 0, branches[0].span.written)])
    with pytest.raises(AssertionError, match="hold"):
        engine.ops.write_kv(None, None, None, engine.pool.v_cache[0], torch.tensor([blocks[-1] * 2]))


def test_f05_letting_go_of_a_spans_middle_is_stopped() -> None:
    engine, branches = running()
    span = branches[1].span
    engine.settle(branches[1])
    assert len(span.blocks) > 1
    with pytest.raises(RuntimeError, match="in the middle of a span"):
        for _ in range(int(engine.pool.refs[span.blocks[0]])):
            engine.kv._release((span,), span.blocks[:1])


def test_the_oracle_of_the_tests_and_the_oracle_of_the_package_agree() -> None:
    engine, branches = running()
    shadows = [Shadow().append([1, 2, 3])]
    for branch in branches:
        shadows.append(shadows[0].fork().append(branch.tokens))
    root = branches[0].parent
    assert root is not None
    for how in ("stitch", "stitch_contiguous", "stitch_copied", "reprefill"):
        joined = engine.join(root, branches, how, then=[4], keep=True)
        dense = unroll([(joined.view, joined.span)])
        given_ = (dense.tokens[None], dense.positions[None], dense.visible[None], dense.shift[None])
        logits = small_model().dense(*given_)[0][dense.index(joined.span, len(joined.span.tokens) - 1)]
        shadow = shadows[0].joined(how, shadows[1:]).append([4])
        assert distance(logits, shadow.logits(small_model())) < 1e-10
