"""The operations of a layer in every backend, packed weights, and a decoder that runs on them."""

from __future__ import annotations

import copy
import weakref

import pytest
import torch
from helpers import backend_or_skip, small_model, stored
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from miniapr.kernels.tolerances import DTYPES, TOLERANCE, arithmetic
from miniapr.model import checkpoint
from miniapr.model.rope import cos_sin
from miniapr.ops import Operations, reference
from miniapr.ops.packed import PANEL, Norm, Packed, Weight, pack

# One row and many, more than the registers hold; narrower than a panel, whole panels, one more.
ROWS = st.sampled_from((0, 1, 2, 3, 7, 8, 12, 13, 29))
DEPTH = st.sampled_from((1, 2, 7, 16, 33, 96))
COLUMNS = st.sampled_from((1, 15, 16, 17, 32, 48, 61))


@pytest.fixture(scope="module", params=["reference", "cpp", "cuda (emulated)"])
def backend(request: pytest.FixtureRequest) -> Operations:
    return backend_or_skip(request.param)


def numbers(seed: int, dtype: torch.dtype, *sizes: int) -> Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def a_norm(seed: int, dtype: torch.dtype, depth: int) -> Norm:
    return Norm(numbers(seed, dtype, depth).abs() + 0.5, 1e-5)


def wide(norm: Norm | None) -> Norm | None:
    return norm and Norm(norm.weight.double(), norm.eps)


def close(got: Tensor, want: Tensor, operation: str) -> None:
    assert got.shape == want.shape
    rounding = {torch.bfloat16: 2**-7, torch.float16: 2**-10}.get(got.dtype, 0.0)  # of a result that is larger than 1
    torch.testing.assert_close(got.double(), want, rtol=rounding, atol=TOLERANCE[operation][got.dtype])


