"""Choosing a token: the cuts, the draw, and whose randomness it is."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest
import torch
from helpers import ids, make_engine, plain_logits, small_model
from hypothesis import given
from hypothesis import strategies as st

from miniapr.engine.sampling import Sampling, sample, uniforms
from miniapr.ops import Operations

logit_rows = st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=12).map(
    lambda row: torch.tensor(row, dtype=torch.float64)
)
uniform = st.floats(0, 1, exclude_max=True)
warm = st.builds(
    Sampling,
    temperature=st.floats(0.05, 5),
    top_k=st.integers(0, 14),
    top_p=st.floats(0.01, 1),
    min_p=st.floats(0, 1),
)


def draw(logits: torch.Tensor, params: Sampling, u: float) -> int:
    return sample(logits[None], [params], [u])[0].id


def support(logits: torch.Tensor, params: Sampling) -> set[int]:
    """The tokens that may be drawn, cut by cut, each in plain Python."""
    scaled = (logits / params.temperature).softmax(-1).tolist()
    order = sorted(range(len(scaled)), key=lambda i: -scaled[i])
    if params.top_k:
        order = order[: params.top_k]
    total, before, kept = sum(scaled[i] for i in order), 0.0, []
    for i in order:
        if before < params.top_p * (1 + 1e-9):
            kept.append(i)
        before += scaled[i] / total
    top = scaled[kept[0]]
    return {i for i in kept if scaled[i] >= params.min_p * top * (1 - 1e-9)}


@given(logit_rows, warm, uniform)
def test_nothing_outside_top_k_top_p_and_min_p_is_ever_drawn(row: torch.Tensor, params: Sampling, u: float) -> None:
    """Up to ties: what is drawn is as likely as something that may be."""
    drawn, allowed = draw(row, params, u), support(row, params)
    assert any(math.isclose(row[drawn], row[i], rel_tol=1e-6, abs_tol=1e-6) for i in allowed)


@given(logit_rows, uniform)
def test_a_temperature_near_zero_is_greedy(row: torch.Tensor, u: float) -> None:
    best = draw(row, Sampling(), u)
    assert row[best] == row.max()
    top = row.sort(descending=True).values
    if top[0] - top[1] > 1e-2:
        assert draw(row, Sampling(temperature=1e-4), u) == best
    assert row[draw(row, Sampling(temperature=3.0, top_k=1), u)] == row.max()
    assert row[draw(row, Sampling(temperature=3.0, top_p=1e-9), u)] == row.max()
    assert row[draw(row, Sampling(temperature=3.0, min_p=1.0), u)] == row.max()


@pytest.mark.parametrize(
    "params",
    [
        Sampling(temperature=1.0),
        Sampling(temperature=0.5),
        Sampling(temperature=2.0, top_k=3),
        Sampling(temperature=1.0, top_p=0.7),
        Sampling(temperature=1.5, min_p=0.3),
    ],
    ids=str,
)
def test_frequencies_are_the_probabilities(params: Sampling) -> None:
    logits = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, -3.0], dtype=torch.float64)
    allowed = support(logits, params)
    weight = (logits / params.temperature).exp() * torch.tensor([float(i in allowed) for i in range(6)])
    expected = (weight / weight.sum()).tolist()
    rng, n = random.Random(0), 4000
    drawn = sample(logits.expand(n, -1), [params] * n, [rng.random() for _ in range(n)])
    counts = [sum(token.id == i for token in drawn) for i in range(6)]
    chi = sum((c - n * p) ** 2 / (n * p) for c, p in zip(counts, expected, strict=True) if p)
    assert chi < 22  # 5 degrees of freedom at most: once in two thousand
    assert all(count == 0 for count, p in zip(counts, expected, strict=True) if not p)


@given(st.lists(st.tuples(warm, uniform), min_size=1, max_size=5), st.integers(0, 999))
def test_f36_batch_mates_do_not_change_a_draw(rows: list[tuple[Sampling, float]], seed: int) -> None:
    rng = random.Random(seed)
    logits = torch.tensor([[rng.gauss(0, 2) for _ in range(9)] for _ in rows], dtype=torch.float64)
    together = sample(logits, [params for params, _ in rows], [u for _, u in rows])
    assert [token.id for token in together] == [
        draw(row, params, u) for row, (params, u) in zip(logits, rows, strict=True)
    ]


def test_the_uniform_number_walks_through_the_cumulative_distribution() -> None:
    logits = torch.tensor([0.1, 0.6, 0.3], dtype=torch.float64).log()
    points = [0.0, 0.59, 0.61, 0.89, 0.91, 1 - 1e-12]
    assert [draw(logits, Sampling(temperature=1.0), u) for u in points] == [1, 1, 2, 2, 0, 0]


def test_logprobs_are_those_of_the_plain_softmax_and_alternatives_are_in_order() -> None:
    logits = torch.tensor([[0.5, 2.0, 1.0, -1.0]], dtype=torch.float64)
    expected = logits.log_softmax(-1)[0]
    (token,) = sample(logits, [Sampling(temperature=5.0, logprobs=3)], [0.999])
    assert token.logprob == pytest.approx(float(expected[token.id]))
    assert [id for id, _ in token.alternatives] == [1, 2, 0]
    assert [lp for _, lp in token.alternatives] == pytest.approx(expected[[1, 2, 0]].tolist())
    (many,) = sample(logits, [Sampling(logprobs=100)], [0.0])
    assert len(many.alternatives) == 4


def test_of_one_token_there_is_one_number_wherever_it_stands(backend: Operations) -> None:
    logits = torch.randn(50, 300, generator=torch.Generator().manual_seed(0)) * 4
    for token in sample(logits, [Sampling(logprobs=2)] * 50, [0.0] * 50, backend):
        assert token.alternatives[0] == (token.id, token.logprob)


def test_each_row_reports_as_many_alternatives_as_it_asked_for() -> None:
    logits = torch.zeros(3, 5)
    tokens = sample(logits, [Sampling(logprobs=n) for n in (0, 2, 4)], [0.0] * 3)
    assert [len(token.alternatives) for token in tokens] == [0, 2, 4]


def test_logits_that_are_nan_are_an_error_not_a_token() -> None:
    with pytest.raises(ValueError, match="NaN"):
        sample(torch.tensor([[0.0, math.nan]]), [Sampling()], [0.0])


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"temperature": 101},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_p": math.nan},
        {"min_p": -0.1},
        {"min_p": 1.5},
        {"logprobs": -1},
        {"logprobs": 101},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Sampling(**wrong)


def test_m6_generators_of_siblings_differ_and_repeat() -> None:
    params = Sampling(temperature=1.0, seed=4)
    paths = [(0,), (0, 1, 0), (0, 1, 1), (0, 2, 0), (0, 1, 0, 1, 0)]
    keys = [params.key(path) for path in paths]
    drawn = [tuple(uniforms([key] * 3, range(3)).tolist()) for key in keys]
    assert len({number for numbers in drawn for number in numbers}) == 3 * len(paths)
    assert drawn == [tuple(uniforms([params.key(path)] * 3, range(3)).tolist()) for path in paths]
    assert params.key((0,)) != Sampling(temperature=1.0, seed=5).key((0,))


def test_m6_no_two_branches_have_the_same_random_numbers() -> None:
    numbers = (-11, -1, *range(13), 111)
    paths = [path for length in (1, 2, 3) for path in itertools.product(numbers, repeat=length)]
    keys = {Sampling(seed=seed).key(path) for seed in (0, 1, 11) for path in paths}
    assert len(keys) == 3 * len(paths)


def test_random_numbers_are_uniform_and_one_says_nothing_of_the_next() -> None:
    n = 20_000
    of_one, of_many = uniforms([7] * n, range(n)), uniforms(range(n), [0] * n)
    for drawn in (of_one, of_many):
        assert drawn.min() >= 0 and drawn.max() < 1
        shares = np.bincount((drawn * 20).astype(int), minlength=20) / n
        assert abs(shares - 0.05).max() < 6 * math.sqrt(0.05 * 0.95 / n)  # six standard deviations
        assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 6 / math.sqrt(n)


def test_a_greedy_run_is_the_dense_decoder_taking_its_likeliest_token() -> None:
    engine = make_engine()
    root = engine.start([1, 2, 3])
    engine.decode([root], max_tokens=6)
    text = [1, 2, 3]
    for _ in range(6):
        text.append(int(plain_logits(small_model(), text).argmax()))
    assert ids(root) == text[3:]


def test_a_sampled_run_repeats_and_its_seed_matters() -> None:
    def say(seed: int) -> list[int]:
        engine = make_engine()
        engine.decode([root := engine.start([1, 2, 3], Sampling(temperature=1.0, seed=seed))], max_tokens=8)
        return ids(root)

    assert say(1) == say(1)
    assert say(1) != say(2)
