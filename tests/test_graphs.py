"""Captured decode steps: the same numbers as steps that are computed call by call."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from helpers import Letters, backend_or_skip, small_model
from torch import Tensor

from miniapr.engine import operations as op
from miniapr.engine.engine import Engine
from miniapr.engine.graphs import LONGEST, Graphs
from miniapr.kv.pool import BlockPool
from miniapr.model.decoder import Batch, Decoder
from miniapr.ops import Operations, PlanBuilder
from miniapr.ops.capture import CaptureError, Watch

SIZE = 4  # tokens in a block


@pytest.fixture(params=["cpp", "cuda (emulated)"])
def ops(request: pytest.FixtureRequest) -> Operations:
    return backend_or_skip(request.param)


def model_for(ops: Operations, dtype: torch.dtype = torch.float32) -> Decoder:
    model = copy.deepcopy(small_model()).to(dtype)
    return model.pack() if ops.name == "cpp" else model


def filled_pool(model: Decoder, seed: int = 0) -> BlockPool:
    config = model.config
    pool = BlockPool(
        96, SIZE, config.num_hidden_layers, config.num_key_value_heads, config.head_dim, model.dtype, model.device
    )
    torch.manual_seed(seed)
    pool.k_cache.copy_(torch.randn(pool.k_cache.shape))
    pool.v_cache.copy_(torch.randn(pool.v_cache.shape))
    return pool


def decode_batch(model: Decoder, rows: int, prefix: int, shift: int = 0) -> Batch:
    """Rows that share a prefix, each with blocks of its own, where it writes its token."""
    builder = PlanBuilder()
    shared = -(-prefix // SIZE)
    for row in range(rows):
        builder.see("prefix", list(range(shared)), 0, prefix, shift if row % 2 else 0, 1, 0)
        builder.see(row, [shared + row], 0, 1 + row % SIZE, 0, 1, 1)
        builder.end_rows(1)
    slots = torch.tensor([(shared + row) * SIZE + row % SIZE for row in range(rows)])
    return model.batch(torch.arange(rows) % 20, torch.arange(rows) + prefix, slots, builder.build())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("fills", [True, False])
def test_a_replay_is_the_step_itself(ops: Operations, dtype: torch.dtype, fills: bool) -> None:
    """Bit for bit where the rows fill their bucket. Where they do not, a product of more rows may add up in another
    order."""
    model, three = model_for(ops, dtype), 4 if fills else 3
    captured, plain = filled_pool(model), filled_pool(model)
    graphs = Graphs(model, captured.k_cache, captured.v_cache, ops)
    exact = graphs.captures is not None and graphs.captures.bucket(three) == three
    near = {"rtol": 0, "atol": 0 if exact else 1e-5 if dtype is torch.float32 else 0.05}
    kept: list[tuple[Tensor, Tensor]] = []
    steps = [(1, 3, 0), (three, 9, 0), (three, 17, 0), (1, 8, 0), (three, 9, 5), (three, 30, -2), (three, 9, 0)]
    with torch.inference_mode():
        for rows, prefix, shift in steps:
            batch = decode_batch(model, rows, prefix, shift)
            want = model.compute(batch, plain.k_cache, plain.v_cache, ops)
            kept.append((graphs.compute(batch), want))
            for mine, its in ((captured.k_cache, plain.k_cache), (captured.v_cache, plain.v_cache)):
                torch.testing.assert_close(mine, its, **near)
    assert graphs.captures is not None
    for got, want in kept:  # compared at the end: a later replay must not reach into an earlier result
        torch.testing.assert_close(got, want, **near)


def test_one_capture_serves_many_steps(ops: Operations, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_for(ops)
    pool = filled_pool(model)
    graphs = Graphs(model, pool.k_cache, pool.v_cache, ops, most=2)
    captures = []
    original = ops.capture  # type: ignore[attr-defined]
    monkeypatch.setattr(ops, "capture", lambda function: captures.append(1) or original(function), raising=False)
    with torch.inference_mode():
        for rows, total in [(1, 1), (1, 1), (4, 2), (1, 2), (2, 3), (1, 3), (4, 4), (4, 4)]:
            graphs.compute(decode_batch(model, rows, 7))
            assert len(captures) == total, "captured when it need not be, or the least recently used was not let go"


def test_what_is_not_a_decode_step_is_computed_as_it_comes(ops: Operations, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_for(ops)
    pool = filled_pool(model)
    graphs = Graphs(model, pool.k_cache, pool.v_cache, ops)
    monkeypatch.setattr(ops, "capture", lambda function: pytest.fail("captured"), raising=False)
    with torch.inference_mode():
        batch = decode_batch(model, 3, 7)
        some = Batch(**{**batch.__dict__, "wanted": torch.tensor([2])})
        assert graphs.compute(some).shape == (1, model.config.vocab_size)
        assert graphs.compute(decode_batch(model, LONGEST + 1, 7)).shape[0] == LONGEST + 1


def test_a_model_of_plain_weights_is_not_captured() -> None:
    ops, model = backend_or_skip("cpp"), copy.deepcopy(small_model())
    pool = filled_pool(model)
    graphs = Graphs(model, pool.k_cache, pool.v_cache, ops)
    with torch.inference_mode():
        batch = decode_batch(model, 2, 7)
        want = model.compute(batch, pool.k_cache, pool.v_cache, ops)
        assert torch.equal(graphs.compute(batch), want)
    assert graphs.captures is None


def test_threads_are_part_of_a_captured_step() -> None:
    ops = backend_or_skip("cpp")
    model = model_for(ops)
    pool = filled_pool(model)
    graphs, before = Graphs(model, pool.k_cache, pool.v_cache, ops), torch.get_num_threads()
    try:
        with torch.inference_mode():
            for threads in (1, 2):
                torch.set_num_threads(threads)
                graphs.compute(decode_batch(model, 2, 7))
    finally:
        torch.set_num_threads(before)
    assert len(graphs._graphs) == 2


def test_a_replay_checks_its_indices() -> None:
    """What Python checked at the capture, sizes and types, can't change; what can is checked by the kernels."""
    ops = backend_or_skip("cpp")
    model = model_for(ops)
    pool = filled_pool(model)
    graphs = Graphs(model, pool.k_cache, pool.v_cache, ops)
    with torch.inference_mode():
        good = decode_batch(model, 2, 7)
        want = graphs.compute(good)
        for bad in (96 * SIZE, -2):
            with pytest.raises(ValueError, match="slots"):
                graphs.compute(Batch(**{**good.__dict__, "slots": torch.tensor([0, bad])}))
        builder = PlanBuilder()
        for _ in range(2):
            builder.see("gone", [96], 0, 1, 0, 1, 0)
            builder.end_rows(1)
        with pytest.raises(ValueError, match="blocks"):
            graphs.compute(Batch(**{**good.__dict__, "plan": builder.build()}))
        assert torch.equal(graphs.compute(good), want)


