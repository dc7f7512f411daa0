"""Advantages, weights of tokens, KL and clip: closed forms, invariances, and what each of them does not have."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from miniapr.rl.advantages import ADVANTAGES, KL, Objective, advantages, token_weights, without_variance

REWARD = st.integers(-8, 8).map(lambda n: n / 4)
BATCH = st.integers(2, 5).flatmap(lambda k: st.lists(st.lists(REWARD, min_size=k, max_size=k), min_size=1, max_size=4))
SIZES = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=4), min_size=1, max_size=5)


def tensor(rows: object) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_closed_forms() -> None:
    rewards = tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0]])
    std = 0.75**0.5 / 3**0.5  # of (1, 0, 0, 0), by K - 1
    batch = (3 * (5 / 8) ** 2 + 5 * (3 / 8) ** 2) / 7
    expected = {
        "mean": [[0.5, -0.5, -0.5, 0.5], [0.75, -0.25, -0.25, -0.25]],
        "std": [[3**0.5 / 2 * s for s in (1, -1, -1, 1)], [0.75 / std, *[-0.25 / std] * 3]],
        "batch-std": [[0.5 / batch**0.5 * s for s in (1, -1, -1, 1)], [x / batch**0.5 for x in (0.75, *[-0.25] * 3)]],
        "leave-one-out": [[2 / 3, -2 / 3, -2 / 3, 2 / 3], [1.0, -1 / 3, -1 / 3, -1 / 3]],
    }
    assert expected.keys() == ADVANTAGES.keys()
    for kind, rows in expected.items():
        torch.testing.assert_close(advantages(rewards, kind), tensor(rows), msg=kind)


@pytest.mark.parametrize("kind", ADVANTAGES)
@given(rows=BATCH, shift=st.integers(-4, 4), scale=st.sampled_from([0.25, 2.0, 3.0]))
@settings(deadline=None, max_examples=40)
def test_a_shift_changes_nothing_and_a_scale_only_what_is_not_divided_by_it(
    kind: str, rows: list[list[float]], shift: int, scale: float
) -> None:
    rewards = tensor(rows)
    plain = advantages(rewards, kind)
    torch.testing.assert_close(plain.sum(-1), torch.zeros(len(rows), dtype=torch.float64))
    torch.testing.assert_close(advantages(rewards + shift, kind), plain)
    factor = 1.0 if kind in ("std", "batch-std") else scale
    torch.testing.assert_close(advantages(rewards * scale, kind), plain * factor)


@given(rows=BATCH)
@settings(deadline=None, max_examples=40)
def test_shifting_one_group_alone_is_seen_by_the_batch_only(rows: list[list[float]]) -> None:
    """The negative control of the invariance above: the batch's std is not one of groups."""
    rewards = tensor([*rows, [i % 2 for i in range(len(rows[0]))]])
    moved = rewards.clone()
    moved[0] += 50
    for kind in ("mean", "std", "leave-one-out"):
        torch.testing.assert_close(advantages(moved, kind), advantages(rewards, kind))
    assert advantages(moved, "batch-std")[-1].abs().max() < advantages(rewards, "batch-std")[-1].abs().max()


@pytest.mark.parametrize("kind", ADVANTAGES)
@pytest.mark.parametrize("value", [0.0, 1.1, 1 / 3, 1.0 + 0.2 * 0.7, -1e30])
def test_groups_without_variance_are_found_and_are_exactly_nothing(kind: str, value: float) -> None:
    for dtype in (torch.float32, torch.float64):
        rewards = torch.tensor([[value] * 7, [1, 0, 0, 0, 0, 0, 0]], dtype=dtype)
        assert without_variance(rewards).tolist() == [True, False]
        assert (advantages(rewards, kind)[0] == 0).all()
        assert advantages(rewards, kind)[1].abs().min() > 0
        assert (advantages(rewards[:1], kind) == 0).all()


def test_division_by_std_nullifies_the_weight_of_a_bonus() -> None:
    """A group of all right (ThreadWeaver): the bonus is all there is, however small it was made."""
    eta = tensor([[0.10, 0.12, 0.15, 0.17]])
    small, large = ({k: advantages(1 + rho * eta, k) for k in ADVANTAGES} for rho in (0.02, 0.5))
    torch.testing.assert_close(small["std"], large["std"])
    torch.testing.assert_close(small["mean"] * 25, large["mean"])
    assert small["std"].abs().max() > 1 and small["mean"].abs().max() < 0.001
    # With one of them wrong the other terms decide, also over std.
    wrong = advantages(torch.cat([1 + 0.5 * eta, tensor([[0.0]])], 1), "std")
    assert wrong[0, -1] < -1.7 and wrong[0, :-1].max() - wrong[0, :-1].min() < 0.1


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_named(bad: float) -> None:
    rewards = torch.zeros(3, 4)
    rewards[1, 2] = bad
    with pytest.raises(ValueError, match=f"rollout 2 of group 1 is {bad}"):
        advantages(rewards)


