"""Paged attention in CUDA, every version of it, against dense attention in float64.

Without a GPU the kernels' own code runs on the CPU, a block's threads as fibres in three different orders: a missing
barrier is wrong in one of them.
"""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from helpers import backend_or_skip
from hypothesis import given, settings
from hypothesis import strategies as st
from paged_case import Case, Shape, causal_case, make_case
from torch import Tensor

from miniapr.kernels import EMULATED
from miniapr.ops import PlanBuilder
from miniapr.ops.cuda import Cuda
from miniapr.ops.cuda_plan import DevicePlan

HALVES = (torch.bfloat16, torch.float16)
ORDERS = ("forward", "backward", "random:1")
# What is rounded: nothing but sums; the output; the softmax's weights, and q where it is turned or comes in float32.
SUMS, OUTPUT, WEIGHTS = 1e-4, {torch.bfloat16: 2e-2, torch.float16: 3e-3}, {torch.bfloat16: 2e-2, torch.float16: 3e-3}


@pytest.fixture(scope="module")
def cuda() -> Cuda:
    backend = backend_or_skip(EMULATED)
    assert isinstance(backend, Cuda)
    return backend


def attend(cuda: Cuda, case: Case, version: int = 0, plan: DevicePlan | None = None) -> Tensor:
    interleaved = case.shape.interleaved
    return cuda.paged_attention(
        case.q, case.k_cache, case.v_cache, plan or case.plan, case.cos, case.sin, interleaved, version
    )


def tolerance(case: Case, version: int) -> float:
    if case.q.dtype != torch.float32:
        return OUTPUT[case.q.dtype]
    return WEIGHTS[case.shape.dtype] if version == 4 else SUMS


def close(case: Case, got: Tensor, version: int = 0) -> None:
    assert got.shape == case.q.shape and got.dtype == case.q.dtype
    torch.testing.assert_close(got.double(), case.expected(), rtol=0, atol=tolerance(case, version))


def in_storage_type(case: Case) -> Case:
    return dataclasses.replace(case, q=case.q.to(case.shape.dtype))


def runs(shape: Shape, version: int) -> bool:
    """What the versions that are compiled for a head size can do with the shared memory of the emulated GPU."""
    if version == 4:
        return shape.dtype in HALVES and shape.head_dim <= 128
    return version < 2 or shape.head_dim <= 128


SHAPES = st.builds(
    Shape,
    dtype=st.sampled_from((torch.float32, *HALVES)),
    head_dim=st.sampled_from((2, 6, 64, 80, 96, 100, 128, 130)),
    block_size=st.sampled_from((1, 3, 8, 16, 24, 64, 100)),
    kv_heads=st.integers(1, 2),
    group=st.sampled_from((1, 2, 3, 8, 17)),
    interleaved=st.booleans(),
    rows=st.integers(0, 9),
    longest=st.sampled_from((1, 15, 64, 65, 300)),
    shifts=st.sampled_from(((0,), (5,), (-3, 0), (0, 7, -2, 100))),
    seed=st.integers(0, 10_000),
)


@given(shape=SHAPES, version=st.integers(0, 4), order=st.sampled_from(ORDERS), narrow=st.booleans())
@settings(max_examples=150)
def test_attention_is_dense_attention(cuda: Cuda, shape: Shape, version: int, order: str, narrow: bool) -> None:
    if not runs(shape, version):
        version = 1
    case = make_case(shape)
    if narrow:
        case = in_storage_type(case)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIAPR_EMULATE_ORDER", order)
        close(case, attend(cuda, case, version), version)