def test_a_capture_refuses_what_a_replay_would_leave_out() -> None:
    with Watch() as watch:
        x = torch.empty(3, 4)
        x.view(4, 3)[1:].transpose(0, 1)
        with pytest.raises(CaptureError, match="mul"):
            x * 2
    assert len(watch.kept) == 1


@pytest.mark.parametrize("how", ["stitch", "stitch_contiguous", "stitch_copied", "reprefill"])
def test_an_engine_decodes_the_same_with_and_without(how: str) -> None:
    backend = backend_or_skip("cpp")

    def told(captured: bool) -> list[Any]:
        engine = Engine(copy.deepcopy(small_model()).pack(), Letters(), backend=backend, num_blocks=64, block_size=4)
        if not captured:
            engine.runner.graphs.captures = None

        def program() -> Any:
            root = yield op.Start([1, 2, 3, 4, 5])
            children = yield op.Fork(root, [[6], [7], [8, 9]])
            yield op.Decode(children, max_tokens=5)
            joined = yield op.Join(root, children, how, [10])
            yield op.Decode([joined], max_tokens=6)

        engine.run(program())
        assert bool(engine.runner.graphs._graphs) == captured
        return [(e.kind, e.data.get("token"), e.data.get("logprob")) for e in engine.events if e.kind == "decoded"]

    assert told(True) == told(False)
