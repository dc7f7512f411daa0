"""The C++ operations: what they refuse, what they must not touch, and that torch knows them."""

from __future__ import annotations

import dataclasses
import mmap
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers import backend_or_skip
from paged_case import NOWHERE, Case, Shape, causal_case, make_case
from torch import Tensor

from miniapr.ops import AttentionPlan, Operations, PlanBuilder, available, backends, load, reference


@pytest.fixture(scope="module", params=["cpp", "cuda (emulated)"])
def native(request: pytest.FixtureRequest) -> Operations:
    """Every compiled backend; on a GPU the arguments would be elsewhere, so there it is the emulated one."""
    return backend_or_skip(request.param)


def call(native: Operations, **changes: Any) -> Tensor:
    """Attention on a small case, with some arguments replaced."""
    case = causal_case(Shape(torch.float32, 8, 4, 2, 2, shifts=(3,)), 9, 2)
    arguments = {
        "q": case.q, "k_cache": case.k_cache, "v_cache": case.v_cache, "plan": case.plan,
        "shift_cos": case.cos, "shift_sin": case.sin, "interleaved": False,
    }  # fmt: skip
    plan = {name: changes.pop(name) for name in list(changes) if name in AttentionPlan.__dataclass_fields__}
    for name, new in {**changes, **plan}.items():
        if callable(new):
            old = arguments[name] if name in arguments else getattr(case.plan, name)
            (plan if name in plan else changes)[name] = new(old)
    arguments.update(changes)
    if plan:
        arguments["plan"] = dataclasses.replace(case.plan, **plan)
    return native.paged_attention(**arguments)


def test_the_call_that_the_refusals_vary_is_fine(native: Operations) -> None:
    assert call(native).isfinite().all()


