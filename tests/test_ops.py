"""Every backend against dense attention in float64, over every awkward size."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from helpers import backend_or_skip, stored
from hypothesis import given, settings
from hypothesis import strategies as st
from paged_case import Case, Shape, causal_case, make_case, turn

from miniapr.kernels.tolerances import DTYPES, TOLERANCE, arithmetic
from miniapr.ops import Operations, PlanBuilder, reference

SHAPES = st.builds(
    Shape,
    dtype=st.sampled_from(DTYPES),
    head_dim=st.sampled_from((2, 6, 8, 16, 64, 80)),
    block_size=st.sampled_from((1, 2, 3, 8, 16)),
    kv_heads=st.integers(1, 3),
    group=st.sampled_from((1, 2, 3, 8)),
    interleaved=st.booleans(),
    rows=st.integers(0, 9),
    longest=st.sampled_from((1, 5, 16, 48, 150)),
    shifts=st.sampled_from(((0,), (5,), (-3, 0), (0, 7, -2, 100))),
    seed=st.integers(0, 10_000),
)


@pytest.fixture(scope="module", params=["reference", "cpp", "cuda (emulated)"])
def backend(request: pytest.FixtureRequest) -> Operations:
    """As in conftest.py, once per module: operations have no state that a generated input could leave behind."""
    return backend_or_skip(request.param)


def close(case: Case, got: torch.Tensor) -> None:
    assert got.shape == case.q.shape and got.dtype == case.q.dtype
    torch.testing.assert_close(
        got.double(), case.expected(), rtol=0, atol=TOLERANCE["paged_attention"][case.shape.dtype]
    )


@given(shape=SHAPES)
def test_F65_F69_attention_is_dense_attention(backend: Operations, shape: Shape) -> None:
    case = make_case(dataclasses.replace(shape, dtype=stored(backend, shape.dtype)))
    close(case, case.run(backend))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("head_dim", [2, 6, 64, 80, 128])
@pytest.mark.parametrize("group", [1, 3, 8])
def test_F69_sizes(backend: Operations, dtype: torch.dtype, head_dim: int, group: int) -> None:
    for block_size in (1, 2, 3, 16):
        shape = Shape(
            stored(backend, dtype), head_dim, block_size, 2, group, False, 5, 33, (0, -4), seed=head_dim + group
        )
        case = make_case(shape)
        close(case, case.run(backend))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("prefix, chunk", [(0, 1), (0, 70), (63, 1), (64, 64), (500, 30), (1030, 3)])
def test_F61_a_chunk_of_a_prompt_is_causal(backend: Operations, dtype: torch.dtype, prefix: int, chunk: int) -> None:
    """Lengths around the tiles of 64 and the chunks of 512 tokens, and more rows than one unit of work takes."""
    for block_size, shift in ((16, 0), (3, 9)):
        case = causal_case(Shape(stored(backend, dtype), 16, block_size, 2, 3, True, shifts=(shift,)), prefix, chunk)
        close(case, case.run(backend))


def test_F69_lengths_that_are_multiples_of_the_block(backend: Operations) -> None:
    for tokens in (16, 32, 64, 512, 1024):
        case = causal_case(Shape(torch.float32, 64, 16, 1, 1, seed=tokens), tokens - 1, 1)
        close(case, case.run(backend))


def test_blocks_longer_than_a_tile(backend: Operations) -> None:
    """The first token may be further into its block than a whole tile, or a whole chunk."""
    for seed in range(6):
        case = make_case(Shape(stored(backend, torch.float64), 4, 700, 1, 2, False, 4, 300, (0, 3), seed))
        close(case, case.run(backend))


def test_F69_an_empty_batch(backend: Operations) -> None:
    shape = Shape(stored(backend, torch.float64), rows=0)
    case = dataclasses.replace(make_case(shape), plan=PlanBuilder().build())
    assert case.run(backend).shape == case.q.shape == (0, 4, 8)


def test_F71_a_row_that_sees_nothing_gives_zeros(backend: Operations) -> None:
    shape = Shape(torch.float32)
    builder = PlanBuilder()
    builder.end_rows(2)
    case = dataclasses.replace(make_case(dataclasses.replace(shape, rows=2)), plan=builder.build())
    assert (case.run(backend) == 0).all()


@pytest.mark.parametrize("where", ["keys", "values"])
def test_F65_unwritten_slots_may_be_nan_but_written_ones_are_seen(backend: Operations, where: str) -> None:
    """The control: NaN in a slot that is visible does reach the output, so the pool above was really poisoned."""
    case = causal_case(Shape(torch.float32, 64, 16), 20, 1)
    assert case.run(backend).isfinite().all()
    run = case.seen[0][0][0]
    slot = run.first + 20
    if where == "keys":
        case.k_cache[run.blocks[slot // 16], :, :, slot % 16] = torch.nan
    else:
        case.v_cache[run.blocks[slot // 16], :, slot % 16] = torch.nan
    assert case.run(backend).isnan().all()


@pytest.mark.parametrize("value", [torch.inf, torch.nan, 3e38])
def test_F65_no_value_of_an_unused_slot_matters(backend: Operations, value: float) -> None:
    case = make_case(Shape(torch.float32, 64, 16, longest=100, rows=8))
    before = case.run(backend)
    for cache in (case.k_cache, case.v_cache):
        cache[cache.isnan()] = value
    assert torch.equal(case.run(backend), before)


def test_very_large_scores_do_not_overflow(backend: Operations) -> None:
    case = causal_case(Shape(torch.float32, 16, 16), 100, 2)
    case = dataclasses.replace(case, q=case.q * 1e4)
    torch.testing.assert_close(case.run(backend).double(), case.expected(), rtol=0, atol=1e-2)


def test_batch_mates_change_nothing(backend: Operations) -> None:
    """A row of many gets the very bits that it gets alone in C++: its work is cut by its own runs only."""
    shape = Shape(torch.float32, 64, 16, 2, 3)
    case = causal_case(shape, 600, 20)
    together = case.run(backend)
    for row in (0, 7, 19):
        alone = PlanBuilder()
        ((run, visible, shift),) = case.seen[row]
        alone.see("prompt", run.blocks, run.first, visible, shift, 1, 0)
        alone.end_rows(1)
        one = dataclasses.replace(case, q=case.q[row : row + 1], plan=alone.build())
        got = one.run(backend)[0]
        if backend.name == "cpp":
            assert torch.equal(got, together[row])
        torch.testing.assert_close(got, together[row], rtol=0, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_nothing(backend: Operations, threads: int) -> None:
    case = causal_case(Shape(torch.float32, 64, 16, 4, 3), 3000, 8)
    expected, before = case.run(backend), torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        torch.testing.assert_close(case.run(backend), expected, rtol=0, atol=0 if backend.name == "cpp" else 1e-5)
    finally:
        torch.set_num_threads(before)


def test_F54_bfloat16_queries_and_output(backend: Operations) -> None:
    case = make_case(Shape(torch.bfloat16, 64, 16, longest=100, rows=6))
    case = dataclasses.replace(case, q=case.q.bfloat16())
    got = case.run(backend)
    assert got.dtype == torch.bfloat16
    atol = TOLERANCE["paged_attention, q and out in bfloat16"][torch.bfloat16]
    torch.testing.assert_close(got.double(), case.expected(), rtol=0, atol=atol)


# The other operations


@given(
    dtype=st.sampled_from(DTYPES),
    block_size=st.sampled_from((1, 2, 3, 16)),
    rows=st.integers(0, 12),
    sizes=st.tuples(st.integers(1, 3), st.sampled_from((2, 6, 64))),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40)
def test_F68_write_kv(
    backend: Operations, dtype: torch.dtype, block_size: int, rows: int, sizes: tuple[int, int], seed: int
) -> None:
    """Each token lands in its slot, -1 is not stored, and nothing else changes."""
    (heads, depth), dtype = sizes, stored(backend, dtype)
    generator = torch.Generator().manual_seed(seed)
    k, v = (torch.randn(rows, heads, depth, generator=generator).to(arithmetic(dtype)) for _ in "kv")
    k_cache = torch.full((9, heads, depth, block_size), 7.0, dtype=dtype)
    v_cache = torch.full((9, heads, block_size, depth), 7.0, dtype=dtype)
    slots = torch.randperm(9 * block_size, generator=generator)[:rows]
    k, v, rows = k[: len(slots)], v[: len(slots)], len(slots)
    slots[torch.rand(rows, generator=generator) < 0.2] = -1
    backend.write_kv(k, v, k_cache, v_cache, slots)
    k_expected, v_expected = torch.full_like(k_cache, 7), torch.full_like(v_cache, 7)
    for row, slot in enumerate(slots.tolist()):
        if slot >= 0:
            k_expected[slot // block_size, :, :, slot % block_size] = k[row].to(dtype)
            v_expected[slot // block_size, :, slot % block_size] = v[row].to(dtype)
    assert torch.equal(k_cache, k_expected) and torch.equal(v_cache, v_expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block_size", [1, 3, 16])
def test_copy_blocks(backend: Operations, dtype: torch.dtype, block_size: int) -> None:
    dtype = stored(backend, dtype)
    k = torch.randn(3, 10, 2, 6, block_size).to(dtype)
    v = torch.randn(3, 10, 2, block_size, 6).to(dtype)
    k_before, v_before = k.clone(), v.clone()
    source, target = torch.tensor([4, 0, 4]), torch.tensor([9, 1, 3])
    backend.copy_blocks(k, v, source, target)
    for cache, before in ((k, k_before), (v, v_before)):
        assert torch.equal(cache[:, target], before[:, source])
        kept = [b for b in range(10) if b not in target.tolist()]
        assert torch.equal(cache[:, kept], before[:, kept])
    empty = torch.empty(0, dtype=torch.int64)
    backend.copy_blocks(k, v, empty, empty)


@pytest.mark.parametrize("distance", [1, -1, 2])
def test_F53_moves_that_overlap_are_refused_in_both_directions(backend: Operations, distance: int) -> None:
    """Blocks moved up or down by less than their number: done in any one order, some would be read after they had been
    written. Nothing is changed; block by block, from the right end, it is what moving a list gives."""
    if backend.name == "reference":
        pytest.skip("the reference reads all of the sources before it writes")
    k, table = torch.randn(2, 8, 1, 6, 4), (torch.ones(1, 3), torch.zeros(1, 3))
    v, which = k.mT.contiguous(), torch.zeros(3, dtype=torch.int64)
    before, source = (k.clone(), v.clone()), torch.tensor([3, 4, 5])
    for order in (torch.tensor([0, 1, 2]), torch.tensor([2, 1, 0]), torch.tensor([1, 2, 0])):
        lists = source[order], source[order] + distance
        with pytest.raises(ValueError, match="is a target as well"):
            backend.copy_blocks(k, v, *lists)
        with pytest.raises(ValueError, match="is a target as well"):
            backend.copy_and_shift(k, v, *lists, which, *table, False)
        assert torch.equal(k, before[0]) and torch.equal(v, before[1])
    expected = before[0].clone()
    expected[:, source + distance] = before[0][:, source]
    for block in sorted(source.tolist(), reverse=distance > 0):
        backend.copy_blocks(k, v, torch.tensor([block]), torch.tensor([block + distance]))
    assert torch.equal(k, expected) and torch.equal(v, expected.mT)


@pytest.mark.parametrize("interleaved", [False, True])
def test_F53_keys_that_pass_each_other_keep_their_own(backend: Operations, interleaved: bool) -> None:
    """Neighbouring blocks turned to each other's positions at once, in both directions: on the way two would have the
    same position. Each is what it is when it is turned alone."""
    dtype = stored(backend, torch.float64)
    k = torch.randn(2, 5, 2, 6, 4).to(dtype)
    alone, angle = k.clone(), torch.tensor([[4.0], [-4.0], [8.0]]) * torch.tensor([1.0, 0.3, 0.1])
    tables = angle.cos().to(arithmetic(dtype)), angle.sin().to(arithmetic(dtype))
    blocks, which = torch.tensor([1, 2, 0, 4]), torch.tensor([0, 1, 2, 1])
    backend.shift_keys(k, blocks, which, *tables, interleaved)
    for i in (2, 0, 3, 1):
        backend.shift_keys(alone, blocks[i : i + 1], which[i : i + 1], *tables, interleaved)
    assert torch.equal(k, alone)
    backend.shift_keys(alone, blocks, 1 - which.clamp(max=1), *tables, interleaved)
    assert not torch.equal(k, alone)  # the directions do differ


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block_size", [1, 3, 16])
@pytest.mark.parametrize("interleaved", [False, True])
def test_F51_F57_shift_keys(backend: Operations, dtype: torch.dtype, block_size: int, interleaved: bool) -> None:
    """Every layer, head and token of the named blocks is turned, in either pairing, and no other block."""
    depth, dtype = 10, stored(backend, dtype)
    k = torch.randn(3, 8, 2, depth, block_size).to(dtype)
    before, frequency = k.clone(), torch.rand(depth // 2, dtype=torch.float64)
    angle = torch.tensor([4.0, -11.0, 0.5], dtype=torch.float64)[:, None] * frequency
    cos, sin = angle.cos().to(arithmetic(dtype)), angle.sin().to(arithmetic(dtype))
    blocks, which = torch.tensor([5, 2, 7, 0]), torch.tensor([0, 2, 1, 0])
    backend.shift_keys(k, blocks, which, cos, sin, interleaved)
    for block, row in zip(blocks.tolist(), which.tolist(), strict=True):
        expected = turn(before[:, block].double().transpose(-1, -2), angle[row], interleaved).transpose(-1, -2)
        other = turn(before[:, block].double().transpose(-1, -2), angle[row], not interleaved).transpose(-1, -2)
        tolerance = TOLERANCE["shift_keys"][dtype]
        torch.testing.assert_close(k[:, block].double(), expected, rtol=0, atol=tolerance)
        assert (k[:, block].double() - other).abs().max() > 0.1  # F57: the two pairings do differ
    assert torch.equal(k[:, [1, 3, 4, 6]], before[:, [1, 3, 4, 6]])


@given(
    dtype=st.sampled_from(DTYPES),
    sizes=st.tuples(st.sampled_from((2, 6, 64, 80)), st.sampled_from((1, 2, 3, 16))),
    heads=st.integers(1, 3),
    moved=st.integers(0, 4),
    interleaved=st.booleans(),
    block_major=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60)
def test_F25_F50_copy_and_shift(
    backend: Operations,
    dtype: torch.dtype,
    sizes: tuple[int, int],
    heads: int,
    moved: int,
    interleaved: bool,
    block_major: bool,
    seed: int,
) -> None:
    """Targets are the sources with their keys turned once, unwritten slots stay NaN, and no other block changes;
    in a pool laid out by layers or by blocks."""
    (depth, size), generator, dtype = sizes, torch.Generator().manual_seed(seed), stored(backend, dtype)
    k = torch.randn(9, 2, heads, depth, size, generator=generator).to(dtype)
    v = torch.randn(9, 2, heads, size, depth, generator=generator).to(dtype)
    k[..., size // 2 + 1 :], v[..., size // 2 + 1 :, :] = torch.nan, torch.nan
    k, v = k.transpose(0, 1), v.transpose(0, 1)  # [L, NB, ...]
    if not block_major:
        k, v = k.contiguous(), v.contiguous()
    k_before, v_before = k.clone(), v.clone()
    order = torch.randperm(9, generator=generator)
    source, target = order[:4].repeat(2)[:moved], order[4:][:moved]  # a source may be copied twice
    which = torch.randint(3, (moved,), generator=generator)
    frequency = torch.rand(depth // 2, generator=generator, dtype=torch.float64)
    angle = torch.tensor([0.0, 4.0, -11.0], dtype=torch.float64)[:, None] * frequency  # [3, D / 2]
    cos, sin = angle.cos().to(arithmetic(dtype)), angle.sin().to(arithmetic(dtype))
    backend.copy_and_shift(k, v, source, target, which, cos, sin, interleaved)
    tolerance = TOLERANCE["copy_and_shift"][dtype]
    for a, b, row in zip(source.tolist(), target.tolist(), which.tolist(), strict=True):
        expected = turn(k_before[:, a].double().transpose(-1, -2), angle[row], interleaved).transpose(-1, -2)
        torch.testing.assert_close(k[:, b].double(), expected, rtol=0, atol=tolerance, equal_nan=True)
        torch.testing.assert_close(v[:, b], v_before[:, a], rtol=0, atol=0, equal_nan=True)
    kept = sorted(set(range(9)) - set(target.tolist()))
    torch.testing.assert_close(k[:, kept], k_before[:, kept], rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(v[:, kept], v_before[:, kept], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_F50_F54_shifts_add_up(backend: Operations, dtype: torch.dtype) -> None:
    """shift(a) eight times = shift(8 a), within what the storage type loses; and it is not shift(a)."""
    dtype = stored(backend, dtype)
    k = torch.randn(2, 4, 2, 16, 3).to(dtype)
    many, once, single = k.clone(), k.clone(), k.clone()
    frequency = torch.rand(8, dtype=torch.float64)
    blocks, which = torch.arange(4), torch.zeros(4, dtype=torch.int64)

    def shift(cache: torch.Tensor, by: int) -> None:
        angle = (by * frequency)[None].to(arithmetic(dtype))
        backend.shift_keys(cache, blocks, which, angle.cos(), angle.sin(), False)

    for _ in range(8):
        shift(many, 3)
    shift(once, 24)
    shift(single, 3)
    tolerance = TOLERANCE["shift_keys, eight times"][dtype]
    torch.testing.assert_close(many.double(), once.double(), rtol=0, atol=tolerance)
    assert (many.double() - single.double()).abs().max() > 2 * tolerance
    shift(once, 0)
    torch.testing.assert_close(many.double(), once.double(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("interleaved", [False, True])
def test_a_shift_in_the_plan_is_a_shift_of_the_keys(backend: Operations, interleaved: bool) -> None:
    """Stitching by rotating the query = stitching by turning the stored keys."""
    dtype = torch.float32 if backend.name == "cuda (emulated)" else torch.float64
    case = causal_case(Shape(dtype, 8, 3, interleaved=interleaved, shifts=(-9,)), 20, 4)
    by_query = case.run(backend)
    run = case.seen[0][0][0]
    blocks = torch.tensor([b for b in run.blocks if b < len(case.k_cache)])
    angle = (-9 * case.frequency)[None]
    stack = case.k_cache[None]
    backend.shift_keys(stack, blocks, torch.zeros_like(blocks), angle.cos(), angle.sin(), interleaved)
    still = dataclasses.replace(case.plan, shifts=torch.zeros_like(case.plan.shifts))
    by_keys = dataclasses.replace(case, k_cache=stack[0], plan=still).run(backend)
    torch.testing.assert_close(by_query, by_keys, rtol=0, atol=1e-12 if dtype == torch.float64 else 1e-5)


@given(shape=SHAPES)
def test_cpp_is_the_reference(shape: Shape) -> None:
    native = backend_or_skip("cpp")
    case = make_case(shape)
    tolerance = TOLERANCE["paged_attention"][shape.dtype]
    torch.testing.assert_close(case.run(native), case.run(reference), rtol=0, atol=tolerance)
