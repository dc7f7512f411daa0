"""The CUDA kernels on a GPU, against the reference on the CPU: `.ci/gpu` runs this, also under NVIDIA's checkers."""

from __future__ import annotations

import pytest
import torch
from paged_case import Shape, causal_case, make_case
from torch import Tensor

from miniapr import kernels, ops
from miniapr.kernels.tolerances import TOLERANCE
from miniapr.ops import reference
from miniapr.ops.cuda import Cuda

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@pytest.fixture(scope="module")
def cuda() -> Cuda:
    backend = ops.load("cuda")
    assert isinstance(backend, Cuda)
    return backend


def test_every_operation_is_the_reference(cuda: Cuda) -> None:
    for row in kernels.check(cuda).rows:
        assert row.ok, row
    cuda.check()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("depth", [64, 80, 96, 128])
def test_attention_is_dense_attention(cuda: Cuda, dtype: torch.dtype, depth: int) -> None:
    shape = Shape(dtype, depth, 16, 2, 3, False, 6, 150, (0, -4), seed=depth)
    for case in (make_case(shape), causal_case(shape, 130, 20)):
        there = (x.cuda() for x in (case.q, case.k_cache, case.v_cache))
        got = cuda.paged_attention(*there, case.plan, case.cos.cuda(), case.sin.cuda(), False).cpu()
        tolerance = TOLERANCE["paged_attention"][dtype]
        torch.testing.assert_close(got.double(), case.expected(), rtol=0, atol=tolerance)


def test_a_slot_on_the_gpu_that_is_out_of_range_is_told_later(cuda: Cuda) -> None:
    k = torch.ones(2, 1, 8, device="cuda")
    caches = torch.zeros(2, 1, 8, 4, device="cuda"), torch.zeros(2, 1, 4, 8, device="cuda")
    cuda.write_kv(k, k, *caches, torch.tensor([3, 8], device="cuda"))
    with pytest.raises(ValueError, match=r"slots\[1\] is beyond the pool"):
        cuda.check()
    assert caches[0].sum() == caches[1].sum() == 8


def test_a_captured_graph_reads_what_lies_there_when_it_is_replayed(cuda: Cuda) -> None:
    x, weight = torch.randn(4, 2, 64, device="cuda"), torch.randn(32, 128, device="cuda") / 11
    cos, sin = torch.ones(4, 32, device="cuda"), torch.zeros(4, 32, device="cuda")

    def step(operations: Cuda) -> Tensor:
        return operations.linear(operations.rope(x, cos, sin, False).flatten(1), (weight,))  # [4, 32]

    replay = cuda.capture(step)
    for _ in range(2):
        x.copy_(torch.randn_like(x))
        torch.testing.assert_close(replay(), step(cuda), rtol=0, atol=0)


def test_F66_offsets_beyond_32_bits(cuda: Cuda) -> None:
    """Blocks 2^31 elements apart."""
    apart, depth, size = 1 << 31, 8, 8
    if torch.cuda.mem_get_info()[0] < 6 * apart:
        pytest.skip("needs 12 GB")
    flat = [torch.empty(apart + depth * size, dtype=torch.bfloat16, device="cuda") for _ in "kv"]
    k, v = (x.as_strided((2, 1, depth, size), (apart, depth * size, size, 1)) for x in flat)
    for x in (k, v):
        x.zero_()
    new = torch.randn(1, 1, depth, device="cuda").bfloat16()
    cuda.write_kv(new, new, k, v, torch.tensor([size + 3]))
    assert torch.equal(k[1, 0, :, 3], new[0, 0]) and torch.equal(v[1, 0, 3], new[0, 0])
    table = torch.ones(1, depth // 2)
    lists = torch.tensor([1]), torch.tensor([0]), torch.tensor([0])
    cuda.copy_and_shift(k[None], v[None], *lists, -table.cuda(), 0 * table.cuda(), False)
    assert torch.equal(k[0], -k[1]) and torch.equal(v[0], v[1])


def test_work_goes_to_the_current_stream(cuda: Cuda) -> None:
    """A long copy on another stream comes first only if the kernel is on that stream too."""
    k = torch.randn(1, 64, 2, 64, 16, device="cuda")
    v, want = k.mT.contiguous(), k.clone()
    source, target = torch.arange(32), torch.arange(32, 64)
    reference.copy_blocks(want, v.clone(), source, target)
    with torch.cuda.stream(torch.cuda.Stream()):  # type: ignore[no-untyped-call]
        torch.cuda._sleep(10_000_000)
        cuda.copy_blocks(k, v, source, target)
        got = k.clone()
    torch.cuda.synchronize()
    assert torch.equal(got, want)