def put(index: int, value: int) -> Callable[[Tensor], Tensor]:
    def change(x: Tensor) -> Tensor:
        x = x.clone()
        x[index] = value
        return x

    return change


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("q", lambda x: x.double(), r"q is torch\.float64"),
        ("q", lambda x: x[:, :3], "q has 3 heads"),
        ("q", lambda x: x[..., :6], r"q is float32 \[2, 4, 6\]"),
        ("q", lambda x: x[:1], "q has 1 rows, the plan has 2"),
        ("q", lambda x: x[0], "q is"),
        ("q", lambda x: x.to("meta"), "meta"),
        ("k_cache", lambda x: x.long(), "k_cache is int64"),
        ("k_cache", lambda x: x[0], "k_cache is"),
        ("k_cache", lambda x: x.transpose(-1, -2), "v_cache is"),
        ("k_cache", lambda x: x.to("meta"), "meta"),
        ("v_cache", lambda x: x.bfloat16(), "v_cache is bfloat16"),
        ("v_cache", lambda x: x[:-1], "v_cache is"),
        ("v_cache", lambda x: x.transpose(-1, -2).contiguous().transpose(-1, -2), "v_cache has strides"),
        ("shift_cos", lambda x: x[:, :-1], r"shift_cos is float32 \[1, 3\]"),
        ("shift_sin", lambda x: x[:0], "shift_sin is"),
        ("shift_sin", lambda x: x.long(), "shift_sin is int64"),
        ("blocks", lambda x: x.long(), "plan.blocks is int64"),
        ("blocks", put(0, -1), r"plan.blocks\[0\] = -1"),
        ("blocks", put(0, 10**6), r"plan.blocks\[0\] = 1000000"),
        ("blocks", lambda x: x[:1], r"plan.block_ptr ends at"),
        ("block_ptr", put(0, 1), r"plan.block_ptr\[0\] = 1"),
        ("block_ptr", put(1, 1), r"plan.block_ptr ends at 1"),
        ("block_ptr", lambda x: x[:1], "plan.block_ptr has 1 entries, expected 2"),
        ("edge_ptr", put(1, 1), "plan.edge_ptr ends at 1, expected 2"),
        ("first", put(0, 4), r"plan.first\[0\] = 4"),
        ("first", put(0, -1), r"plan.first\[0\] = -1"),
        ("edge_row", put(0, 2), r"plan.edge_row\[0\] = 2"),
        ("edge_row", put(0, -1), r"plan.edge_row\[0\] = -1"),
        ("edge_row", put(0, 1), r"plan.row_edges\[0\] = 0 does not belong to row 0"),
        ("edge_visible", put(0, 0), r"plan.edge_visible\[0\] = 0"),
        ("edge_visible", put(0, 1000), "needs 2.. blocks of 4 but lists"),
        ("edge_visible", put(0, NOWHERE), r"plan.edge_visible\[0\] = 2147483647"),
        ("edge_shift", put(0, 1), r"plan.edge_shift\[0\] = 1"),
        ("edge_shift", lambda x: x[:1], "plan.edge_shift has 1 entries"),
        ("row_ptr", put(1, 3), "plan.row_ptr decreases"),
        ("row_edges", put(1, 0), "plan.row_edges"),
        ("row_edges", put(1, 9), r"plan.row_edges\[1\] = 9"),
        ("row_edges", lambda x: torch.stack((x, x), 1)[:, 0], "plan.row_edges is int32"),
    ],
)
def test_F67_F68_attention_refuses(
    native: Operations, name: str, change: Callable[[Tensor], Tensor], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        call(native, **{name: change})


def test_F68_fewer_turns_than_shifts(native: Operations) -> None:
    case = make_case(Shape(torch.float32, shifts=(0, 7, -2), rows=9))
    assert len(case.plan.shifts) > 1
    with pytest.raises(ValueError, match=r"shift_cos (has 1 rows|is float32 \[1, 4\] on cpu, the plan has 3)"):
        dataclasses.replace(case, cos=case.cos[:1], sin=case.sin[:1]).run(native)


@pytest.fixture
def layer() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """k, v [3, 2, 4] and a layer of 5 blocks of 2."""
    return torch.randn(3, 2, 4), torch.randn(3, 2, 4), torch.zeros(5, 2, 4, 2), torch.zeros(5, 2, 2, 4)


@pytest.mark.parametrize(
    "slots, message",
    [
        (torch.tensor([0, 1, 10]), r"slots\[2\] = 10"),
        (torch.tensor([0, -2, 1]), r"slots\[1\] = -2"),
        (torch.tensor([0, 1, 2**62]), "slots"),
        (torch.tensor([0, 1, 2], dtype=torch.int32), "slots is int32"),
        (torch.tensor([[0], [1], [2]]), "slots is"),
        (torch.tensor([0, 1]), r"k is float32 \[3, 2, 4\]"),
        (torch.arange(6)[::2], "slots is"),
    ],
)
def test_F68_write_kv_refuses_and_writes_nothing(
    native: Operations, layer: tuple[Tensor, Tensor, Tensor, Tensor], slots: Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        native.write_kv(*layer, slots)
    assert (layer[2] == 0).all() and (layer[3] == 0).all()
    native.write_kv(*layer, torch.tensor([9, -1, 0]))
    assert (layer[2] != 0).sum() == (layer[3] != 0).sum() == 16


@pytest.mark.parametrize(
    "source, target, message",
    [
        ([0, 1], [1, 2], r"source\[1\] = 1 is a target"),  # a chain
        ([0, 1], [1, 0], "is a target as well"),  # a swap
        ([0, 1], [2, 2], r"target\[1\] = 2 is written twice"),
        ([3], [3], "is a target as well"),
        ([0], [4], r"target\[0\] = 4"),
        ([-1], [2], r"source\[0\] = -1"),
        ([0, 1], [2], "source has 2 entries, target has 1"),
    ],
)
def test_F25_copies_refuse_chains_and_repeats(
    native: Operations, source: list[int], target: list[int], message: str
) -> None:
    k, v, table = torch.randn(2, 4, 1, 2, 3), torch.randn(2, 4, 1, 3, 2), torch.ones(1, 1)
    before, lists = (k.clone(), v.clone()), (torch.tensor(source), torch.tensor(target))
    with pytest.raises(ValueError, match=message):
        native.copy_blocks(k, v, *lists)
    with pytest.raises(ValueError, match=message):
        native.copy_and_shift(k, v, *lists, torch.zeros_like(lists[0]), table, table, False)
    assert torch.equal(k, before[0]) and torch.equal(v, before[1])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"turn": torch.tensor([0, 2])}, r"turn\[1\] = 2"),
        ({"turn": torch.tensor([-1, 0])}, r"turn\[0\] = -1"),
        ({"turn": torch.tensor([0])}, "source has 2 entries, turn has 1"),
        ({"turn": torch.tensor([0.0, 1.0])}, "turn is float32"),
        ({"source": torch.tensor([0, 1], dtype=torch.int32)}, "source is int32"),
        ({"source": torch.tensor([0, 1], device="meta")}, "source is .* on meta"),
        ({"target": torch.arange(2, 5)[::2]}, "target is"),
        ({"shift_cos": torch.ones(2, 1)}, r"shift_cos is float32 \[2, 1\]"),
        ({"shift_sin": torch.ones(1, 2)}, "shift_sin is"),
        ({"k_cache": torch.zeros(2, 5, 1, 3, 3), "v_cache": torch.zeros(2, 5, 1, 3, 3)}, "head size 3 is not even"),
        ({"k_cache": torch.zeros(2, 5, 1, 4, 3, device="meta")}, "k_cache is .* on meta"),
        ({"k_cache": torch.zeros(2, 5, 1, 3, 4).mT}, "k_cache has strides"),
        ({"v_cache": torch.zeros(2, 5, 1, 4, 3)}, "v_cache is"),
        ({"v_cache": torch.zeros(2, 5, 1, 3, 4).bfloat16()}, "v_cache is"),
    ],
)
def test_F67_F68_copy_and_shift_refuses(native: Operations, change: dict[str, Tensor], message: str) -> None:
    table = torch.ones(2, 2)
    arguments = {
        "k_cache": torch.randn(2, 5, 1, 4, 3), "v_cache": torch.randn(2, 5, 1, 3, 4), "source": torch.tensor([0, 1]),
        "target": torch.tensor([3, 2]), "turn": torch.tensor([1, 0]), "shift_cos": table, "shift_sin": table,
    }  # fmt: skip
    native.copy_and_shift(**arguments, interleaved=False)  # the call that is varied is fine
    k, v = arguments["k_cache"].clone(), arguments["v_cache"].clone()
    with pytest.raises(ValueError, match=message):
        native.copy_and_shift(**{**arguments, **change}, interleaved=False)
    assert torch.equal(k, arguments["k_cache"]) and torch.equal(v, arguments["v_cache"])