@given(
    rows=ROWS, depth=DEPTH, columns=st.lists(COLUMNS, min_size=1, max_size=3), dtype=st.sampled_from(DTYPES),
    packed=st.booleans(), normed=st.booleans(), added=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_linear_is_a_matrix_product(
    backend: Operations, rows: int, depth: int, columns: list[int], dtype: torch.dtype, packed: bool, normed: bool,
    added: bool, seed: int,
) -> None:  # fmt: skip
    dtype, packed = stored(backend, dtype), packed and getattr(backend, "packs", True)
    x = numbers(seed, dtype, rows, depth)
    weights = [numbers(seed + i, dtype, n, depth) / depth**0.5 for i, n in enumerate(columns)]
    norm = a_norm(seed, dtype, depth) if normed else None
    add = numbers(seed + 9, dtype, rows, sum(columns)) if added else None
    given_weights: list[Weight] = [pack(w) if packed else w for w in weights]
    got = backend.linear(x, given_weights, norm, add)
    wide_x = reference.rms_norm(x.double(), wide(norm)) if norm else x.double()
    want = torch.cat([wide_x @ w.double().T for w in weights], -1) + (add.double() if add is not None else 0)
    close(got, want, "linear")


@given(
    rows=ROWS, depth=DEPTH, columns=COLUMNS, dtype=st.sampled_from(DTYPES), packed=st.booleans(),
    normed=st.booleans(), size=st.sampled_from((1.0, 30.0)), seed=st.integers(0, 99),
)  # fmt: skip
def test_swiglu_gates_one_product_by_another(
    backend: Operations, rows: int, depth: int, columns: int, dtype: torch.dtype, packed: bool, normed: bool,
    size: float, seed: int,
) -> None:  # fmt: skip
    dtype, packed = stored(backend, dtype), packed and getattr(backend, "packs", True)
    x = numbers(seed, dtype, rows, depth)
    gate, up = (numbers(seed + i, dtype, columns, depth) / depth**0.5 for i in (1, 2))
    gate = gate * size  # far out on both sides of silu: nothing may overflow
    norm = a_norm(seed, dtype, depth) if normed else None
    both = (pack(gate), pack(up)) if packed else (gate, up)
    wide_x = reference.rms_norm(x.double(), wide(norm)) if norm else x.double()
    g = wide_x @ gate.double().T
    want = g * torch.sigmoid(g) * (wide_x @ up.double().T)
    got = backend.swiglu(x, *both, norm)
    assert got.shape == want.shape
    scale = float(want.abs().max()) if want.numel() else 1.0
    torch.testing.assert_close(got.double(), want, rtol=0, atol=TOLERANCE["swiglu"][dtype] * max(1.0, scale))


@given(
    rows=ROWS, heads=st.integers(1, 4), depth=st.sampled_from((2, 6, 64, 80)), dtype=st.sampled_from(DTYPES),
    interleaved=st.booleans(), strided=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_rope_turns_every_head_by_its_rows_angle(
    backend: Operations, rows: int, heads: int, depth: int, dtype: torch.dtype, interleaved: bool, strided: bool,
    seed: int,
) -> None:  # fmt: skip
    dtype = stored(backend, dtype)
    x = numbers(seed, dtype, rows, heads + 2, depth)[:, 1 : heads + 1]
    x = x if strided else x.contiguous()
    cos, sin = cos_sin(torch.arange(rows) * 31, depth, 1e4, arithmetic(dtype))
    got = backend.rope(x, cos, sin, interleaved)
    first, second = (
        (slice(0, None, 2), slice(1, None, 2)) if interleaved else (slice(depth // 2), slice(depth // 2, None))
    )
    turned = torch.complex(x[..., first].double(), x[..., second].double())
    turned = turned * torch.complex(cos.double(), sin.double())[:, None]
    want = x.new_empty(x.shape, dtype=torch.float64)
    want[..., first], want[..., second] = turned.real, turned.imag
    close(got, want, "rope")


def test_a_row_does_not_depend_on_the_others(backend: Operations) -> None:
    """Bit for bit with whatever number of rows, and whatever is in them, NaN included."""
    x, plain = numbers(0, torch.float32, 40, 64), numbers(1, torch.float32, 80, 64)
    weight = pack(plain) if getattr(backend, "packs", True) else plain
    alone = backend.linear(x[:1], (weight,))
    for rows in (2, 5, 12, 13, 40) if backend.name == "cpp" else (1,):
        crowd = x[:rows].clone()
        crowd[1:] = float("nan")
        assert torch.equal(backend.linear(crowd, (weight,))[:1], alone)


@given(st.integers(1, 40), st.integers(1, 20), st.sampled_from(DTYPES))
def test_packing_loses_nothing(rows: int, depth: int, dtype: torch.dtype) -> None:
    weight = numbers(rows, dtype, rows, depth)
    packed = pack(weight)
    assert torch.equal(packed.unpack(), weight)
    which = torch.arange(rows).flip(0).repeat(2).view(2, rows)
    assert torch.equal(packed.take(which), weight[which])


@pytest.mark.parametrize("tied", [False, True])
def test_a_packed_decoder_is_the_same_model(tied: bool, tmp_path: pytest.TempPathFactory) -> None:
    plain = copy.deepcopy(small_model())
    if tied:
        plain.lm_head.weight = plain.model.embed_tokens.weight
        plain.config = plain.model.config = type(plain.config)(**{**plain.config.__dict__, "tie_word_embeddings": True})
    packed = copy.deepcopy(plain).pack()
    assert isinstance(packed.lm_head.weight, Packed) and packed.parameter_count == plain.parameter_count
    tokens, positions = torch.tensor([[1, 2, 3]]), torch.tensor([[0, 1, 2]])
    visible = torch.ones(1, 3, 3, dtype=torch.bool).tril()
    want = plain.dense(tokens, positions, visible)
    torch.testing.assert_close(packed.dense(tokens, positions, visible), want, rtol=0, atol=1e-12)
    for name, tensor in packed.state_dict().items():
        assert torch.equal(tensor, plain.state_dict()[name])
    checkpoint.save(packed, str(tmp_path))
    again = checkpoint.load(str(tmp_path), torch.float64, pack=False)
    assert torch.equal(again.dense(tokens, positions, visible), want)


def test_packing_lets_go_of_the_original() -> None:
    model = copy.deepcopy(small_model())
    originals = [weakref.ref(p) for n, p in model.named_parameters() if "proj" in n or "head" in n]
    assert originals
    model.pack()
    assert not any(original() is not None for original in originals)


def test_a_packed_model_says_that_it_cannot_move() -> None:
    with pytest.raises(ValueError, match="packed"):
        copy.deepcopy(small_model()).pack().float()


X, W = torch.zeros(2, 8), pack(torch.zeros(16, 8))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X[0], (W,)), "x is float32"),
        ((X.half(), (W,)), "x is float16"),
        ((X.to("meta"), (W,)), "x is float32 .* on meta"),
        ((X[:, :7], (W,)), "weights has one of"),
        ((X.double(), (W,)), "weights has one of"),
        ((X, ()), "weights is empty"),
        ((X, (W,), Norm(torch.ones(7), 1e-5)), "norm is"),
        ((X, (W,), Norm(torch.ones(8).double(), 1e-5)), "norm is"),
        ((X, (W,), None, torch.zeros(2, 15)), "add is"),
        ((X, (W,), None, torch.zeros(2, 16).double()), "add is"),
    ],
)
def test_linear_names_what_is_wrong(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        backend_or_skip("cpp").linear(*arguments)  # type: ignore[arg-type]


def test_swiglu_and_rope_name_what_is_wrong() -> None:
    cpp, half = backend_or_skip("cpp"), torch.ones(2, 4)
    with pytest.raises(ValueError, match="up is"):
        cpp.swiglu(X, W, pack(torch.zeros(15, 8)))
    heads = torch.zeros(2, 3, 8)
    for bad in (heads[0], heads[..., :7], heads.half(), heads.to("meta")):
        with pytest.raises(ValueError, match="x is"):
            cpp.rope(bad, half, half, False)
    for cos, sin, message in (
        (half[:1], half[:1], "cos is"),
        (half[:, :3], half, "cos is"),
        (half, half[:1], "sin is"),
        (half.to("meta"), half, "cos is"),
        (half.long(), half, "cos is"),
    ):
        with pytest.raises(ValueError, match=message):
            cpp.rope(heads, cos, sin, False)


@pytest.mark.parametrize(
    "panels", [W.panels[:, :, :8], W.panels.transpose(1, 2), W.panels.repeat(2, 1, 1), W.panels[0]]
)
def test_panels_must_fit_the_shape(panels: Tensor) -> None:
    with pytest.raises(ValueError, match="for a weight"):
        Packed(panels, (16, 8))


def test_panels_are_what_the_kernels_were_written_for() -> None:
    packed = pack(torch.arange(32 * 4.0).view(32, 4))
    assert packed.panels.shape == (2, 4, PANEL) and packed.panels[1, 2, 3] == 19 * 4 + 2
    pairs = pack(torch.arange(16 * 4.0).view(16, 4).bfloat16())
    assert pairs.panels.shape == (1, 2, PANEL, 2) and pairs.panels[0, 1, 5, 1] == 5 * 4 + 3
