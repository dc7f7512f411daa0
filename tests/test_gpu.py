"""The CUDA kernels on a GPU, against the reference: `.ci/gpu` runs this, also under NVIDIA's checkers. Where there is
no GPU the kernels run emulated, and what only a GPU has is left out."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import backend_or_skip
from paged_case import Shape, causal_case, make_case
from torch import Tensor

import miniapr
from miniapr import kernels
from miniapr.kernels.tolerances import TOLERANCE
from miniapr.methods.grammar import Control
from miniapr.model.bundle import find
from miniapr.model.checkpoint import load
from miniapr.ops import Norm, PlanBuilder, reference
from miniapr.ops.cuda import Cuda

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
only_gpu = pytest.mark.skipif(DEVICE == "cpu", reason="no GPU")


@pytest.fixture(scope="module")
def cuda() -> Cuda:
    backend = backend_or_skip("cuda" if DEVICE == "cuda" else kernels.EMULATED)
    assert isinstance(backend, Cuda)
    return backend


def test_every_operation_is_the_reference(cuda: Cuda) -> None:
    rows = kernels.check(cuda).rows
    assert {row.dtype for row in rows} == {"float32", "bfloat16", "float16"}
    assert all(row.ok for row in rows), "\n".join(str(row) for row in rows if not row.ok)
    cuda.check()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("depth", [64, 80, 96, 128])
def test_attention_is_dense_attention(cuda: Cuda, dtype: torch.dtype, depth: int) -> None:
    shape = Shape(dtype, depth, 16, 2, 3, False, 6, 150, (0, -4), seed=depth)
    for case in (make_case(shape), causal_case(shape, 130, 20)):
        there = (x.to(DEVICE) for x in (case.q, case.k_cache, case.v_cache))
        got = cuda.paged_attention(*there, case.plan, case.cos.to(DEVICE), case.sin.to(DEVICE), False).cpu()
        tolerance = TOLERANCE["paged_attention"][dtype]
        torch.testing.assert_close(got.double(), case.expected(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_smallest_case_of_every_kernel(cuda: Cuda, dtype: torch.dtype) -> None:
    """For the checkers, which slow a kernel down a hundredfold. Each version of attention over more tokens than a tile
    has, at a head size that fills what is compiled and at one that leaves a rest."""
    for depth, version in ((64, 1), (64, 2), (64, 3), (64, 4), (72, 3), (72, 4), (128, 3), (128, 4)):
        if (version == 4 and dtype == torch.float32) or (version == 3 and depth == 128 and DEVICE == "cpu"):
            continue  # tensor cores have no float32; the emulated GPU has little shared memory
        case = make_case(Shape(dtype, depth, 16, 1, 2, False, 3, 70, (0, -4), seed=depth))
        q, k, v, cos, sin = (x.to(DEVICE) for x in (case.q.to(dtype), case.k_cache, case.v_cache, case.cos, case.sin))
        got = cuda.paged_attention(q, k, v, case.plan, cos, sin, False, version).cpu()
        case.q = q.cpu()
        torch.testing.assert_close(got.double(), case.expected(), rtol=0, atol=1e-4 if dtype == torch.float32 else 2e-2)
    k = torch.ones(40, 2, 40, dtype=dtype, device=DEVICE)
    caches = [torch.zeros(shape, dtype=dtype, device=DEVICE) for shape in ((4, 2, 40, 16), (4, 2, 16, 40))]
    for rows in (2, 40):  # one by one, and a tile
        cuda.write_kv(k[:rows], k[:rows], *caches, torch.arange(rows, device=DEVICE))
    assert caches[0].sum() == caches[1].sum() == k.numel()
    x, scale = torch.ones(3, 2 * 72, dtype=dtype, device=DEVICE), torch.ones(2 * 72, dtype=dtype, device=DEVICE)
    gated = x[:, :72] / (1 + torch.exp(-x[:, :72]))  # [3, 72]
    torch.testing.assert_close(cuda.normed(x, Norm(scale, 1e-6)), x, rtol=0, atol=1e-2)
    torch.testing.assert_close(cuda.silu_gate(x), gated, rtol=0, atol=1e-2)
    # Nothing with products: with cuBLAS's kernels among them initcheck and racecheck failed, where memcheck did not.
    others = ("copy_blocks", "shift_keys", "copy_and_shift", "rope")
    assert dtype != torch.float32 or all(row.ok for row in kernels.check(cuda, others).rows)  # it does all types


def test_the_shipped_model_thinks_as_on_the_cpu(cuda: Cuda) -> None:
    """From the prompt through a plan, branches and the join to the answer, captured steps included."""
    bundle, texts = miniapr.load(), []
    control = Control.of(bundle.tokenizer, bundle.control)
    prompt = bundle.tokenizer.ids(["<bos>", "<adaptive>"]) + bundle.tokenizer.encode("8 7 3 -> 29 :")
    for device, backend in (("cpu", reference), (DEVICE, cuda)):
        model = load(find("countdown"), device=device, pack=False)
        engine = miniapr.Engine(model, bundle.tokenizer, backend=backend)
        texts.append([engine.run(miniapr.adaptive(prompt, control, how)).text for how in ("stitch", "reprefill")])
        engine.check()
    assert texts[0] == texts[1] and all(texts[0])


@only_gpu
def test_a_slot_on_the_gpu_that_is_out_of_range_is_told_later(cuda: Cuda) -> None:
    k = torch.ones(2, 1, 8, device="cuda")
    caches = torch.zeros(2, 1, 8, 4, device="cuda"), torch.zeros(2, 1, 4, 8, device="cuda")
    cuda.write_kv(k, k, *caches, torch.tensor([3, 8], device="cuda"))
    with pytest.raises(ValueError, match=r"slots\[1\] is beyond the pool"):
        cuda.check()
    assert caches[0].sum() == caches[1].sum() == 8


@only_gpu
def test_a_captured_graph_reads_what_lies_there_when_it_is_replayed(cuda: Cuda) -> None:
    x, weight = torch.randn(4, 2, 64, device="cuda"), torch.randn(32, 128, device="cuda") / 11
    cos, sin = torch.ones(4, 32, device="cuda"), torch.zeros(4, 32, device="cuda")

    def step(operations: Cuda) -> Tensor:
        return operations.linear(operations.rope(x, cos, sin, False).flatten(1), (weight,))  # [4, 32]

    replay = cuda.capture(step)
    for _ in range(2):
        x.copy_(torch.randn_like(x))
        torch.testing.assert_close(replay(), step(cuda), rtol=0, atol=0)


@only_gpu
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


# F70: the wrong stream; an error of a launch that is told of another


def late(x: Tensor, real: Tensor) -> None:
    """``real`` in ``x``, but only after a long wait on the current stream."""
    torch.cuda._sleep(100_000_000)
    x.copy_(real)


def operations(cuda: Cuda) -> dict[str, Callable[[Tensor], Tensor]]:
    """Every operation as a function of x [64, 2, 64]."""
    cos, sin = torch.zeros(64, 32, device=DEVICE), torch.ones(64, 32, device=DEVICE)
    weight, slots = torch.ones(32, 128, device=DEVICE), torch.arange(64, device=DEVICE)
    lists, which = (torch.tensor([0, 1]), torch.tensor([2, 3])), torch.zeros(2, dtype=torch.int64)
    builder = PlanBuilder()
    for _ in range(64):
        builder.see("all", [0, 1, 2, 3], 0, 64, 0, 1, 0)
        builder.end_rows(1)
    plan = builder.build()

    def pool(x: Tensor) -> tuple[Tensor, Tensor]:
        k = x.reshape(1, 4, 2, 64, 16).clone()  # [L, NB, H, D, B]
        return k, k.mT.contiguous()

    def write(x: Tensor) -> Tensor:
        k, v = (torch.zeros_like(cache[0]) for cache in pool(x))
        cuda.write_kv(x, x, k, v, slots)
        return torch.cat((k.flatten(), v.flatten()))

    def move(name: str, *arguments: object) -> Callable[[Tensor], Tensor]:
        def run(x: Tensor) -> Tensor:
            k, v = pool(x)
            getattr(cuda, name)(*((k,) if name == "shift_keys" else (k, v)), *arguments)
            return torch.cat((k.flatten(), v.flatten()))

        return run

    def attend(x: Tensor) -> Tensor:
        k, v = pool(x)
        return cuda.paged_attention(x, k[0], v[0], plan, cos, sin, False)

    return {
        "write_kv": write,
        "paged_attention": attend,
        "copy_blocks": move("copy_blocks", *lists),
        "shift_keys": move("shift_keys", lists[0], which, cos, sin, False),
        "copy_and_shift": move("copy_and_shift", *lists, which, cos, sin, False),
        "linear": lambda x: cuda.linear(x.flatten(1), (weight,)),
        "swiglu": lambda x: cuda.swiglu(x.flatten(1), weight, weight),
        "rope": lambda x: cuda.rope(x, cos, sin, False),
    }


@only_gpu
@pytest.mark.parametrize("where", ["the same stream", "another stream"])
def test_F70_every_operation_runs_on_the_current_stream(cuda: Cuda, where: str) -> None:
    """What is made on a stream after a long wait is read by an operation on that stream, and too early by one on
    another: so the test can fail."""
    real = torch.randn(64, 2, 64, device=DEVICE)
    for name, operation in operations(cuda).items():
        want = operation(real)  # which also loads the kernel
        x = torch.zeros_like(real)
        first, second = torch.cuda.Stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        with torch.cuda.stream(first):
            late(x, real)
        with torch.cuda.stream(first if where == "the same stream" else second):
            got = operation(x)
        torch.cuda.synchronize()
        assert torch.equal(got, want) == (where == "the same stream"), name


def test_F70_a_refused_launch_is_told_at_once_by_its_name(cuda: Cuda) -> None:
    """More layers than a grid has rows. The next operation has nothing to tell of it."""
    k = torch.zeros(1 << 16, 2, 1, 2, 8, dtype=torch.bfloat16, device=DEVICE)
    k[:, 0] = 1
    v, lists = k.mT.contiguous(), (torch.tensor([0]), torch.tensor([1]))
    with pytest.raises(RuntimeError, match="copy_blocks v2: "):
        cuda.copy_blocks(k, v, *lists)
    assert k[:, 1].sum() == 0
    cuda.copy_blocks(k[:9], v[:9], *lists)
    assert k[:, 1].sum() == 9 * 16


# The script


def test_the_script_goes_on_after_a_step_that_fails(tmp_path: Path) -> None:
    """With a Python that fails every test: each later step is run all the same, and the summary says what failed."""
    script = Path(__file__).parents[1] / ".ci" / "gpu"
    if not script.exists():
        pytest.skip("only a clone has it")
    (tmp_path / "python").write_text('#!/bin/sh\necho "ran: $*"\ncase "$*" in *pytest*) exit 1 ;; esac\n')
    (tmp_path / "python").chmod(0o755)
    command = ["bash", str(script), "--emulate", "--out", str(tmp_path / "out"), str(tmp_path / "python")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (tmp_path / "out" / "gpu-checks.txt").read_text().splitlines()
    assert done.returncode == 1 and done.stdout.splitlines() == lines, done.stderr
    summary = [line.split()[0] for line in lines[lines.index("no GPU: a trial of this script") :][-7:]]
    assert summary == ["ok", "FAILED", "FAILED", "ok", "ok", "FAILED", "FAILED"]
    assert sum(line.startswith("ran: ") for line in lines) == 8  # a build is two: compiled, and loaded
    (tmp_path / "python").write_text("#!/bin/sh\n")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "FAILED" not in done.stdout
    wrong = subprocess.run(["bash", str(script), "--minutes", "soon"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2 and "--minutes soon: expected a whole number" in wrong.stderr
