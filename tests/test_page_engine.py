"""The engine in JavaScript is the engine: the same events, costs, refusals and states, and the oracle's logits."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Letters, dense_logits, make_engine, small_model
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

import miniapr
from miniapr.engine.branch import Branch
from miniapr.engine.engine import Engine
from miniapr.engine.joins import message
from miniapr.model import checkpoint
from miniapr.model.bundle import SHIPPED
from miniapr.model.bundle import shipped as models
from miniapr.stepper import Session
from miniapr.stepper.commands import WOVEN
from miniapr.stepper.engine import about, config_of, packed
from miniapr.stepper.levels import LEVELS
from miniapr.stepper.page import STATIC
from miniapr.stepper.play import Play
from miniapr.stepper.tree import PROMPT

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="no node: the pages' engine cannot be run")

ENGINE = STATIC / "engine"
CLOSE = 1e-4  # between logits
MARGIN = 1e-3  # two tokens nearer than this may be chosen either way
BLOCKS, SIZE = 300, 3


class Asked:
    """A node process with the engine and a model."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, **what: Any) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin and stdout
        stdin.write(json.dumps(what) + "\n")
        stdin.flush()
        return json.loads(stdout.readline())


@contextmanager
def node(model: dict[str, Any], weights: Path, engine: Path = ENGINE) -> Iterator[Asked]:
    command = ["node", str(Path(__file__).parent / "engine.mjs"), str(engine), str(weights)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        asked = Asked(process)
        asked(model=model)
        yield asked
        assert process.stdin
        process.stdin.close()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """Letters, and four query heads to two of keys: what is said of it, and its weights."""
    folder, model = tmp_path_factory.mktemp("tiny"), small_model(dtype=torch.float32)
    checkpoint.save(model, folder)
    words = {"words": list(Letters.alphabet), "special": [], "control": {}, "levels": []}
    return {"config": config_of(model.config), **words}, folder / "model.safetensors"


@pytest.fixture(scope="module")
def small(tiny: tuple[dict[str, Any], Path]) -> Iterator[Asked]:
    with node(*tiny) as asked:
        yield asked


@pytest.fixture(scope="module")
def bundle() -> miniapr.Bundle:
    return miniapr.load()


@pytest.fixture(scope="module")
def shipped(bundle: miniapr.Bundle) -> Iterator[Asked]:
    with node(about(bundle), SHIPPED / "countdown" / "model.safetensors") as asked:
        yield asked


# Programs of every operation

number = st.integers(0, 7)
token = st.integers(0, len(Letters.alphabet) - 1)
some = st.lists(token, min_size=1, max_size=4)
act = st.one_of(
    st.tuples(st.just("decode"), number, st.integers(0, 5), st.lists(token, max_size=2)),
    st.tuples(st.just("fork"), number, st.lists(st.lists(token, max_size=3), min_size=1, max_size=3), st.none()),
    st.tuples(st.just("fork"), number, st.lists(some, min_size=1, max_size=3), st.integers(0, 9)),
    st.tuples(st.just("weave"), number, st.lists(some, min_size=1, max_size=3), st.sampled_from(WOVEN)),
    st.tuples(
        st.just("join"),
        number,
        number,
        st.sampled_from(("stitch", "stitch_contiguous", "stitch_copied", "reprefill", "select")),
        st.lists(token, max_size=3),
        st.booleans(),
    ),
    st.tuples(st.just("message"), number, some, st.none() | st.integers(0, 9), st.booleans()),
    st.tuples(st.just("extend"), number, some),
    st.tuples(st.just("settle"), number),
    st.tuples(st.just("release"), number),
)
# Whole figures too, so that most programs get as far as a join.
figure = st.tuples(
    st.tuples(st.sampled_from(("fork", "weave")), number, st.lists(some, min_size=2, max_size=3), st.none()),
    st.tuples(st.just("decode"), st.just(-1), st.integers(1, 4), st.just([])),
    st.tuples(
        st.just("join"),
        number,
        number,
        st.sampled_from(("stitch", "stitch_contiguous", "stitch_copied", "reprefill")),
        some,
        st.booleans(),
    ),
)
programs = st.lists(st.one_of(figure, st.tuples(act)), min_size=1, max_size=6).map(
    lambda parts: [one for part in parts for one in part]
)


class World:
    """Runs acts on the Python engine, and writes down what they came to mean there."""

    def __init__(self, prompt: list[int]) -> None:
        self.engine: Engine = make_engine(
            small_model(dtype=torch.float32), permute=None, reuse_prefixes=False, num_blocks=BLOCKS, block_size=SIZE
        )
        self.prompt, self.acts, self.refused = prompt, list[dict[str, Any]](), list[str | None]()
        self.root = self.engine.start(prompt, miniapr.Sampling(logprobs=5))

    def do(self, kind: str, who: int, *rest: Any) -> None:
        joins = kind in ("join", "message")
        some = [branch for branch in self.root.request.alive if bool(branch.children) == joins]
        if not some:
            return
        if who < 0:
            self.decode_all(some, *rest)
        else:
            getattr(self, kind)(some[who % len(some)], *rest)

    def told(self, run: Any, **act: Any) -> None:
        self.acts.append(act)
        try:
            run()
            self.refused.append(None)
        except ValueError as error:
            self.refused.append(str(error))

    def decode_all(self, leaves: list[Branch], most: int, until: list[int]) -> None:
        run = lambda: self.engine.decode(leaves, until, max_tokens=most)  # noqa: E731
        self.told(run, kind="decode", who=[leaf.id for leaf in leaves], until=until, most=most)

    def decode(self, one: Branch, most: int, until: list[int]) -> None:
        self.decode_all([one], most, until)

    def fork(self, one: Branch, seeds: list[list[int]], keep: int | None) -> None:
        keep = None if keep is None else min(keep, len(one.history))
        self.told(lambda: self.engine.fork(one, seeds, keep), kind="fork", who=one.id, seeds=seeds, keep=keep)

    def weave(self, one: Branch, seeds: list[list[int]], positions: str | None) -> None:
        self.fork(one, seeds, None)
        if self.refused[-1] is None:
            children, slot = one.children[:], 9 if positions == "slots" else None
            self.told(
                lambda: self.engine.weave(children, positions or "shared", slot),
                kind="weave", who=[child.id for child in children], positions=positions or "shared", slot=slot,
            )  # fmt: skip

    def join(self, parent: Branch, which: int, how: str, then: list[int], beside: bool) -> None:
        chosen = parent.children[:]
        if how == "select" or (which % 3 == 0 and len(chosen) > 1):
            chosen = [chosen[which % len(chosen)]]
        self.told(
            lambda: self.engine.join(parent, chosen, how, then, beside),
            kind="join", who=parent.id, which=[b.id for b in chosen], how=how, then=then, beside=beside,
        )  # fmt: skip

    def message(self, parent: Branch, tokens: list[int], keep: int | None, beside: bool) -> None:
        chosen = parent.children[:]
        self.told(
            lambda: self.engine.join(parent, chosen, message(tokens, keep), keep=beside),
            kind="message", who=parent.id, which=[b.id for b in chosen], tokens=tokens, keep=keep, beside=beside,
        )  # fmt: skip

    def extend(self, one: Branch, tokens: list[int]) -> None:
        self.told(lambda: self.engine.extend(one, tokens), kind="extend", who=one.id, tokens=tokens)

    def settle(self, one: Branch) -> None:
        self.told(lambda: self.engine.settle(one), kind="settle", who=[one.id])

    def release(self, one: Branch) -> None:
        if one is not self.root:
            self.told(lambda: self.engine.release(one), kind="release", who=one.id)

    def differs(self, asked: Asked) -> list[str]:
        """Where the other engine says otherwise."""
        options = {"blocks": BLOCKS, "size": SIZE}
        found = asked(prompt=self.prompt, acts=self.acts, options=options)
        events = json.loads(json.dumps([asdict(event) for event in self.engine.events]))
        cost = {name: n for name, n in vars(self.root.request.cost).items() if name != "seconds"}
        told = differences({"events": events, "cost": cost, "refused": self.refused}, found | {"logits": None})
        for branch in self.root.request.alive:
            if branch.logits is not None:
                true = dense_logits(branch).tolist()
                told += differences(true, found["logits"].get(str(branch.id)), f"logits of {branch.id}")
        return told


def differences(one: Any, other: Any, place: str = "") -> list[str]:
    """Where two pieces of JSON differ; times do not count, and numbers with a fraction are compared to CLOSE."""
    if isinstance(one, dict) and isinstance(other, dict):
        if "logprob" in one and "logprob" in other:
            one, other = ranked(one), ranked(other)
        keys = one.keys() | {key for key, value in other.items() if value is not None}
        return [
            d for key in sorted(keys - {"seconds"}) for d in differences(one.get(key), other.get(key), f"{place}.{key}")
        ]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [found for i, (a, b) in pairs for found in differences(a, b, f"{place}[{i}]")]
    if isinstance(one, float) and isinstance(other, int | float):
        return [] if abs(one - other) < CLOSE * max(1, abs(one)) else [f"{place}: {one} and {other}"]
    return [] if one == other else [f"{place}: {one!r:.120} and {other!r:.120}"]


def ranked(decoded: dict[str, Any]) -> dict[str, Any]:
    """Rivals that are as likely as their neighbour may stand in either order: then only how likely counts. As
    probabilities: the logarithm of a small one differs by more than float32 tells of the large ones."""
    rivals = [[*rival] for rival in decoded["alternatives"]]
    likely = [rival[1] for rival in rivals]
    for i, rival in enumerate(rivals):
        near = [likely[j] for j in (i - 1, i + 1) if 0 <= j < len(rivals)]
        if i == len(rivals) - 1 or min(abs(rival[1] - one) for one in near) < MARGIN:
            rival[0] = rival[2] = None
    for rival in rivals:
        rival[1] = math.exp(rival[1])
    return decoded | {"alternatives": rivals, "logprob": math.exp(decoded["logprob"])}


def clear(events: list[Any]) -> bool:
    """Whether every token was chosen by more than the margin."""
    chosen = [event.data["alternatives"] for event in events if event.kind == "decoded"]
    return all(first[1] - second[1] > MARGIN for first, second, *_ in chosen)


@given(prompt=some, acts=programs)
@settings(max_examples=20)
def test_random_programs_give_the_same_events_costs_and_logits(
    small: Asked, prompt: list[int], acts: list[tuple[Any, ...]]
) -> None:
    world = World(prompt)
    for one in acts:
        world.do(*one)
    for one, refused in zip(world.acts, world.refused, strict=True):
        event(f"{one['kind']} {one.get('how', '')} {'refused' if refused else 'done'}")
    assume(clear(world.engine.events))
    assert world.differs(small) == []


# Each a mistake that one might make, in the file where one would make it.
WRONG = {
    "queries turned the wrong way": ("decoder.js", "this.turn(-shift)", "this.turn(shift)"),
    "a token does not see itself": ("engine.js", "slots.subarray(0, i + 1)", "slots.subarray(0, Math.max(i, 1))"),
    "a stitch goes on after the shortest": ("joins.js", "Math.max(parent.position, ...", "Math.min(Infinity, ..."),
    "the last token is not lost": ("spans.js", "rest = span.tokens.splice(done)", "rest = []"),
    "keys of copies are not turned": ("cache.js", "rotate(keys, slot", "rotate(keys.slice(), slot"),
    "blocks are handed out in another order": ("cache.js", "this.free.pop()", "this.free.shift()"),
    "a fork computes what it shares": ("branching.js", "this.cost.reused += reused", "this.cost.prefilled += reused"),
    "workers see each other too early": ("weave.js", "Math.min(stop, span", "Math.min(stop + 1, span"),
    "whoever leaves a weave is forgotten": ("branching.js", "this.left.add(branch)", "this.letGo(branch)"),
    "re-prefill keeps the first branch's length only": ("joins.js", "kept += ready.length", "kept += 1"),
}  # fmt: skip


@pytest.fixture(scope="module")
def one_of_each() -> World:
    """A program with every join in it, the last beside the branches that it joins."""
    world = World([1, 2, 3])  # a prompt after which nothing is a close call
    for positions in WOVEN:
        world.do("weave", 0, [[5, 6], [7], [8, 9]], positions)
        world.do("decode", 1, 2, [])
        world.do("decode", -1, 3, [])
        world.do("release", 2)
        world.do("decode", -1, 2, [])
        world.do("join", 0, 1, "stitch_copied", [3], False)
        world.do("decode", -1, 2, [])
    for how in ("stitch", "stitch_contiguous", "stitch_copied", "reprefill"):
        world.do("fork", 0, [[5, 6], [7], [8, 9]], None)
        world.do("decode", 1, 2, [])
        world.do("decode", -1, 3, [])
        world.do("join", 0, 1, how, [3], how == "reprefill")
        world.do("decode", -1, 2, [])
    world.do("settle", 0)
    return world


def test_one_program_with_every_join(small: Asked, one_of_each: World) -> None:
    world = one_of_each
    assert world.refused == [None] * len(world.acts) and clear(world.engine.events)
    assert world.differs(small) == []


@pytest.mark.parametrize("mistake", WRONG)
def test_a_wrong_engine_is_found(
    mistake: str, tiny: tuple[dict[str, Any], Path], one_of_each: World, tmp_path: Path
) -> None:
    file, right, wrong = WRONG[mistake]
    shutil.copytree(ENGINE, tmp_path / "engine")
    text = (tmp_path / "engine" / file).read_text()
    assert right in text
    (tmp_path / "engine" / file).write_text(text.replace(right, wrong))
    with node(*tiny, tmp_path / "engine") as asked:
        assert one_of_each.differs(asked)


# What a learner says at a page

sensible = st.one_of(
    st.sampled_from(("fork 2", "fork 3", "fork b*c | a-b", "write b*c 21", "decode 1", "decode 4")),
    st.sampled_from(("weave 2", "weave shared 3", "weave contiguous 2", "weave 7 | 8", "spawn 2")),
    st.sampled_from(("spawn 7 | 8", "cancel", "join message")),
    st.builds("branch {}".format, st.integers(0, 4)),
    st.builds("join {}".format, st.sampled_from(("stitch", "contiguous", "copied", "reprefill", "stitch then b*c"))),
    st.builds("join select {}".format, st.integers(1, 4)),
    st.builds("drop {}".format, st.integers(0, 4)),
    st.sampled_from(("undo", "undo 2", "undo all", "redo", "redo all", "help", "free", "reset", "hint")),
    st.sampled_from(("fork", "fork 0", "fork x", "fork 99", "fork 7 | ", "decode x", "undo x", "level 99")),
    st.sampled_from(("join", "join sideways", "join select", "drop 0", "write foo", "weave", "cancel 7 8")),
)  # fmt: skip
joined = st.tuples(
    st.sampled_from(("fork 3", "weave 2", "weave contiguous 3")),
    st.just("decode 3"),
    st.sampled_from(("join stitch", "join reprefill", "undo")),
)
said = st.lists(st.one_of(joined, st.tuples(sensible)), min_size=2, max_size=5).map(
    lambda parts: [line for part in parts for line in part]
)


def differs(asked: Asked, session: Session, lines: Sequence[str]) -> list[str]:
    with session:
        prompt = " ".join(session.engine.tokenizer.decode([id]) for id in session.root.history)
        play = Play(session)
        states = [play.state(), *(play.do(line) for line in lines)]
        play.close()
    if not clear(session.engine.events):
        return []
    return differences(json.loads(json.dumps(states)), asked(prompt=prompt, lines=lines))


def roomy(bundle: miniapr.Bundle, prompt: str = PROMPT) -> Session:
    """A session whose pool is never full."""
    engine = Engine(bundle.model, bundle.tokenizer, num_blocks=512, block_size=4, reuse_prefixes=False, record=True)
    control = miniapr.Control.of(bundle.tokenizer, bundle.control)
    return Session(engine, bundle.tokenizer.ids(prompt.split()), control=control)


@given(lines=said)
@settings(max_examples=8)
def test_whatever_is_said_at_a_page_is_answered_as_python_answers(
    shipped: Asked, bundle: miniapr.Bundle, lines: list[str]
) -> None:
    assert differs(shipped, roomy(bundle), lines) == []


def test_a_whole_thought_is_pythons(shipped: Asked, bundle: miniapr.Bundle) -> None:
    lines = ["decode", "fork 8", "decode", "join stitch", "decode", "undo 2", "join reprefill", "decode"]
    assert differs(shipped, roomy(bundle, "<bos> <adaptive> 8 7 3 -> 29 :"), lines) == []


def test_workers_and_children_are_pythons(shipped: Asked, bundle: miniapr.Bundle) -> None:
    workers = [
        "weave 3",
        "decode 9",
        "branch 2",
        "decode 2",
        "branch 0",
        "drop 1",
        "cancel miss",
        "undo 2",
        "join copied",
    ]
    assert differs(shipped, roomy(bundle, "<bos> <worker> 8 7 3 -> 29 :"), workers) == []
    children = ["decode", "spawn 8", "cancel", "undo", "decode", "join stitch", "join message", "decode"]
    assert differs(shipped, roomy(bundle, "<bos> <parent> 8 7 3 -> 29 :"), children) == []


def test_a_level_is_solved_by_its_solution_and_by_nothing_less(shipped: Asked) -> None:
    for number, level in enumerate(LEVELS, start=1):
        states = shipped(prompt=PROMPT, lines=[f"level {number}", "hint", *level.solution])[1:]
        assert [state["level"]["solved"] for state in states] == [False] * (len(states) - 1) + [True], level.title
        assert states[0]["said"] == level.text and states[1]["said"] == level.hints[0]


@pytest.mark.parametrize("number", [4, 9, 12])
def test_a_level_is_told_in_the_same_words(number: int, shipped: Asked, bundle: miniapr.Bundle) -> None:
    level = LEVELS[number - 1]
    lines = [f"level {number}", "hint", *level.wrong[0], "reset", *level.solution, "free"]
    play = Play(Session(bundle))
    mine, its = [play.do(line) for line in lines], shipped(prompt=PROMPT, lines=lines)[1:]
    play.close()
    for name in ("said", "error", "level", "levels", "history", "offers"):
        assert differences([state[name] for state in mine], [state[name] for state in its]) == [], name


def test_every_model_that_ships_can_be_packed() -> None:
    assert all(packed(name) for name in models())


@pytest.mark.parametrize("weights", [b"", b"x" * 100])
def test_broken_weights_are_refused(weights: bytes, bundle: miniapr.Bundle, tmp_path: Path) -> None:
    (tmp_path / "cut").write_bytes(weights)
    with pytest.raises(json.JSONDecodeError), node(about(bundle), tmp_path / "cut"):
        pass
