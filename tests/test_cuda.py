"""What only the CUDA kernels have: several ways for one operation, long lists in parts, slots that the host does not
see. What every backend must do is in test_ops.py and test_native.py, where the emulated kernels run as well."""

from __future__ import annotations

import weakref
from pathlib import Path

import pytest
import torch
from helpers import backend_or_skip
from torch import Tensor

from miniapr import kernels
from miniapr.kernels.compiling import BuildError, architectures, cuda_unwanted, nvcc
from miniapr.kernels.tolerances import TOLERANCE
from miniapr.ops import Norm, reference
from miniapr.ops.cuda import Cuda
from miniapr.ops.packed import pack


@pytest.fixture(scope="module")
def cuda() -> Cuda:
    backend = backend_or_skip("cuda (emulated)")
    assert isinstance(backend, Cuda)
    return backend


ORDERS = pytest.mark.parametrize("order", ["backward", "random:3"])
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])


def numbers(*sizes: int, dtype: torch.dtype = torch.float32, skip: int = 0) -> Tensor:
    """Random numbers that begin ``skip`` elements after an aligned address."""
    count = torch.Size(sizes).numel()
    flat = torch.randn(count + skip, generator=torch.Generator().manual_seed(count)).to(dtype)
    return flat[skip:].view(sizes)


@DTYPES
@pytest.mark.parametrize("rows", [1, 31, 32, 33, 100])
@pytest.mark.parametrize("depth", [64, 80, 6])
@pytest.mark.parametrize("block_size", [16, 8, 3])
def test_write_kv_token_by_token_and_in_tiles(
    cuda: Cuda, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, rows: int, depth: int, block_size: int
) -> None:
    monkeypatch.setenv("MINIAPR_EMULATE_ORDER", f"random:{rows}")
    blocks = rows // block_size + 3
    fused = numbers(rows, 6, depth, dtype=dtype)
    k, v = fused[:, 1:4], fused[:, 3:]
    slots = torch.arange(2, 2 + rows)
    slots[::7] = -1
    for order in (slots, slots.flip(0), slots[torch.randperm(rows)]):
        got = (
            torch.zeros(blocks, 3, depth, block_size, dtype=dtype),
            torch.zeros(blocks, 3, block_size, depth).to(dtype),
        )
        want = got[0].clone(), got[1].clone()
        cuda.write_kv(k, v, *got, order)
        reference.write_kv(k, v, *want, order)
        assert torch.equal(got[0], want[0]) and torch.equal(got[1], want[1])