@pytest.mark.parametrize(
    ("made", "named"),
    [
        (lambda: advantages(torch.zeros(2, 1)), "at least 2"),
        (lambda: Objective(advantage="median"), "median"),
        (lambda: Objective(per="word"), "word"),
        (lambda: Objective(clip=(1.5, 0.2)), "1.5"),
        (lambda: Objective(kl=-1.0), "-1.0"),
        (lambda: Objective(estimator="k4"), "k4"),
        (lambda: Objective(kl=0.1).loss(*[torch.zeros(1)] * 4), "reference"),
    ],
)
def test_bad_options_are_named(made: object, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        made()  # type: ignore[operator]


@given(sizes=SIZES)
@settings(deadline=None, max_examples=60)
def test_weights_of_all_tokens_add_up_to_one_and_shares_are_equal_where_said(sizes: list[list[int]]) -> None:
    assume(any(map(sum, sizes)))
    for per in ("token", "rollout", "branch"):
        weights = token_weights(sizes, per)
        shares = [[n * w for n, w in zip(a, b, strict=True)] for a, b in zip(sizes, weights, strict=True)]
        assert math.isclose(sum(map(sum, shares)), 1)
        if per != "token":
            live = [sum(share) for share in shares if sum(share)]
            assert all(math.isclose(share, 1 / len(live)) for share in live)
        if per == "branch":
            for share in shares:
                told = [x for x in share if x]
                assert all(math.isclose(x, told[0]) for x in told)


def test_per_token_long_rollouts_count_for_more() -> None:
    sizes = [[30], [5, 5]]
    assert token_weights(sizes, "token") == [[1 / 40], [1 / 40, 1 / 40]]
    assert token_weights(sizes, "rollout") == [[1 / 60], [1 / 20, 1 / 20]]
    assert token_weights([[8, 2]], "branch") == [[1 / 16, 1 / 4]]


def policies() -> tuple[Tensor, Tensor]:
    """Logits with a gradient, and the log-probabilities of a reference."""
    logits = tensor([0.3, -0.5, 1.1, 0.0]).requires_grad_()
    return logits, tensor([-0.2, 0.4, 0.6, 0.1]).log_softmax(0)


def test_what_each_estimate_of_the_kl_is_and_what_its_gradient_is() -> None:
    """Exactly, by the sum over all four tokens."""
    logits, reference = policies()
    log = logits.log_softmax(0)
    p = log.detach().exp()  # samples come from the policy, whose gradient does not go through them
    forward = (log.exp() * (log - reference)).sum()
    back = (reference.exp() * (reference - log)).sum()
    slope = torch.autograd.grad(forward, logits, retain_graph=True)[0]
    slope_back = torch.autograd.grad(back, logits, retain_graph=True)[0]
    expected = {"k1": torch.zeros(4, dtype=torch.float64), "k2": slope, "k3": slope_back}
    for name, estimate in KL.items():
        each = estimate(reference - log)
        mean = (p * each).sum()
        assert math.isclose(mean.item(), forward.item()) == (name != "k2"), name
        assert bool((each < 0).any()) == (name == "k1"), name
        gradient = torch.autograd.grad(mean, logits, retain_graph=True)[0]
        torch.testing.assert_close(gradient, expected[name], msg=name)


def gradient(objective: Objective, new: Tensor, *args: Tensor) -> Tensor:
    new = new.clone().requires_grad_()
    return torch.autograd.grad(objective.loss(new, *args), new)[0]


def test_on_policy_a_clip_changes_no_gradient_and_off_policy_it_stops_what_goes_too_far() -> None:
    old, weight = tensor([-1.0, -2.0, -0.5, -1.5]), tensor([0.1, 0.2, 0.3, 0.4])
    advantage = tensor([1.0, -1.0, 1.0, -1.0])
    plain, clipped = Objective(), Objective(clip=(0.2, 0.3))
    same = gradient(plain, old, old, advantage, weight)
    torch.testing.assert_close(same, -weight * advantage)
    torch.testing.assert_close(gradient(clipped, old, old, advantage, weight), same)
    assert not clipped.clipped(old, old, advantage).any()
    new = old + tensor([1.4, 0.7, 1.2, 1.1]).log()
    # 1.4 is beyond 1.3, and 0.7 below 0.8: no more is gained. The others have the ratio as a factor.
    expected = -weight * advantage * tensor([0.0, 0.0, 1.2, 1.1])
    torch.testing.assert_close(gradient(clipped, new, old, advantage, weight), expected)
    assert clipped.clipped(new, old, advantage).tolist() == [True, True, False, False]
    # What has gone the wrong way is never stopped: it must come back.
    back = old + tensor([0.1, 3.0, 0.1, 3.0]).log()
    assert not clipped.clipped(back, old, advantage).any()
    assert (gradient(clipped, back, old, advantage, weight) != 0).all()


def test_parts_of_a_batch_add_up_to_the_batch() -> None:
    torch.manual_seed(0)
    objective = Objective(clip=(0.2, 0.2), kl=0.1)
    given = [torch.randn(12, dtype=torch.float64) for _ in range(5)]
    parts = sum(objective.loss(*[x[a : a + 4] for x in given]) for a in (0, 4, 8))
    torch.testing.assert_close(parts, objective.loss(*given))
