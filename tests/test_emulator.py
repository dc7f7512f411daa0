"""CUDA on the CPU (csrc/cuda/emulate.h): it computes what a GPU would, and it finds the faults that it promises to."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("ninja")
pytest.importorskip("pybind11")

from miniapr.kernels import BuildError, own_sources
from miniapr.kernels.compiling import emulated
from miniapr.kernels.loading import compile_module

ORDERS = ("forward", "backward", "random:1", "random:2")


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Any:
    csrc = own_sources()
    target = emulated(csrc)
    sources = [Path(__file__).with_name("emulator.cu"), csrc / "cuda" / "emulate.cpp"]
    compile = {suffix: [*command, f"-I{csrc / 'cuda'}"] for suffix, command in target.compile.items()}
    changes = {"module": "_emulator", "sources": sources, "compile": compile, "csrc": None}  # not the package's
    try:
        return compile_module(dataclasses.replace(target, **changes), tmp_path_factory.mktemp("emulator"))
    except BuildError as error:
        if "no C++ compiler" in str(error):
            pytest.skip(str(error))
        raise


@pytest.fixture(params=ORDERS)
def order(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MINIAPR_EMULATE_ORDER", request.param)
    return str(request.param)


def numbers(count: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(count, dtype=np.float32)


def reversed_by(kernels: Any, fault: str) -> bool:
    x, y = numbers(64), np.zeros(64, np.float32)
    kernels.reverse(x, y, fault)
    return bool((y == x[::-1]).all())


def test_a_barrier_makes_every_order_right(kernels: Any, order: str) -> None:
    assert reversed_by(kernels, "")


def test_a_missing_barrier_is_found(kernels: Any, order: str) -> None:
    assert not reversed_by(kernels, "no barrier")


def test_shared_memory_that_nobody_wrote_is_nan(kernels: Any, order: str) -> None:
    y = np.zeros(64, np.float32)
    kernels.reverse(numbers(64), y, "nothing is written")
    assert np.isnan(y).all()


@pytest.mark.parametrize("fault", ["some threads leave", "barrier in a branch"])
def test_a_barrier_that_not_all_reach_is_found(kernels: Any, order: str, fault: str) -> None:
    with pytest.raises(RuntimeError, match=r"reverse, block \(0, 0, 0\): threads wait for ever.*__syncthreads in line"):
        reversed_by(kernels, fault)
    assert reversed_by(kernels, "")  # and the next kernel finds everything as it should be


@pytest.mark.parametrize("fault", ["static", "dynamic", "below"])
def test_a_write_beyond_shared_memory_is_found(kernels: Any, order: str, fault: str) -> None:
    with pytest.raises(RuntimeError, match="wrote beyond shared memory"):
        kernels.write_beyond(fault)
    kernels.write_beyond("")


def test_a_vector_that_is_not_aligned_is_found(kernels: Any) -> None:
    x = numbers(64)
    x = x[(-x.ctypes.data // 4) % 4 :]  # begins at a multiple of 16 bytes
    y = np.zeros(32, np.float32)
    y = y[(-y.ctypes.data // 4) % 4 :]
    kernels.load_vectors(x, y, 4)
    assert (y[:16] == x[4:20]).all()
    with pytest.raises(RuntimeError, match=r"uses 16 bytes .* not aligned"):
        kernels.load_vectors(x, y, 1)


@pytest.mark.parametrize("valid", [16, 12, 4, 0])
def test_asynchronous_copies_arrive_with_the_wait(kernels: Any, order: str, valid: int) -> None:
    x, y = aligned(256), np.zeros(256, np.float32)
    kernels.copy_stages(x, y, "", valid)
    want = x.reshape(-1, 4) * (np.arange(4) * 4 < valid)
    assert (y.reshape(2, 128)[:, ::-1] == want.reshape(2, 128)).all()


@pytest.mark.parametrize("fault", ["one wait too few", "no last wait", "no last barrier"])
def test_a_missing_wait_or_the_barrier_after_it_is_found(kernels: Any, order: str, fault: str) -> None:
    y = np.zeros(256, np.float32)
    kernels.copy_stages(aligned(256), y, fault, 16)
    assert np.isnan(y).any()


def aligned(count: int) -> np.ndarray:
    x = numbers(count + 4)
    return x[(-x.ctypes.data // 4) % 4 :][:count]


def test_shuffles(kernels: Any, order: str) -> None:
    x, lane = np.arange(32, dtype=np.float32), np.arange(32)
    expected = {
        "xor": x[lane ^ 5],
        "down": x[np.where(lane + 3 < 32, lane + 3, lane)],
        "down 8": x[np.where(lane % 8 + 3 < 8, lane + 3, lane)],
        "from": np.full(32, x[7]),
        "from 8": x[lane // 8 * 8 + 7],
        "ballot": np.full(32, 21.0),
        "half": np.where(lane % 2, x, x[lane ^ 2]),
    }
    for how, want in expected.items():
        y = np.zeros(32, np.float32)
        kernels.exchange(x, y, how)
        assert (y == want).all(), how


@pytest.mark.parametrize(
    "how, message",
    [
        ("split", "threads 0 to 15 wait for lanes ffffffff of the warp in line .*; threads 16 to 31 wait"),
        ("some left", "thread.* left the kernel"),
        ("not in the mask", "is not in the mask"),
    ],
)
def test_a_warp_that_is_not_together_is_found(kernels: Any, order: str, how: str, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        kernels.exchange(numbers(32), np.zeros(32, np.float32), how)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_matrix_products_are_exact_on_small_integers(kernels: Any, order: str, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randint(-8, 9, size, generator=generator).to(dtype) for size in ((16, 16), (16, 8)))
    c = np.zeros((16, 8), np.float32)
    multiply = kernels.multiply_f16 if dtype == torch.float16 else kernels.multiply_bf16
    multiply(a.view(torch.uint16).numpy(), b.view(torch.uint16).numpy(), c)
    assert torch.equal(torch.from_numpy(c), a.float() @ b.float())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_conversions_are_those_of_torch_to_the_bit(kernels: Any, dtype: torch.dtype) -> None:
    """All 16-bit numbers, what lies half-way between neighbours, and a step beside that."""
    every = torch.arange(2**16, dtype=torch.int32).to(torch.uint16).view(dtype).float()
    bits = every.view(torch.int32)
    half = 1 << (12 if dtype == torch.float16 else 15)
    x = torch.cat([(bits + d).view(torch.float32) for d in (0, half - 1, half, half + 1)])
    x = torch.cat((x, torch.tensor([65519.99, 65520.0, 2.0**-25, 2.0**-24, 3 * 2.0**-26, 1e-45, 3.4e38])))
    narrow, wide = np.zeros(len(x), np.uint16), np.zeros(len(x), np.float32)
    (kernels.convert_f16 if dtype == torch.float16 else kernels.convert_bf16)(x.numpy(), narrow, wide)
    want = x.to(dtype)
    known = ~x.isnan()
    assert torch.equal(torch.from_numpy(narrow)[known], want.view(torch.uint16)[known])
    assert torch.equal(torch.from_numpy(wide)[known], want.float()[known]) and np.isnan(wide[~known.numpy()]).all()


def test_launches_that_a_gpu_refuses(kernels: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels.start(0, 32, 0)  # no block: nothing to do
    for arguments, message in (((1, 1025, 0), "1 to 1024 threads"), ((1, 32, 100 * 1024), "shared memory")):
        with pytest.raises(RuntimeError, match=message):
            kernels.start(*arguments)
    monkeypatch.setenv("MINIAPR_EMULATE_ORDER", "sideways")
    with pytest.raises(RuntimeError, match="MINIAPR_EMULATE_ORDER is sideways"):
        kernels.start(1, 32, 0)
