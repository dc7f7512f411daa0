"""Random programs over branches, the disturbances that befall them, and the run that judges them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from helpers import VOCAB, assert_nothing_held, distance, make_engine, poison, small_model
from hypothesis import event
from hypothesis import strategies as st
from shadow import Shadow, oracle

from miniapr.engine import operations as op
from miniapr.engine.branch import Branch
from miniapr.engine.engine import Engine
from miniapr.engine.events import Event
from miniapr.engine.joins import message
from miniapr.engine.request import Program, Request
from miniapr.engine.sampling import Sampling
from miniapr.kv.ancestry import ancestry
from miniapr.kv.weave import POSITIONS
from miniapr.methods.play import Meter
from miniapr.model.decoder import Decoder

HOW = ("stitch", "stitch_contiguous", "stitch_copied", "reprefill", "select", "message")
MAX_LEAVES = 6
MAX_TOKENS = 60  # of one branch's history


@dataclass(frozen=True)
class Act:
    """One operation. ``who``, ``which`` choose among what is there when its turn comes."""

    kind: str
    who: int = 0
    which: int = 0
    tokens: tuple[int, ...] = ()
    seeds: tuple[tuple[int, ...], ...] = ()
    how: str = "stitch"
    keep: bool = False
    given: int | None = None  # of a fork: how many of its tokens the children get
    positions: str = "shared"  # of a weave
    voiced: bool = False  # of a fork: each child in another voice, if the model has any


@dataclass(frozen=True)
class Disturbance:
    """Before step ``step``: preempt or abort request ``which``, evict ``which`` blocks, or flush the cache."""

    step: int
    kind: str
    which: int


@dataclass(frozen=True)
class Scenario:
    ratio: int
    interleaved: bool
    voices: int
    block_size: int
    num_blocks: int
    max_batch_tokens: int
    reuse_prefixes: bool
    permute: int
    prompts: tuple[tuple[int, ...], ...]
    samplings: tuple[Sampling, ...]
    acts: tuple[tuple[Act, ...], ...]
    disturbances: tuple[Disturbance, ...]


number = st.integers(0, 7)
token = st.integers(0, VOCAB - 1)
some_tokens = st.lists(token, min_size=1, max_size=4).map(tuple)
seeds = st.lists(st.lists(token, max_size=3).map(tuple), min_size=1, max_size=3).map(tuple)
decode = st.builds(Act, st.just("decode"), number, st.integers(1, 5), st.lists(token, max_size=3).map(tuple))
voiced = st.booleans()
fork = st.builds(Act, st.just("fork"), number, seeds=seeds, voiced=voiced)
full = st.lists(some_tokens, min_size=1, max_size=3).map(tuple)
spawn = st.builds(Act, st.just("fork"), number, seeds=full, given=number, voiced=voiced)
join = st.builds(Act, st.just("join"), number, number, some_tokens, how=st.sampled_from(HOW), keep=st.booleans())
extend = st.builds(Act, st.just("extend"), number, tokens=some_tokens)
share = st.builds(Act, st.just("share"), number)
weave = st.builds(Act, st.just("weave"), number, positions=st.sampled_from(POSITIONS))
text = st.builds(Act, st.just("weave"), number, positions=st.sampled_from(("contiguous", "private")))
other = st.builds(Act, st.sampled_from(("settle", "release")), number)
# Single operations, and the whole figure of fork, decode and join, so that most programs get as far as a join.
acts = st.lists(
    st.one_of(
        st.tuples(st.one_of(fork, spawn), decode, join),
        st.tuples(fork, weave, decode, st.one_of(decode, extend, other), join),
        st.tuples(fork, text, decode, share, st.one_of(decode, extend, share), decode, join),
        *(st.tuples(one) for one in (decode, fork, spawn, weave, share, join, extend, other)),
    ),
    max_size=7,
).map(lambda figures: tuple(one for figure in figures for one in figure))
disturbance = st.builds(
    Disturbance, st.integers(0, 30), st.sampled_from(("preempt", "preempt", "evict", "abort", "flush")), number
)
# Few different tokens, so that prompts begin alike and the prefix cache has something to find.
prompt = st.lists(st.integers(0, 1), min_size=1, max_size=9).map(tuple)
sampling = st.builds(Sampling, temperature=st.sampled_from((0.0, 1.0)), seed=number)


@st.composite
def scenarios(draw: Any) -> Scenario:
    count = draw(st.integers(1, 3))
    block_size = draw(st.sampled_from((1, 2, 3, 16)))
    tokens = draw(st.sampled_from((300, 120, 60, 30)))
    return Scenario(
        ratio=draw(st.sampled_from((1, 2, 3))),
        interleaved=draw(st.booleans()),
        voices=draw(st.sampled_from((0, 2))),
        block_size=block_size,
        num_blocks=tokens // block_size + (6 if block_size == 16 else 1),
        max_batch_tokens=draw(st.sampled_from((64, 8, 3, 2, 1))),
        reuse_prefixes=draw(st.booleans()),
        permute=draw(number),
        prompts=tuple(draw(prompt) for _ in range(count)),
        samplings=tuple(draw(sampling) for _ in range(count)),
        acts=tuple(draw(acts) for _ in range(count)),
        disturbances=tuple(draw(st.lists(disturbance, max_size=4))),
    )


class World:
    """The shadows of all branches of all trees of one engine."""

    def __init__(self, engine: Engine, reference_model: Decoder, tolerance: float) -> None:
        self.engine, self.model, self.tolerance = engine, reference_model, tolerance
        self.shadows: dict[Branch, Shadow] = {}
        self.own: dict[Branch, tuple[int, list[int]]] = {}
        self.checked: dict[Branch, int] = {}
        self.compared = 0

    def shadow(self, branch: Branch) -> Shadow:
        """Up to date with what the branch has decoded or was given since."""
        shadow = self.shadows[branch]
        known = len(shadow.sees)
        assert branch.history[:known] == shadow.tokens
        shadow.append(branch.history[known:])
        assert branch.position == shadow.position
        return shadow

    def given(self, branch: Branch, tokens: Sequence[int] = ()) -> list[int]:
        """All that a branch was given and has decoded itself, these tokens included, and nothing that it has joined."""
        decoded, own = self.own.get(branch, (0, []))
        own += [token.id for token in branch.generated[decoded:]] + list(tokens)
        self.own[branch] = len(branch.generated), own
        return own

    def leaves(self, request: Request) -> list[Branch]:
        return [branch for branch in request.alive if not branch.children]

    def compare(self) -> None:
        """Every branch's logits, as soon as they are there, with those of the oracle."""
        self.follow()
        fresh = []
        for request in self.engine.scheduler.requests.values():
            for branch in request.alive:
                if branch.logits is not None and self.checked.get(branch) != len(branch.history):
                    self.checked[branch] = len(branch.history)
                    fresh.append(branch)
        for branch, logits in zip(fresh, oracle(self.model, [self.shadow(b) for b in fresh]), strict=True):
            self.compared += 1
            assert distance(branch.logits, logits) < self.tolerance, f"{branch} is off the oracle"

    # Programs

    def program(self, prompt: tuple[int, ...], sampling: Sampling, acts: tuple[Act, ...]) -> Program:
        root = yield op.Start(prompt, sampling)
        self.shadows[root] = Shadow().append(prompt)
        self.given(root, prompt)
        for act in acts:
            leaves = self.leaves(root.request)
            leaf = leaves[act.who % len(leaves)]
            if act.kind == "decode":
                some = leaves[act.who % len(leaves) :]
                yield from self.settled(some)
                room = MAX_TOKENS - max(len(branch.history) for branch in some)
                yield op.Decode(some, until=act.tokens, max_tokens=max(0, min(room, act.which)))
            elif act.kind == "extend" and len(leaf.history) < MAX_TOKENS:
                yield from self.settled([leaf])
                yield op.Extend(leaf, act.tokens)
                self.given(leaf, act.tokens)
            elif act.kind == "settle":
                yield op.Settle([leaf])
            elif act.kind == "release" and len(leaves) > 1:
                if leaf.span.weave:  # its last token too has been seen by nobody before it is computed
                    yield from self.settled([leaf], first=True)
                yield op.Release([leaf])
            elif act.kind == "share" and leaf.span.weave and leaf.span.weave.positions in ("contiguous", "private"):
                yield from self.settled([leaf], first=True)
                yield op.Share(leaf)
                self.shared(leaf)
            elif act.kind == "weave":
                yield from self.weave(root.request, act)
            elif act.kind == "fork" and len(leaves) + len(act.seeds) <= MAX_LEAVES and not leaf.span.weave:
                given = None if act.given is None else min(act.given, len(leaf.history))
                voices = self.voices(act) if act.voiced else None
                children = yield op.Fork(leaf, act.seeds, given, voices)
                for child, seed, voice in zip(children, act.seeds, voices or [None] * len(children), strict=True):
                    self.shadows[child] = self.shadow(leaf).fork(given, voice).append(seed)
                    self.given(child, seed)
            elif act.kind == "join":
                yield from self.join(root.request, act)
        yield op.Settle(self.leaves(root.request))
        return [branch.history for branch in self.leaves(root.request)]

    def settled(self, branches: list[Branch], first: bool = False) -> Program:
        """Before they go on: all that is written beside them is computed, so that it is plain where they go on. (The
        first time they begin as they are, with seeds of different lengths.)"""
        looms = {weave[0] for branch in branches if (weave := self.shadow(branch).weave)}
        known = {loom for loom in looms if loom.begun or first}
        for loom in looms:
            loom.begun = True
        if known:
            yield op.Settle([b for b in branches[0].request.alive if (w := self.shadows[b].weave) and w[0] in known])
            self.follow()
            for loom in known:
                loom.settle()

    def follow(self) -> None:
        """What is written in a weave is known of all of its members, or of none."""
        for branch in [branch for branch, shadow in self.shadows.items() if shadow.weave]:
            self.shadow(branch)

    def weave(self, request: Request, act: Act) -> Program:
        parents = [b for b in request.alive if b.children and all(map(fresh, b.children))]
        if not parents:
            return
        parent = parents[act.who % len(parents)]
        slot = 4 if act.positions == "slots" else None
        shadows = [self.shadow(branch) for branch in parent.children]
        assert (yield op.Weave(parent.children[::-1], act.positions, slot)) == parent.children
        Shadow.woven(shadows, act.positions, 4)
        event(f"weave {act.positions}")

    def shared(self, branch: Branch) -> None:
        shadow = self.shadows[branch]
        shadow.share()
        assert shadow.weave
        for other in self.shadows.values():
            if other.weave and other.weave[0] is shadow.weave[0]:
                other.follow()

    def voices(self, act: Act) -> list[int]:
        return [(act.who + number) % (self.model.config.voices + 1) for number in range(len(act.seeds))]

    def join(self, request: Request, act: Act) -> Program:
        parents = [b for b in request.alive if b.children and not any(child.children for child in b.children)]
        if not parents:
            return
        parent = parents[act.who % len(parents)]
        chosen = parent.children[:]
        if act.how == "select":
            chosen = [chosen[act.which % len(chosen)]]
        elif act.which % 3 == 0 and len(chosen) > 1:
            del chosen[act.which % len(chosen)]
        if any(branch.span.weave for branch in chosen):
            yield from self.settled(chosen, first=True)
        shadows = [self.shadow(branch) for branch in sorted(chosen, key=lambda branch: branch.path)]
        if len({node for s in shadows for node, _ in s.own}) < sum(len(s.own) for s in shadows):
            return  # two joins of the same branches: refused, see test_joins
        if act.how.startswith("stitch") and not all(s.own_from for s in shadows):
            return  # a context of its own: refused, see test_fork_and_branches
        before = self.shadow(parent)
        keep = max(before.own_from, min(len(before.sees), 3 * act.which))  # never less than its own fork left
        rule = message(act.tokens, keep) if act.how == "message" else act.how
        then = act.tokens if act.how not in ("select", "message") else ()
        joined = yield op.Join(parent, list(reversed(chosen)), rule, then, keep=act.keep)
        event(f"join {act.how}")
        self.shadows[joined] = before.joined(act.how, shadows, act.tokens, keep).append(then)
        self.given(joined, act.tokens if act.how == "message" else then)