def test_copy_blocks_refuses_caches_that_do_not_go_together(native: Operations) -> None:
    k, v, one = torch.randn(2, 4, 1, 2, 3), torch.randn(2, 4, 1, 3, 2), torch.tensor([1])
    for bad_k, bad_v in ((k, v[:1]), (k, v.double()), (k, k), (k[0], v[0]), (k.long(), v.long()), (k.mT, v.mT)):
        with pytest.raises(ValueError, match="_cache"):
            native.copy_blocks(bad_k, bad_v, one, one + 1)


@pytest.mark.parametrize(
    "blocks, turn, message",
    [
        ([1, 1], [0, 0], r"blocks\[1\] = 1 is listed twice"),
        ([5], [0], r"blocks\[0\] = 5"),
        ([1], [2], r"turn\[0\] = 2"),
        ([1], [-1], r"turn\[0\] = -1"),
        ([1, 2], [0], "blocks has 2 entries, turn has 1"),
    ],
)
def test_F58_F68_shift_keys_refuses(native: Operations, blocks: list[int], turn: list[int], message: str) -> None:
    k, table = torch.randn(2, 5, 1, 4, 3), torch.ones(2, 2)
    before = k.clone()
    with pytest.raises(ValueError, match=message):
        native.shift_keys(k, torch.tensor(blocks), torch.tensor(turn), table, table, False)
    assert torch.equal(k, before)


