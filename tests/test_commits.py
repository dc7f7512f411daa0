"""Going back: after a checkout everything is as it was, and nothing was computed or moved for it."""

from __future__ import annotations

from typing import Any

import pytest
from helpers import assert_nothing_held, distance, make_engine, plain_logits, poison, small_model, tree
from hypothesis import event, given
from hypothesis import strategies as st
from programs import HOW, World
from shadow import Shadow

from miniapr.engine.branch import Branch
from miniapr.engine.commits import Commit
from miniapr.engine.engine import Engine
from miniapr.engine.sampling import Sampling

WARM = Sampling(temperature=1.0, seed=3)


def work(engine: Engine) -> tuple[int, int, int]:
    """What has been computed and moved so far."""
    computed = sum(e.data["stop"] - e.data["start"] for e in engine.events if e.kind == "computed")
    cost = [request.cost for request in engine.scheduler.requests.values()]
    return computed, sum(c.bytes_moved for c in cost), sum(c.keys_shifted for c in cost)


@pytest.mark.parametrize("how", ["stitch", "stitch_contiguous", "stitch_copied", "reprefill"])
def test_undoing_a_join_gives_the_same_branches(how: str) -> None:
    engine = make_engine()
    root, branches = tree(engine, 3, sampling=WARM)
    before = engine.commit(root)
    joined = engine.join(root, branches, how, then=[5])
    after = engine.decode([joined], max_tokens=6)
    done, steps = work(engine), engine.steps
    engine.checkout(before)
    engine.check()
    assert (work(engine), engine.steps) == (done, steps)
    assert [branch.state for branch in branches] == ["alive"] * 3 and root.children == branches
    joined = engine.join(root, branches, how, then=[5])
    assert engine.decode([joined], max_tokens=6) == after
    engine.release(root)
    assert_nothing_held(engine)


def test_undone_branches_are_said_to_be_and_come_back() -> None:
    engine = make_engine(reuse_prefixes=False)
    root = engine.settle(engine.start([1, 2, 3, 4]))
    before, used = engine.commit(root), len(engine.pool) - engine.pool.free
    left, right = engine.fork(root, [[7], [8]])
    engine.decode([left, right], max_tokens=4)
    after, texts = engine.commit(root), [left.text, right.text]
    engine.checkout(before)
    with pytest.raises(ValueError, match="was undone"):
        engine.decode([left], max_tokens=1)
    engine.checkout(after)
    assert [left.text, right.text] == texts
    engine.checkout(before)
    engine.forget(after)
    engine.forget(after)
    assert len(engine.pool) - engine.pool.free == used
    engine.release(root)
    assert engine.pool.free == len(engine.pool)


def test_text_that_was_still_to_be_computed_again_is_counted_as_that() -> None:
    engine = make_engine()
    root, branches = tree(engine, 3)
    for branch in branches:
        engine.settle(branch)
    joined = engine.join(root, branches, "reprefill", then=[5])
    made, cost = engine.commit(root), root.request.cost
    again = cost.recomputed
    engine.settle(joined)
    again = cost.recomputed - again
    assert again == 6  # two branches of three tokens
    engine.checkout(made)
    engine.settle(joined)
    assert cost.recomputed == 2 * again


def test_a_commit_gives_way_when_there_is_no_room_and_can_still_be_checked_out() -> None:
    engine = make_engine(num_blocks=8, block_size=3, reuse_prefixes=False)
    root = engine.settle(engine.start([1, 2, 3, 4]))
    (child,) = engine.fork(root, [[7]])
    expected = engine.decode([child], max_tokens=5)
    engine.release(child)
    before = engine.commit(root)
    (child,) = engine.fork(root, [[7]])
    assert engine.decode([child], max_tokens=5) == expected
    middle = engine.commit(root)
    engine.checkout(before)
    engine.extend(root, [5] * 13)  # two blocks hold the prompt, five are wanted, and two are the undone child's
    engine.settle(root)
    engine.check()
    assert not before.held
    engine.checkout(middle)
    logits = engine.settle(child).logits
    engine.check()
    assert child.completion == expected[0]
    assert distance(logits, Shadow().append(child.history).logits(small_model())) < 1e-10
    engine.end(root.request, "finished")
    assert_nothing_held(engine)