def fresh(branch: Branch) -> bool:
    return not (branch.span.peak or branch.generated or branch.span.weave or branch.children) and (
        branch.first == len(branch.view)
    )


def disturb(engine: Engine, requests: list[Request], what: Disturbance) -> None:
    request = requests[what.which % len(requests)]
    if what.kind == "preempt" and request.resident:
        engine.scheduler.preempt(request)
    elif what.kind == "abort":
        engine.abort(request)
    elif what.kind == "evict":
        engine.kv.make_room(min(engine.kv.available, engine.pool.free + what.which))
    elif what.kind == "flush":
        engine.kv.flush()


def fits_alone(engine: Engine, request: Request) -> bool:
    """Whether the pool could hold all that a request's branches stand on."""
    needed = ancestry(piece for branch in request.branches for piece in (*branch.view, branch.span.whole()))
    return sum(engine.pool.blocks_for(stop) for stop in needed.values()) <= len(engine.pool)


def told(events: Sequence[Event], request: Request) -> dict[int, list[int]]:
    """What each branch wrote, as the tree of a thought tells it from events."""
    meter = Meter()
    for one in events:
        if one.request == request.id:
            meter.read(one)
    return {id: seen.tokens for id, seen in meter.branches.items()}


def run(scenario: Scenario, backend: Any, dtype: Any, tolerance: float) -> list[Any]:
    """Run all programs of a scenario at once; judge the pool after every step and all logits. Gives the results."""
    engine = make_engine(
        small_model(scenario.ratio, scenario.interleaved, dtype, voices=scenario.voices),
        backend,
        scenario.permute,
        num_blocks=scenario.num_blocks,
        block_size=scenario.block_size,
        max_batch_tokens=scenario.max_batch_tokens,
        reuse_prefixes=scenario.reuse_prefixes,
    )
    world = World(engine, small_model(scenario.ratio, scenario.interleaved, voices=scenario.voices), tolerance)
    programs = zip(scenario.prompts, scenario.samplings, scenario.acts, strict=True)
    requests = [engine.submit(world.program(*given)) for given in programs]
    for number in range(3000):
        for what in scenario.disturbances:
            if what.step == number:
                disturb(engine, requests, what)
                engine.check()
        if not engine.scheduler.requests:
            break
        engine.step()
        engine.check()
        poison(engine)
        world.compare()
    else:
        raise AssertionError("no end after 3000 steps")
    for request in requests:
        event(request.state)
        if request.error:
            if not isinstance(request.error, ValueError):  # one of ours: where it came from
                raise request.error
            assert "does not fit" in str(request.error)
            assert not fits_alone(engine, request), request.error
    event(f"preempted {any(e.kind == 'preempted' for e in engine.events)}")
    assert_nothing_held(engine)
    for request in requests:
        if request.state == "finished":
            assert told(engine.events, request) == {b.id: world.given(b) for b in request.branches}
    return [request.task.value if request.state == "finished" and request.task else None for request in requests]
