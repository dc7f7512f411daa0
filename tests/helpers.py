"""Small models, tokenizers and engines that watch themselves."""

from __future__ import annotations

import copy
import functools
import math
import os
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import settings
from torch import Tensor

from miniapr import kernels, ops
from miniapr.engine import operations as op
from miniapr.engine.branch import Branch
from miniapr.engine.engine import Engine
from miniapr.engine.request import Program, Request
from miniapr.engine.sampling import Sampling
from miniapr.kernels.tolerances import DTYPES
from miniapr.kv.pool import BlockPool
from miniapr.kv.span import Span
from miniapr.kv.unroll import unroll
from miniapr.model.config import ModelConfig
from miniapr.model.decoder import Decoder
from miniapr.ops import Operations, reference

VOCAB = 29
CONTEXT = 400
JOINS = ("stitch", "stitch_contiguous", "stitch_copied", "reprefill")
RATIOS = {1: (2, 2), 2: (4, 2), 3: (3, 1)}  # query heads and key/value heads


def share(of: int) -> settings:
    """A part of the profile's examples: for a property whose runs are long, or that several backends are asked for."""
    return settings(max_examples=max(20, settings().max_examples // of))


def assert_trained_alike(a: Tensor, b: Tensor, name: str) -> None:
    """Equal to rounding, but for one in a thousand: where a gradient is rounding alone, its sign is chance, and AdamW's
    step is as long as for any other."""
    torch.testing.assert_close(a, b, rtol=0.05, atol=5e-3, msg=name)
    assert torch.isclose(a, b, rtol=1e-3, atol=1e-5).double().mean() > 0.999, name


def backend_or_skip(name: str) -> Operations:
    if name == "reference":
        return reference
    try:
        return kernels.emulate() if name == kernels.EMULATED else ops.load(name)
    except (ImportError, kernels.BuildError) as error:
        required = "MINIAPR_REQUIRE_CUDA" if name == "cuda" else "MINIAPR_REQUIRE_EXTENSION"
        if os.environ.get(required):  # where nothing may be skipped
            raise
        pytest.skip(f"the {name} backend was not built here: {error}")


@functools.cache
def quickest() -> Operations:
    """Rules of the engine hold over any kernels, and the oracle's tests ask each by name: here the machine's best."""
    try:
        return ops.load("cpp")
    except ImportError:
        return reference


def stored(backend: Operations, dtype: torch.dtype) -> torch.dtype:
    """``dtype``, or what is tested in its place: a GPU has float16 where a CPU has float64."""
    return dtype if dtype in getattr(backend, "dtypes", DTYPES) else torch.float16


class Letters:
    """Token i is the i-th letter; every text of letters can be written."""

    alphabet = "abcdefghijklmnopqrstuvwxyz .|"

    def encode(self, text: str, start: bool = True) -> list[int]:
        return [self.alphabet.index(letter) for letter in text]

    def prompt(self, text: str) -> list[int]:
        return self.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self.alphabet[id] for id in ids)

    def id(self, token: str) -> int:
        if token not in self.alphabet:
            raise ValueError(f"no token {token!r}")
        return self.alphabet.index(token)


@functools.cache
def small_model(
    ratio: int = 2,
    interleaved: bool = False,
    dtype: torch.dtype = torch.float64,
    context: int = CONTEXT,
    voices: int = 0,
) -> Decoder:
    """Random weights, large enough that every key matters: attention is far from uniform and far from one-hot."""
    heads, kv_heads = RATIOS[ratio]
    config = ModelConfig(
        vocab_size=VOCAB,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=8,
        rope_interleaved=interleaved,
        max_position_embeddings=context,
        voices=voices,
    )
    with torch.random.fork_rng():
        torch.manual_seed(ratio)
        model = Decoder(config).double()
        for weight in model.parameters():
            if weight.dim() == 2:  # a voice is as loud as a key
                torch.nn.init.normal_(weight, std=1.5 / math.sqrt(weight.shape[1]))
    return model.to(dtype).requires_grad_(False)


class Guard:
    """A backend that passes everything on, and sees to it that no block with two holders is written."""

    def __init__(self, inner: Operations) -> None:
        self.inner, self.pool, self.name = inner, None, inner.name
        self.writes = 0
        if hasattr(inner, "capture"):
            self.capture = self._capture

    def watch(self, pool: BlockPool) -> None:
        self.pool = pool

    def _mine(self, blocks: Tensor) -> None:
        assert self.pool is not None
        refs = self.pool.refs[blocks.unique().numpy()]
        assert (refs == 1).all(), f"written to blocks that {refs.tolist()} hold"
        self.writes += 1

    def write_kv(self, k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, slots: Tensor) -> None:
        self._slots(slots)
        self.inner.write_kv(k, v, k_cache, v_cache, slots)

    def _slots(self, slots: Tensor) -> None:
        assert self.pool is not None
        slots = slots[slots >= 0]  # a captured step has rows that only fill it
        assert len(slots.unique()) == len(slots), "two rows share a slot"
        self._mine(slots // self.pool.block_size)

    def _capture(self, function: Callable[[Any], Tensor]) -> Callable[[], Tensor]:
        """A replay makes its calls without us: where it will write is looked at before."""
        noted = Noted()

        def noting(inner: Operations) -> Tensor:
            noted.inner = inner
            return function(noted)

        replay = self.inner.capture(noting)

        def watched() -> Tensor:
            self._slots(noted.slots)
            return replay()

        return watched

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)  # what writes nothing

    def copy_blocks(self, k_cache: Tensor, v_cache: Tensor, source: Tensor, target: Tensor) -> None:
        self._mine(target)
        assert not set(source.tolist()) & set(target.tolist())
        self.inner.copy_blocks(k_cache, v_cache, source, target)

    def shift_keys(self, k_cache: Tensor, blocks: Tensor, *args: Any) -> None:
        self._mine(blocks)
        self.inner.shift_keys(k_cache, blocks, *args)


class Noted:
    """The operations that a step is captured with, and the slots that it writes: the same in every layer."""

    inner: Operations
    slots: Tensor

    def write_kv(self, k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, slots: Tensor) -> None:
        self.slots = slots
        self.inner.write_kv(k, v, k_cache, v_cache, slots)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@functools.lru_cache(maxsize=16)
def packed(model: Decoder) -> Decoder:
    """As a loaded model is: steps of plain weights are torch's."""
    return copy.deepcopy(model).pack()


def make_engine(
    model: Decoder | None = None, backend: Operations | None = None, permute: int | None = 0, **options: Any
) -> Engine:
    """An engine that is guarded, whose blocks are handed out in a shuffled order."""
    guard = Guard(backend or quickest())
    given = {"num_blocks": 64, "block_size": 3, "record": True, **options}
    model = model or small_model()
    if guard.name == "cpp":
        model = packed(model)
    engine = Engine(model, Letters(), backend=guard, **given)
    guard.watch(engine.pool)
    if permute is not None:
        random.Random(permute).shuffle(engine.pool._free)
    return engine


def known_spans(engine: Engine) -> set[Span]:
    """Every span that anyone holds a block of."""
    spans = {node.piece.span for node in engine.kv.tree}
    spans.update(piece.span for commit in engine.commits.held for view in commit.views for piece in view)
    for request in engine.scheduler.requests.values():
        spans.update(request.kept or ())
        for branch in request.holders:
            spans.add(branch.span)
            spans.update(piece.span for piece in branch.view)
    return spans


def poison(engine: Engine) -> None:
    """NaN into every slot that holds no key and value of anyone: whoever reads it is found out (F65)."""
    pool = engine.pool
    good = torch.zeros(len(pool), pool.block_size, dtype=torch.bool)
    for span in known_spans(engine):
        full, rest = divmod(span.written, pool.block_size)
        good[span.blocks[:full]] = True
        if rest:
            good[span.blocks[full], :rest] = True
    block, offset = (~good).nonzero(as_tuple=True)
    pool.k_cache[:, block, :, :, offset] = math.nan
    pool.v_cache[:, block, :, offset, :] = math.nan


def assert_nothing_held(engine: Engine) -> None:
    """All trees have ended: only the prefix cache holds blocks, and it can let all of them go."""
    engine.check()
    assert engine.pool.free + engine.kv.reclaimable == len(engine.pool)
    assert not any(request.resident for request in engine.scheduler.requests.values())
    engine.kv.flush()
    assert engine.pool.free == len(engine.pool)
    assert not engine.pool.refs.any()
    engine.check()


def step_until(engine: Engine, request: Request | None = None, limit: int = 4000) -> None:
    """Step until a request has ended, or all have, and check the pool after every step; a livelock is a failure."""
    for _ in range(limit):
        if not engine.scheduler.requests or (request and request.state != "running"):
            return
        engine.step()
        engine.check()
        poison(engine)
    raise AssertionError(f"no end after {limit} steps")


def plain_logits(model: Decoder, tokens: Sequence[int]) -> Tensor:
    """Logits after plain causal text, without any cache."""
    n = len(tokens)
    mask = torch.ones(n, n, dtype=torch.bool).tril()
    return model.dense(torch.tensor([list(tokens)]), torch.arange(n)[None], mask[None])[0, -1]


def dense_logits(branch: Branch, model: Decoder | None = None, silent: bool = False) -> Tensor:
    """After its last token, by the package's own oracle; ``silent``: as if it had no voices."""
    model, dense = model or small_model(), unroll([(branch.view, branch.span)])
    one = (dense.tokens[None], dense.positions[None], dense.visible[None], dense.shift[None])
    voices = dense.voices[None] if model.config.voices and not silent else None
    return model.dense(*one, voices=voices)[0][dense.index(branch.span, len(branch.span.tokens) - 1)]


def join(engine: Engine, root: Branch, branches: Sequence[Branch], how: str, keep: bool = True) -> Branch:
    """Joined, gone on with two tokens, and computed."""
    return engine.settle(engine.join(root, branches, how, then=[4, 2], keep=keep))


def ids(branch: Branch) -> list[int]:
    """What the branch sampled."""
    return [token.id for token in branch.generated]


def distance(a: Tensor | None, b: Tensor | None) -> float:
    assert a is not None and b is not None
    return float((a.double() - b.double()).abs().max())


def release_all(engine: Engine, roots: Iterable[Branch]) -> None:
    for root in roots:
        for branch in root.request.alive:
            engine.release(branch)


@dataclass
class Outcome:
    """What a thought came to: the tokens of every branch, and the logits after its joined end."""

    tokens: list[list[int]]
    logits: Tensor
    position: int

    def same(self, other: Outcome, tolerance: float = 1e-10) -> bool:
        close = distance(self.logits, other.logits) < tolerance
        return close and (self.tokens, self.position) == (other.tokens, other.position)


def thought(prompt: Sequence[int], how: str = "stitch", sampling: Sampling | None = None) -> Program:
    """A program that decodes, forks, lets one branch fork again, joins both and concludes. Gives an Outcome."""
    root = yield op.Start(prompt, sampling or Sampling())
    yield op.Decode([root], max_tokens=3)
    left, right = yield op.Fork(root, [[7, 8], [9]])
    yield op.Decode([left, right], max_tokens=2)
    inner = yield op.Fork(left, 2)
    yield op.Decode([*inner, right], max_tokens=3)
    said = [branch.history for branch in (*inner, right)]
    left = yield op.Join(left, inner, how, then=[5])
    yield op.Decode([left], max_tokens=2)
    root = yield op.Join(root, [left, right], how, then=[6])
    yield op.Decode([root], max_tokens=3)
    yield op.Settle([root])
    return Outcome([*said, left.history, root.history], root.logits.clone(), root.position)


@functools.cache
def think(
    how: str = "stitch", sampling: Sampling | None = None, prompt: Sequence[int] = (1, 2, 3), **options: Any
) -> Outcome:
    """The same thought on an engine of its own; once is enough, since it always comes to the same."""
    outcome: Outcome = make_engine(**options).run(thought(prompt, how, sampling))
    return outcome


def tree(
    engine: Engine,
    seeds: int | Sequence[Sequence[int]] = 2,
    prompt: Sequence[int] = (1, 2, 3),
    tokens: int = 3,
    sampling: Sampling | None = None,
) -> tuple[Branch, list[Branch]]:
    """A root driven by hand, and its branches, which have decoded a few tokens."""
    root = engine.start(prompt, sampling)
    branches = engine.fork(engine.settle(root), seeds)
    engine.decode(branches, max_tokens=tokens)
    return root, branches