def test_slots_on_the_host_live_until_they_are_read(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a GPU found this: its copy took the name of the slots on the host, whose memory was then given away."""
    there, lives = torch.Tensor.to, list[bool]()

    def to(x: torch.Tensor, *where: object, **how: object) -> torch.Tensor:
        host.append(weakref.ref(x))
        return there(x, *where, **how).clone()  # as to another device

    class Module:
        def write_kv(self, *_: object) -> None:
            lives.append(host[0]() is not None)

    host = list[weakref.ref[torch.Tensor]]()
    k, caches = torch.ones(1, 1, 8), (torch.zeros(2, 1, 8, 4), torch.zeros(2, 1, 4, 8))
    monkeypatch.setattr(cuda, "_module", Module())
    monkeypatch.setattr(torch.Tensor, "to", to)
    cuda.write_kv(k, k, caches[0], caches[1], torch.tensor([3]))  # a star would make a tuple, which holds the slots
    assert lives == [True]


@pytest.mark.parametrize("rows", [3, 40])
def test_F68_slots_on_the_gpu_are_guarded_and_reported(cuda: Cuda, rows: int) -> None:
    """As a kernel sees slots that the host has not checked. The pool has room behind it that must stay as it is."""
    k, memory = torch.ones(rows, 2, 8), torch.zeros(2, 6, 2, 8, 4)
    k_cache, v_cache = memory[0, :4], memory[1, :4].mT.contiguous().mT
    v_cache = torch.zeros(6, 2, 4, 8)[:4]
    slots = torch.full((rows,), -1)
    slots[0], slots[1], slots[2] = 5, 16, -7  # fine; the first that is beyond; skipped
    mark = torch.zeros(1, dtype=torch.int32)
    cuda._module.write_kv(
        (-1, 0), (k.data_ptr(), 16, 8), (k.data_ptr(), 16, 8),
        (k_cache.data_ptr(), k_cache.stride(0), v_cache.data_ptr(), v_cache.stride(0)), (4, 2, 8, 4),
        slots.data_ptr(), 0, rows, mark.data_ptr(), 0,
    )  # fmt: skip
    assert mark.item() == 2 and memory[0, 4:].sum() == 0 and memory.sum() == 16
    cuda._mark(torch.device("cpu")).copy_(mark)
    with pytest.raises(ValueError, match=r"slots\[1\] is beyond the pool"):
        cuda.check()
    cuda.check()  # it was told


@ORDERS
@DTYPES
@pytest.mark.parametrize("depth, block_size", [(64, 16), (80, 8), (96, 64), (6, 3), (128, 32)])
@pytest.mark.parametrize("skip", [0, 1])
def test_copies_in_words_of_16_bytes_and_of_one_number(
    cuda: Cuda, monkeypatch: pytest.MonkeyPatch, order: str, dtype: torch.dtype, depth: int, block_size: int, skip: int
) -> None:
    monkeypatch.setenv("MINIAPR_EMULATE_ORDER", order)
    layers, blocks, heads = 2, 7, 3
    k = numbers(layers, blocks, heads, depth, block_size, dtype=dtype, skip=skip)
    v = numbers(layers, blocks, heads, block_size, depth, dtype=dtype, skip=skip)
    source, target, turn = (torch.tensor(x) for x in ([5, 0, 5], [1, 6, 3], [0, 2, 1]))
    angle = numbers(3, depth // 2)
    for interleaved in (False, True):
        got, want = ([k.clone(), v.clone()] for _ in range(2))
        if skip:
            got = [numbers(*x.shape, dtype=dtype, skip=1).copy_(x) for x in got]
            assert got[0].data_ptr() % 16
        tables = angle.cos(), angle.sin(), interleaved
        for backend, caches in ((cuda, got), (reference, want)):
            backend.copy_blocks(*caches, source[:1], target[:1])
            backend.copy_and_shift(*caches, source[1:], target[1:], turn[1:], *tables)
            backend.shift_keys(caches[0], torch.tensor([2, 4]), torch.tensor([1, 0]), *tables)
        tolerance = TOLERANCE["shift_keys"][dtype]
        torch.testing.assert_close(got[0], want[0], rtol=0, atol=tolerance)
        assert torch.equal(got[1], want[1])


def test_lists_longer_than_the_parameters_of_a_launch(cuda: Cuda) -> None:
    """320 blocks travel with one launch; 700 take three."""
    k, v = numbers(2, 1400, 1, 2, 2), numbers(2, 1400, 1, 2, 2)
    order = torch.randperm(1400, generator=torch.Generator().manual_seed(0))
    source, target, turn = order[:700], order[700:], torch.arange(700) % 3
    angle = numbers(3, 1)
    got, want = [k.clone(), v.clone()], [k.clone(), v.clone()]
    for backend, caches in ((cuda, got), (reference, want)):
        backend.copy_blocks(*caches, source, target)
        backend.shift_keys(caches[0], target, turn, angle.cos(), angle.sin(), False)
        backend.copy_and_shift(*caches, target, source, turn, angle.cos(), angle.sin(), True)
    torch.testing.assert_close(got[0], want[0], rtol=0, atol=1e-5)
    assert torch.equal(got[1], want[1])


@ORDERS
@DTYPES
@pytest.mark.parametrize("width", [1, 7, 64, 2048, 2050])
@pytest.mark.parametrize("skip", [0, 1])
def test_norm_and_gate_of_any_width(
    cuda: Cuda, monkeypatch: pytest.MonkeyPatch, order: str, dtype: torch.dtype, width: int, skip: int
) -> None:
    monkeypatch.setenv("MINIAPR_EMULATE_ORDER", order)
    x = numbers(3, width + 8, dtype=dtype, skip=skip)[:, :width]
    norm = Norm(numbers(width, dtype=dtype), 1e-5)
    rounding = {torch.float32: 1e-6, torch.bfloat16: 2**-7, torch.float16: 2**-10}[dtype]
    torch.testing.assert_close(cuda.normed(x, norm), reference.rms_norm(x, norm), rtol=rounding, atol=1e-6)
    gate, up = (numbers(width, width, dtype=dtype) / width**0.5 for _ in range(2)) if width < 2048 else (None, None)
    if gate is not None and up is not None:
        got, want = cuda.swiglu(x, gate, up, norm), reference.swiglu(x, gate, up, norm)
        torch.testing.assert_close(got, want, rtol=2 * rounding, atol=TOLERANCE["swiglu"][dtype])


def test_rope_of_more_rows_than_a_grid_is_high(cuda: Cuda) -> None:
    x, angle = numbers(65_537, 1, 2), numbers(65_537, 1)
    got = cuda.rope(x, angle.cos(), angle.sin(), False)
    torch.testing.assert_close(got, reference.rope(x, angle.cos(), angle.sin(), False))


def test_refusals_that_only_a_gpu_has(cuda: Cuda) -> None:
    x = torch.ones(2, 8)
    with pytest.raises(ValueError, match="packed"):
        cuda.linear(x, (pack(torch.ones(16, 8)),))
    with pytest.raises(ValueError, match="x is float64"):
        cuda.linear(x.double(), (torch.ones(16, 8),))
    with pytest.raises(ValueError, match="norm is"):
        cuda.linear(x, (torch.ones(16, 8),), Norm(torch.ones(7), 1e-5))
    with pytest.raises(ValueError, match="add is"):
        cuda.linear(x, (torch.ones(16, 8),), None, torch.ones(2, 15))
    with pytest.raises(ValueError, match="up is"):
        cuda.swiglu(x, torch.ones(16, 8), torch.ones(15, 8))
    with pytest.raises(ValueError, match="weights is empty"):
        cuda.linear(x, ())


def test_without_nvcc_the_build_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.setattr(Path, "exists", lambda path: False)
    with pytest.raises(BuildError, match="no CUDA compiler"):
        nvcc()


def test_an_installation_compiles_cuda_where_a_gpu_is_or_when_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """nvcc alone is no reason: many machines have it and no GPU, and it would take minutes."""
    for name in ("MINIAPR_REQUIRE_CUDA", "MINIAPR_CUDA_ARCHS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no GPU here" in cuda_unwanted() and architectures() == ["75", "80", "90"]
    for name, value in (("MINIAPR_REQUIRE_CUDA", "1"), ("MINIAPR_CUDA_ARCHS", "120;90")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert not cuda_unwanted()
            assert architectures() == (["90", "120"] if ";" in value else ["75", "80", "90"])
    for program, unwanted in (("#!/bin/sh\necho 9.0\necho 8.6\n", False), ("#!/bin/sh\nexit 9\n", True)):
        (tmp_path / "nvidia-smi").write_text(program)
        (tmp_path / "nvidia-smi").chmod(0o755)
        assert bool(cuda_unwanted()) == unwanted
        assert architectures() == (["75", "80", "90"] if unwanted else ["86", "90"])


def test_an_edited_kernel_runs_without_a_gpu(tmp_path: Path) -> None:
    """A learner takes away a barrier, and sees that it was needed."""
    backend_or_skip("cuda (emulated)")
    folder = kernels.sources(tmp_path / "mine")
    source = folder / "cuda" / "write_kv.cu"
    text = source.read_text(encoding="utf-8")
    barrier = "        __syncthreads();\n        const Slot slot = place[x];"
    assert text.count(barrier) == 1
    source.write_text(text.replace(barrier, "        const Slot slot = place[x];"), encoding="utf-8")
    k, v = numbers(40, 1, 64), numbers(40, 1, 64)
    caches = torch.zeros(3, 1, 64, 16), torch.zeros(3, 1, 16, 64)
    kernels.build(folder, "emulated").write_kv(k, v, *caches, torch.arange(40))
    assert caches[0].isnan().any() and not caches[1].isnan().any()