def test_F55_an_odd_head_cannot_be_shifted(native: Operations) -> None:
    table, index = torch.ones(1, 1), torch.tensor([0])
    with pytest.raises(ValueError, match="head size 3 is not even"):
        native.shift_keys(torch.randn(1, 1, 1, 3, 2), index, index, table, table, False)


# Strides


def test_F67_views_of_a_bigger_pool(native: Operations) -> None:
    """Block-major layers: the stride between blocks is that of all layers; other layers are not touched."""
    case = make_case(Shape(torch.float32, 64, 16, longest=60))
    k = torch.full((len(case.k_cache), 3, *case.k_cache.shape[1:]), torch.nan)
    v = torch.full((len(case.v_cache), 3, *case.v_cache.shape[1:]), torch.nan)
    k[:, 1], v[:, 1] = case.k_cache, case.v_cache
    strided = dataclasses.replace(case, k_cache=k[:, 1], v_cache=v[:, 1])
    assert torch.equal(strided.run(native), case.run(native))
    new_k, new_v = torch.randn(1, 2, 64), torch.randn(1, 2, 64)
    native.write_kv(new_k, new_v, k[:, 2], v[:, 2], torch.tensor([37]))
    assert torch.equal(k[37 // 16, 2, :, :, 37 % 16], new_k[0]) and k[:, 2].isfinite().sum() == 128
    stack_k, stack_v = k.transpose(0, 1), v.transpose(0, 1)
    native.copy_blocks(stack_k, stack_v, torch.tensor([2]), torch.tensor([0]))
    assert torch.equal(k[0, 2], k[2, 2]) or k[2, 2].isnan().any()
    table = torch.ones(1, 32)
    before = k[2:4].clone(), v[2:4].clone()
    native.copy_and_shift(stack_k, stack_v, *(torch.tensor([n]) for n in (2, 3, 0)), -table, 0 * table, False)
    torch.testing.assert_close(k[3], -before[0][0], equal_nan=True)
    torch.testing.assert_close(v[3], before[1][0], equal_nan=True)
    torch.testing.assert_close(k[2], before[0][0], equal_nan=True)
    native.shift_keys(stack_k, torch.tensor([2]), torch.tensor([0]), -table, 0 * table, False)
    torch.testing.assert_close(k[2], -before[0][0], equal_nan=True)


def test_F67_queries_and_keys_that_are_slices_of_a_fused_projection(native: Operations) -> None:
    case = make_case(Shape(torch.float32, 16, 4, 2, 2, rows=5))
    fused = torch.randn(5, 4 + 2 + 2, 16)
    q, k, v = fused.split((4, 2, 2), dim=1)
    assert not q.is_contiguous()
    sliced = dataclasses.replace(case, q=q)
    assert torch.equal(sliced.run(native), dataclasses.replace(case, q=q.contiguous()).run(native))
    pools = [torch.zeros(9, 2, 16, 4), torch.zeros(9, 2, 4, 16)]
    native.write_kv(k, v, *pools, torch.arange(5))
    assert torch.equal(pools[1][:2].transpose(1, 2).reshape(8, 2, 16)[:5], v)


@pytest.mark.skipif(not hasattr(mmap, "MAP_ANONYMOUS"), reason="needs address space that is not backed by memory")
def test_F66_offsets_beyond_32_bits(native: Operations) -> None:
    """Blocks 2^30 elements apart: block 5 starts at 5 * 2^30. Only the pages that are used exist."""
    apart, heads, depth, size = 1 << 30, 1, 8, 4
    flags = (
        mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)
    )
    try:
        memory = [mmap.mmap(-1, (6 * apart + 4096) * 2, flags=flags) for _ in "kv"]
    except OSError as error:
        pytest.skip(f"no room in the address space: {error}")
    flat = [torch.frombuffer(m, dtype=torch.bfloat16) for m in memory]
    k = flat[0].as_strided((6, heads, depth, size), (apart, depth * size, size, 1))
    v = flat[1].as_strided((6, heads, size, depth), (apart, depth * size, depth, 1))
    new = torch.randn(3, heads, depth).bfloat16()
    slots = torch.tensor([5 * size, 5 * size + 1, 2 * size])  # 2 * 2^30 overflows 32 bits, 5 * 2^30 wraps
    native.write_kv(new, -new, k, v, slots)
    assert torch.equal(flat[0][5 * apart :][: depth * size].view(depth, size)[:, 0], new[0, 0])
    assert torch.equal(flat[1][2 * apart :][:depth], -new[2, 0])
    builder = PlanBuilder()
    builder.see("far", [5], 0, 2, 0, 1, 0)
    builder.end_rows(1)
    table = torch.ones(1, depth // 2)
    out = native.paged_attention(torch.zeros(1, 1, depth), k, v, builder.build(), table, table, False)
    torch.testing.assert_close(out[0, 0], -new[:2, 0].float().mean(0))
    native.copy_blocks(k[None], v[None], torch.tensor([5]), torch.tensor([3]))
    assert torch.equal(k[3], k[5]) and torch.equal(flat[0][3 * apart], new[0, 0, 0])
    native.shift_keys(k[None], torch.tensor([3]), torch.tensor([0]), -table, 0 * table, False)
    assert torch.equal(k[3], -k[5])
    native.copy_and_shift(k[None], v[None], *(torch.tensor([n]) for n in (5, 4, 0)), -table, 0 * table, False)
    assert torch.equal(k[4], -k[5]) and torch.equal(v[4], v[5]) and torch.equal(flat[0][4 * apart], -new[0, 0, 0])
    del k, v, out, flat


def test_F66_block_ids_beyond_16_bits(native: Operations) -> None:
    blocks = 70_000
    k, v = torch.zeros(blocks, 1, 2, 1), torch.zeros(blocks, 1, 1, 2)
    native.write_kv(torch.ones(1, 1, 2), torch.full((1, 1, 2), 5.0), k, v, torch.tensor([blocks - 1]))
    builder = PlanBuilder()
    builder.see("last", [blocks - 1], 0, 1, 0, 1, 0)
    builder.end_rows(1)
    table = torch.ones(1, 1)
    out = native.paged_attention(torch.ones(1, 1, 2), k, v, builder.build(), table, table, False)
    assert (out == 5).all() and k[blocks - 1 - 65_536].sum() == 0


def test_F37_listed_blocks_beyond_the_last_visible_token_are_not_looked_up(native: Operations) -> None:
    """The control: the same id within what is visible is refused."""
    case = causal_case(Shape(torch.float32, 8, 4), 10, 1)
    run = case.seen[0][0][0]
    real = [b for b in run.blocks if b != NOWHERE]
    for blocks, fine in (([*real, NOWHERE, -5], True), ([*real[:-1], NOWHERE], False)):
        builder = PlanBuilder()
        builder.see("run", blocks, run.first, 11, 0, 1, 0)
        builder.end_rows(1)
        poisoned = dataclasses.replace(case, plan=builder.build())
        if fine:
            assert torch.equal(poisoned.run(native), case.run(native))
        else:
            with pytest.raises(ValueError, match=r"plan\.blocks"):
                poisoned.run(native)


def test_a_plan_is_checked_once_and_then_its_own(native: Operations) -> None:
    """Changing a tensor of a used plan cannot make a kernel read elsewhere."""
    case = make_case(Shape(torch.float32))
    before = case.run(native)
    case.plan.blocks.fill_(NOWHERE)
    assert torch.equal(case.run(native), before)


# Instruction sets, threads, torch


@pytest.mark.parametrize("isa", ["portable", "avx2", "avx512", "avx512bf16"])
def test_every_instruction_set_gives_the_same(isa: str) -> None:
    """In processes of their own, since the choice is made once."""
    environment = {
        **os.environ,
        "MINIAPR_ISA": isa,
        "PYTHONPATH": os.pathsep.join([*sys.path, os.path.dirname(__file__)]),
    }
    done = python(CHECK_ISA, environment)
    if "MINIAPR_ISA" in done.stderr:
        pytest.skip(f"this processor does not run {isa}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [isa, "fine"]


def python(code: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """In a process of its own, not in the source tree: that would hide the installed package."""
    return subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        env=environment,
        cwd=os.path.dirname(__file__),
        capture_output=True,
        text=True,
    )


CHECK_ISA = """
import torch
from paged_case import Shape, make_case, causal_case
from miniapr.ops import load
from miniapr.kernels.tolerances import DTYPES, TOLERANCE
native = load("cpp")
torch.set_num_threads(1)
for dtype in DTYPES:
    for depth in (6, 16, 80):
        for size in (3, 8, 16):
            shape = Shape(dtype, depth, size, 2, 3, size == 3, 9, 70, (0, -4), depth + size)
            for case in (make_case(shape), causal_case(shape, 130, 9)):
                got = case.run(native).double()
                torch.testing.assert_close(got, case.expected(), rtol=0, atol=TOLERANCE["paged_attention"][dtype])
                k = torch.randn(1, 2, 2, depth, size).to(dtype)
                turned, index = k.clone(), torch.arange(2)
                cos, sin = torch.zeros(1, depth // 2), torch.ones(1, depth // 2)
                native.shift_keys(turned, index, 0 * index, cos, sin, False)
                assert torch.equal(turned[..., depth // 2 :, :], k[..., : depth // 2, :])
print(native.build_info()["instructions"], "fine")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/maps")
def test_one_openmp_runtime_for_torch_and_the_kernels() -> None:
    code = (
        "import torch, miniapr._native; torch.randn(300, 300) @ torch.randn(300, 300)\n"
        "maps = open('/proc/self/maps').read().split()\n"
        "print(len({name for name in maps if 'libgomp' in name or 'libomp' in name or 'libiomp' in name}))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = python(code, environment)
    assert done.stdout.strip() == "1", done.stdout + done.stderr


def test_F67_opcheck() -> None:
    """Torch's own checks: schema, mutated arguments, fake tensors, tracing."""
    from miniapr.ops import library

    case = causal_case(Shape(torch.float32, 8, 4, 2, 2, shifts=(3,)), 9, 2)
    k, v = torch.zeros(2, *case.k_cache.shape), torch.zeros(2, *case.v_cache.shape)
    one, table = torch.tensor([1]), torch.ones(1, 4)
    plan = library.plan_tensors(case.plan)
    k_cache, v_cache = case.k_cache.nan_to_num(), case.v_cache.nan_to_num()
    torch.library.opcheck(library.paged_attention, (case.q, k_cache, v_cache, plan, case.cos, case.sin, False))
    torch.library.opcheck(library.write_kv, (torch.randn(1, 2, 8), torch.randn(1, 2, 8), k[0], v[0], one))
    torch.library.opcheck(library.copy_blocks, (k, v, one, one + 1))
    torch.library.opcheck(library.shift_keys, (k, one, 0 * one, table, table, True))
    torch.library.opcheck(library.copy_and_shift, (k, v, one, one + 1, 0 * one, table, table, True))
    through_torch = torch.ops.miniapr.paged_attention(case.q, k_cache, v_cache, plan, case.cos, case.sin, False)
    assert torch.equal(through_torch, case.run(load("cpp")))


# Choosing a backend


def test_backends_by_name() -> None:
    assert load("reference") is reference and load("cpp").name == load().name == "cpp"
    assert "gcc" in available()["cpp"] or "clang" in available()["cpp"]
    with pytest.raises(ValueError, match="no backend 'opencl': there are auto, cpp, cuda, reference"):
        load("opencl")


def test_without_the_extension_the_reference_runs_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "miniapr._native", None)
    with pytest.warns(UserWarning, match="C\\+\\+ kernels are missing"):
        assert load("auto") is reference
    with pytest.raises(ImportError, match="backend 'cpp' is missing"):
        load("cpp")
    assert available()["cpp"].startswith("missing: ")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert backends.load("reference") is reference


def test_F65_poison_is_there() -> None:
    """The control of every poisoned pool: unused slots are NaN in both caches."""
    case: Case = make_case(Shape(torch.float32))
    assert case.k_cache.isnan().any() and case.v_cache.isnan().any()