def test_the_oldest_commit_gives_way_first_and_nothing_is_remembered_of_one_that_is_forgotten() -> None:
    engine = make_engine()
    roots = [engine.settle(engine.start([n, 2, 3])) for n in (1, 2)]
    made = [engine.commit(root) for root in (*roots, roots[0])]
    for number in range(3):
        assert [one.held for one in made] == [False] * number + [True] * (3 - number)
        assert engine.commits.forget_oldest()
    assert not engine.commits.forget_oldest()
    assert not engine.commits.held and not engine.commits._of


def test_events_after_a_checkout_say_what_has_changed_since_the_state_gone_back_to() -> None:
    engine = make_engine()
    root, branches = tree(engine, 2)
    before = engine.commit(root)
    told = {block: n for e in engine.events if e.kind == "pool" for block, n in e.data["refs"].items()}
    joined = engine.join(root, branches, then=[5])
    engine.decode([joined], max_tokens=9)
    engine.checkout(before)
    mark = len(engine.events)
    engine.decode(branches, max_tokens=9)
    for happened in engine.events[mark:]:
        told |= happened.data["refs"] if happened.kind == "pool" else {}
    now = (engine.pool.refs - engine.kv.kept_refs).tolist()
    assert [told.get(block, 0) for block in range(len(now))] == now


