"""From logits to tokens, in every backend: the reference's definition, and what must hold of it."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
import torch
from helpers import backend_or_skip, stored
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from miniapr.kernels.tolerances import DTYPES
from miniapr.ops import Operations, reference


@pytest.fixture(scope="module", params=["reference", "cpp", "cuda (emulated)"])
def backend(request: pytest.FixtureRequest) -> Operations:
    return backend_or_skip(request.param)


def draws(
    rows: int, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0, seed: int = 0
) -> tuple[Tensor, ...]:
    """The same way of sampling for every row, each with a number of its own."""
    numbers = random.Random(seed)
    uniform = torch.tensor([numbers.random() for _ in range(rows)], dtype=torch.float64)

    def column(value: float) -> Tensor:
        return torch.full((rows,), value, dtype=torch.float64)

    return column(temperature), torch.full((rows,), top_k), column(top_p), column(min_p), uniform


def logits(seed: int, rows: int, vocabulary: int, spread: float, steps: int) -> Tensor:
    """Random, in ``steps`` steps between whole numbers, so that many are equal; some are -inf."""
    generator = torch.Generator().manual_seed(seed)
    x = (torch.randn(rows, vocabulary, generator=generator) * spread * steps).round() / steps
    hidden = torch.rand(rows, vocabulary, generator=generator) < 0.1
    hidden[:, seed % vocabulary] = False
    return x.masked_fill(hidden, -math.inf)


@given(
    seed=st.integers(0, 2**31), rows=st.sampled_from((0, 1, 2, 5)), vocabulary=st.sampled_from((1, 2, 7, 8, 64, 700)),
    spread=st.sampled_from((0.1, 1.0, 8.0)), steps=st.sampled_from((1, 64)), dtype=st.sampled_from(DTYPES),
    temperature=st.sampled_from((0.0, 1e-310, 0.3, 1.0, 100.0)), top_k=st.sampled_from((0, 1, 3, 50, 10**6)),
    cut_p=st.booleans(), cut_min=st.booleans(),
)  # fmt: skip
def test_sample_draws_what_the_definition_says(
    backend: Operations, seed: int, rows: int, vocabulary: int, spread: float, steps: int, dtype: torch.dtype,
    temperature: float, top_k: int, cut_p: bool, cut_min: bool,
) -> None:  # fmt: skip
    x = logits(seed, rows, vocabulary, spread, steps).to(stored(backend, dtype))
    numbers = random.Random(seed)  # not round: at an edge, rounding decides
    top_p, min_p = numbers.random() if cut_p else 1.0, numbers.random() * 0.5 if cut_min else 0.0
    how = draws(rows, temperature, top_k, top_p, min_p, seed)
    tokens, logprobs = backend.sample(x, *how)
    expected, by_hand = reference.sample(x.double(), *how)
    assert torch.equal(tokens, expected) and tokens.dtype == torch.int64
    torch.testing.assert_close(logprobs, by_hand, rtol=0, atol=1e-12 if x.dtype == torch.float64 else 2e-5)


def test_sample_follows_the_softmax(backend: Operations) -> None:
    """Evenly spread numbers give every token its share, to one in a thousand."""
    count, row = 4000, torch.tensor([0.5, 2.0, -1.0, 2.0, 0.0, -math.inf])
    how = (*draws(count, 0.7)[:4], (torch.arange(count, dtype=torch.float64) + 0.5) / count)
    tokens, _ = backend.sample(row.expand(count, -1).contiguous(), *how)
    shares = (row.double() / 0.7).softmax(-1).tolist()
    counted = Counter(tokens.tolist())
    for token, share in enumerate(shares):
        assert abs(counted[token] / count - share) < 1e-3
    assert tokens[0] == 1 and tokens[-1] == 2, "the likeliest lies at 0, of two like ones the smaller id"


def test_F26_who_else_is_in_the_batch_changes_nothing(backend: Operations) -> None:
    x, how = logits(3, 9, 430, 2.0, 64), list(draws(9, 0.8, 40, 0.9, 0.01))
    how[0][::3] = 0  # greedy rows among the others
    tokens, logprobs = backend.sample(x, *how)
    for row in range(9):
        alone = backend.sample(x[row : row + 1], *(value[row : row + 1] for value in how))
        assert alone[0] == tokens[row] and alone[1] == logprobs[row]


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.nan])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("place", [0, 5, 8, 16])
def test_F65_a_row_without_a_distribution_is_reported_alone(
    backend: Operations, poison: float, temperature: float, place: int
) -> None:
    x = logits(1, 3, 17, 1.0, 64)
    fine = backend.sample(x, *draws(3, temperature))
    x[1, place] = poison
    tokens, logprobs = backend.sample(x, *draws(3, temperature))
    assert tokens[1] == -1 and logprobs[1].isnan()
    assert torch.equal(tokens[::2], fine[0][::2]) and (tokens[::2] >= 0).all()
    x[1] = -math.inf  # nothing is possible
    assert backend.sample(x, *draws(3, temperature))[0].tolist() == [fine[0][0], -1, fine[0][2]]


def test_sample_takes_rows_that_lie_apart(backend: Operations) -> None:
    wide = logits(5, 6, 860, 2.0, 64)
    some = wide[::2, :430]
    assert torch.equal(backend.sample(some, *draws(3))[0], backend.sample(some.contiguous(), *draws(3))[0])


@pytest.mark.parametrize(
    ("which", "value", "message"),
    [
        (0, torch.zeros(4, dtype=torch.float64), "temperature is float64 .4. on cpu, expected contiguous float64 .3."),
        (1, torch.zeros(3), "top_k is float32 .3. on cpu, expected contiguous int64 .3. on the CPU"),
        (4, torch.zeros(6, dtype=torch.float64)[::2], "uniform is .*contiguous"),
    ],
)
def test_F68_sample_refuses(which: int, value: Tensor, message: str) -> None:
    how = list(draws(3))
    how[which] = value
    with pytest.raises(ValueError, match=message):
        backend_or_skip("cpp").sample(logits(0, 3, 7, 1.0, 64), *how)