@pytest.mark.parametrize("version", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
@pytest.mark.parametrize("head_dim", [64, 80, 96, 128])
def test_every_version_at_every_compiled_size(cuda: Cuda, version: int, dtype: torch.dtype, head_dim: int) -> None:
    """Blocks of 8 to 64, query heads 1, 3 and 8 to one, both pairings, moved pieces."""
    for block_size, group, interleaved in ((8, 3, False), (16, 1, True), (32, 8, False), (64, 3, True), (24, 2, False)):
        shape = Shape(dtype, head_dim, block_size, 2, group, interleaved, 5, 130, (0, -4, 9), seed=head_dim + group)
        if not runs(shape, version):
            case = make_case(shape)
            with pytest.raises(ValueError, match=f"version = {version} cannot do head size {head_dim} in 32 bits"):
                attend(cuda, case, version)
            return
        case = make_case(shape)
        close(case, attend(cuda, case, version), version)


@pytest.mark.parametrize("version", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("prefix, chunk", [(0, 1), (0, 70), (62, 3), (127, 2), (1030, 3), (2100, 1)])
def test_a_chunk_of_a_prompt_is_causal(cuda: Cuda, version: int, prefix: int, chunk: int) -> None:
    """Around the tiles of 64 tokens, the chunks, and the 64 query vectors of a unit."""
    for block_size, shift in ((16, 0), (5, 9)):
        case = causal_case(Shape(torch.float16, 64, block_size, 1, 3, True, shifts=(shift,)), prefix, chunk)
        close(case, attend(cuda, case, version), version)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("rows", [1, 2, 5, 6, 11, 21, 22, 43, 64])
def test_any_number_of_rows_on_one_run(cuda: Cuda, rows: int, order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From one query vector, where four warps share the tokens, to more vectors than one unit takes."""
    monkeypatch.setenv("MINIAPR_EMULATE_ORDER", order)
    for dtype, version in ((torch.bfloat16, 4), (torch.bfloat16, 3), (torch.float32, 2)):
        case = shared_case(Shape(dtype, 64, 16, 1, 3, rows=rows, seed=rows), 200)
        close(case, attend(cuda, case, version), version)


def shared_case(shape: Shape, length: int) -> Case:
    """All rows see one run, each a little less of it."""
    case = causal_case(dataclasses.replace(shape, rows=0), length, shape.rows)
    return dataclasses.replace(case, shape=shape)


@pytest.mark.parametrize("capability", [75, 80])
def test_older_gpus_have_a_version_for_everything(cuda: Cuda, capability: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIAPR_EMULATE_CAPABILITY", str(capability))
    case = in_storage_type(make_case(Shape(torch.float16, 64, 16, 2, 3, rows=5, longest=100)))
    close(case, attend(cuda, case))
    if capability < 80:
        with pytest.raises(ValueError, match=r"version = 4 cannot do .* compute capability 75"):
            attend(cuda, case, 4)


def test_an_empty_batch_and_rows_that_see_nothing(cuda: Cuda) -> None:
    case = make_case(Shape(torch.float32, rows=0))
    case = dataclasses.replace(case, plan=PlanBuilder().build())
    assert attend(cuda, case).shape == (0, 4, 8)
    builder = PlanBuilder()
    builder.end_rows(3)
    case = dataclasses.replace(make_case(Shape(torch.float32, rows=3)), plan=builder.build())
    assert (attend(cuda, case) == 0).all()


@pytest.mark.parametrize("version", [1, 2, 3, 4])
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_no_value_of_an_unused_slot_matters(cuda: Cuda, version: int, value: float) -> None:
    case = make_case(Shape(torch.float16, 64, 16, longest=100, rows=8))
    before = attend(cuda, case, version)
    for cache in (case.k_cache, case.v_cache):
        cache[cache.isnan()] = value
    assert torch.equal(attend(cuda, case, version), before)


@pytest.mark.parametrize("version", [1, 2, 3, 4])
@pytest.mark.parametrize("where", ["keys", "values"])
def test_a_nan_that_is_seen_shows(cuda: Cuda, version: int, where: str) -> None:
    case = causal_case(Shape(torch.float16, 64, 16), 20, 1)
    assert attend(cuda, case, version).isfinite().all()
    run = case.seen[0][0][0]
    slot = run.first + 20
    if where == "keys":
        case.k_cache[run.blocks[slot // 16], :, :, slot % 16] = torch.nan
    else:
        case.v_cache[run.blocks[slot // 16], :, slot % 16] = torch.nan
    assert attend(cuda, case, version).isnan().all()


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_caches_and_queries_may_be_views(cuda: Cuda, version: int) -> None:
    """A layer of a bigger pool, and queries inside a wider tensor; also where they allow no 16 bytes at once."""
    case = make_case(Shape(torch.float16, 64, 16, 2, 3, rows=5, longest=100))
    expected = attend(cuda, case, version)
    for extra in (3, 8):  # elements between blocks: an odd number of 16 bytes, or a whole one
        k = torch.full((len(case.k_cache), case.k_cache[0].numel() + extra), torch.nan, dtype=torch.float16)
        v, q = torch.full_like(k, torch.nan), torch.full((5, 9, 64), torch.nan)
        k[:, extra:], v[:, extra:], q[:, 2:8] = case.k_cache.flatten(1), case.v_cache.flatten(1), case.q
        view = dataclasses.replace(
            case,
            q=q[:, 2:8],
            k_cache=k[:, extra:].unflatten(1, case.k_cache.shape[1:]),
            v_cache=v[:, extra:].unflatten(1, case.v_cache.shape[1:]),
        )
        assert torch.equal(attend(cuda, view, version), expected)


# A plan with room for more, as a captured graph reads it


@pytest.mark.parametrize("version", [1, 3, 4])
def test_a_plan_with_room_is_overwritten_by_the_next(cuda: Cuda, version: int) -> None:
    """Addresses stay; what an earlier step left behind in the list and in the scratch memory does not matter."""
    shape = Shape(torch.float16, 64, 16, 2, 3, rows=12, longest=300, shifts=(0, -4, 9), seed=3)
    large = make_case(shape)
    plan = cuda.device_plan(large.plan, large.q, large.k_cache)
    room = dataclasses.replace(plan.room, rows=14, entries=plan.room.entries + 100, units=plan.room.units + 7)
    plan = cuda.device_plan(large.plan, large.q, large.k_cache, room)
    address = plan.buffer.data_ptr(), plan.value.data_ptr(), plan.lse.data_ptr()
    small, nothing = (
        make_case(dataclasses.replace(shape, rows=2, longest=30)),
        make_case(dataclasses.replace(shape, rows=0)),
    )
    for case in (large, small, nothing, large):
        # As in a graph the pool is one; cases share sizes but not blocks, so each brings its own content.
        k, v = torch.full_like(large.k_cache, torch.nan), torch.full_like(large.v_cache, torch.nan)
        k[: len(case.k_cache)], v[: len(case.v_cache)] = case.k_cache, case.v_cache
        rows = len(case.q)
        q = torch.cat((case.q, torch.full((14 - rows, 6, 64), torch.nan)))
        tables = (torch.cat((t, torch.full((3, 32), torch.nan)))[:3] for t in (case.cos, case.sin))
        plan.update(case.plan)
        got = cuda.paged_attention(q, k, v, plan, *tables, shape.interleaved, version)
        close(case, got[:rows], version)
        assert (got[rows:] == 0).all()
    assert address == (plan.buffer.data_ptr(), plan.value.data_ptr(), plan.lse.data_ptr())


def test_a_plan_that_does_not_fit_its_room_is_refused(cuda: Cuda) -> None:
    large = make_case(Shape(torch.float16, 64, 16, rows=9, longest=200, shifts=(0, 5)))
    small = make_case(Shape(torch.float16, 64, 16, rows=1, longest=10))
    plan = cuda.device_plan(small.plan, small.q, large.k_cache)
    with pytest.raises(ValueError, match="is less than the plan's 9"):
        plan.update(large.plan)
    plan = cuda.device_plan(small.plan, small.q, large.k_cache, dataclasses.replace(plan.room, rows=9, entries=100))
    with pytest.raises(ValueError, match=r"plan needs \d+ units, there is room for 2"):
        plan.update(large.plan)


def test_long_contexts_are_cut_and_prefill_is_not_cut_further(cuda: Cuda) -> None:
    """One row on a long run is many units; many rows on it are no more partial results than they must be."""
    one = causal_case(Shape(torch.float16, 64, 16, 1, 1), 3000, 1)
    alone = cuda.device_plan(one.plan, one.q, one.k_cache).room
    assert alone.units == alone.states > 2
    many = causal_case(Shape(torch.float16, 64, 16, 1, 1), 3000, 640)
    room = cuda.device_plan(many.plan, many.q, many.k_cache).room
    assert room.states == 640 * math.ceil(room.units / 10) and room.units <= 10 * alone.units


# Arguments that are wrong


def test_wrong_arguments_are_refused(cuda: Cuda) -> None:
    case = make_case(Shape(torch.float16, 64, 16, 2, 3, rows=5, shifts=(7,)))
    q, k = case.q, case.k_cache
    cases = {
        "version = 5, expected 1 to 4": {"version": 5},
        r"q has 4 rows, the plan has 5": {"q": q[:4]},
        r"q has 5 heads, not a multiple of the 2 of k_cache": {"q": q[:, :5]},
        r"q is torch.bfloat16, expected torch.float32 or torch.float16": {"q": q.bfloat16()},
        r"q is float32 \[5, 6, 32\] .*expected \[rows, heads, 64\]": {"q": q[..., :32]},
        r"v_cache is .*to go with k_cache": {"v_cache": case.v_cache[:3]},
        r"k_cache is float64": {"k_cache": k.double()},
        r"shift_cos is float32 \[0, 32\] .*the plan has 1 shifts": {
            "shift_cos": case.cos[:0],
            "shift_sin": case.sin[:0],
        },
        r"plan.blocks\[\d+\] = \d+ is out of range": {"k_cache": k[:3], "v_cache": case.v_cache[:3]},
    }
    arguments = {
        "q": q, "k_cache": k, "v_cache": case.v_cache, "plan": case.plan, "shift_cos": case.cos, "shift_sin": case.sin,
        "interleaved": False, "version": 0,
    }  # fmt: skip
    for message, wrong in cases.items():
        with pytest.raises(ValueError, match=message):
            cuda.paged_attention(**{**arguments, **wrong})  # type: ignore[arg-type]