def test_a_checkout_lets_go_of_what_was_restored_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine(block_size=2, max_batch_tokens=2)
    root = engine.settle(engine.start([1, 2, 3, 4, 5, 6, 7]))
    before = engine.commit(root)
    engine.scheduler.preempt(root.request)
    engine.kv.flush()
    forward = engine.runner.forward

    def interrupted(jobs: Any) -> None:
        if root.span.view.pieces[0].span.written:
            raise KeyboardInterrupt
        forward(jobs)

    monkeypatch.setattr(engine.runner, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.settle(engine.extend(root, [8]))
    monkeypatch.undo()
    assert root.request.kept and not root.request.held
    engine.checkout(before)
    engine.check()
    assert distance(engine.settle(root).logits, plain_logits(small_model(), [1, 2, 3, 4, 5, 6, 7])) < 1e-10


def test_a_tree_that_a_program_drives_cannot_be_rewound() -> None:
    engine = make_engine()

    def program() -> Any:
        from miniapr import Decode, Start

        root = yield Start([1, 2])
        yield Decode([root], max_tokens=5)

    request = engine.submit(program())
    engine.step()
    with pytest.raises(ValueError, match="driven by a program"):
        engine.commit(request.branches[0])
    engine.end(request, "aborted")
    root = engine.start([1])
    made = engine.commit(root)
    engine.release(root)
    with pytest.raises(ValueError, match="was finished"):
        engine.checkout(made)


# Any tree, any operations, back and forth at any time: the oracle knows what every branch must say.

number = st.integers(0, 7)
token = st.integers(0, 28)
some_seeds = st.lists(st.lists(token, max_size=2).map(tuple), min_size=1, max_size=3)
decode = st.tuples(st.just("decode"), number, st.integers(1, 4))
fork = st.tuples(st.just("fork"), number, some_seeds)
join = st.tuples(st.just("join"), number, st.sampled_from(HOW[:5]), token)
back = st.tuples(st.just("back"), number)
other = st.one_of(st.tuples(st.just("drop"), number), st.tuples(st.just("preempt")))
# Single acts, and whole figures, so that most trees get as far as going back over a join.
acts = st.lists(
    st.one_of(st.tuples(fork, decode, join), st.tuples(join, back, join), *map(st.tuples, (decode, fork, back, other))),
    min_size=1,
    max_size=6,
).map(lambda figures: [one for figure in figures for one in figure])


class Tree:
    """A tree driven by hand, its shadows, and all commits made of both."""

    def __init__(self, engine: Engine, temperature: float) -> None:
        self.engine, self.world = engine, World(engine, small_model(), 1e-10)
        self.root = engine.start([1, 2, 3, 1], Sampling(temperature=temperature))
        self.world.shadows[self.root] = Shadow().append([1, 2, 3, 1])
        self.commits: list[tuple[Commit, dict[Branch, Any], list[tuple[Branch, str, int]]]] = []

    def commit(self) -> None:
        made = self.engine.commit(self.root)
        shadows = {branch: self.copy(self.world.shadow(branch)) for branch in self.root.request.alive}
        self.commits.append((made, shadows, self.seen()))

    @staticmethod
    def copy(shadow: Shadow) -> Shadow:
        other = Shadow(shadow.sees, shadow.position)
        other.own_from, other.born_at = shadow.own_from, shadow.born_at
        return other

    def seen(self) -> list[tuple[Branch, str, int]]:
        return [(branch, branch.text, branch.position) for branch in self.root.request.alive]

    def back(self, which: int) -> None:
        made, shadows, seen = self.commits[which % len(self.commits)]
        done = work(self.engine)
        self.engine.checkout(made)
        self.engine.check()
        assert work(self.engine) == done and self.seen() == seen
        self.world.shadows = {branch: self.copy(shadow) for branch, shadow in shadows.items()}
        self.world.checked.clear()
        self.world.compare()

    def act(self, kind: str, who: int = 0, *more: Any) -> None:
        engine, request = self.engine, self.root.request
        leaves = self.world.leaves(request)
        leaf = leaves[who % len(leaves)]
        if kind == "decode":
            some = leaves[who % len(leaves) :]
            engine.decode(some, max_tokens=more[0])
        elif kind == "fork" and len(leaves) < 5:
            engine.settle(leaf)
            for child, seed in zip(engine.fork(leaf, more[0]), more[0], strict=True):
                self.world.shadows[child] = self.world.shadow(leaf).fork().append(seed)
        elif kind == "join" and leaf.parent and not any(child.children for child in leaf.parent.children):
            parent, how, then = leaf.parent, *more
            some = [leaf] if how == "select" else parent.children[:]
            for branch in some:
                engine.settle(branch)
            shadows = [self.world.shadow(b) for b in sorted(some, key=lambda b: b.path)]
            before = self.world.shadow(parent)
            engine.join(parent, some, how, then=[then])
            self.world.shadows[parent] = before.joined(how, shadows).append([then])
            event(how)
        elif kind == "drop" and len(leaves) > 1:
            engine.release(leaf)
        elif kind == "back":
            self.back(who)
        elif kind == "preempt":
            engine.scheduler.preempt(request)


@given(acts, st.sampled_from((1, 2, 3, 16)), st.booleans(), st.sampled_from((0.0, 1.0)))
def test_back_and_forth_is_what_the_oracle_says(acts: Any, size: int, reuse: bool, temperature: float) -> None:
    engine = make_engine(num_blocks=600 // size, block_size=size, reuse_prefixes=reuse)
    tree = Tree(engine, temperature)
    for act in acts:
        tree.commit()
        engine.check()
        tree.act(*act)
        engine.check()
        poison(engine)
        if all(len(branch.history) < 120 for branch in tree.root.request.alive):
            tree.world.compare()
    for _ in range(3):
        tree.commit()
        tree.back(len(acts) // 2)
    for branch in tree.world.leaves(tree.root.request):
        engine.settle(branch)
    tree.world.compare()
    for made, *_ in tree.commits:
        engine.forget(made)
        engine.check()
    engine.end(tree.root.request, "finished")
    assert_nothing_held(engine)
