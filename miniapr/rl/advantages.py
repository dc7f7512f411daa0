"""From rewards to a gradient: what a rollout is worth beside its siblings, and what each of its tokens weighs.

A *group* is K rollouts of one problem; a batch is G groups. All tokens of a rollout, in whatever branch, have its one
advantage: the log-probability of a tree is the sum over its tokens, so that is the policy gradient itself (P-GRPO,
ThreadWeaver, arXiv 2512.07843; APR, arXiv 2504.15466). Everything here is a function of its arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def without_variance(rewards: Tensor) -> Tensor:
    """Which groups teach nothing, as all their rewards are one: rewards [G, K] -> [G] bool. By comparison, not by
    variance: the mean of equal numbers need not round to that number."""
    return rewards.amax(-1) == rewards.amin(-1)


def mean_only(rewards: Tensor) -> Tensor:
    """r - mean of its group. The size of a reward's small terms stays as it was chosen (P-GRPO; Dr. GRPO, arXiv
    2503.20783)."""
    return rewards - rewards.mean(-1, keepdim=True)


def over_std(rewards: Tensor) -> Tensor:
    """(r - mean) / std of its group (GRPO, arXiv 2402.03300). In a group of all right it blows whatever small term is
    left up to unit variance, however small its weight was."""
    return mean_only(rewards) / rewards.std(-1, keepdim=True)


def over_batch_std(rewards: Tensor) -> Tensor:
    """(r - mean of its group) / std of the whole batch (NPR's PAPO, arXiv 2512.07461)."""
    return mean_only(rewards) / rewards.std()


def leave_one_out(rewards: Tensor) -> Tensor:
    """r - mean of its siblings, itself left out: K / (K - 1) times r - mean, and unbiased (RLOO, arXiv 2402.14740)."""
    k = rewards.shape[-1]
    return mean_only(rewards) * (k / (k - 1))


ADVANTAGES: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": mean_only,
    "std": over_std,
    "batch-std": over_batch_std,
    "leave-one-out": leave_one_out,
}


def advantages(rewards: Tensor, kind: str = "mean") -> Tensor:
    """rewards [G, K] -> advantages [G, K], exactly 0 in a group without variance.

    Raises ValueError for a reward that is no finite number, a group of one, or an unknown kind.
    """
    if kind not in ADVANTAGES:
        raise ValueError(f"an advantage is one of {', '.join(ADVANTAGES)}, got {kind!r}")
    if rewards.shape[-1] < 2:
        raise ValueError(f"a group needs at least 2 rollouts to compare, has {rewards.shape[-1]}")
    for group, k in (~rewards.isfinite()).nonzero()[:1].tolist():
        raise ValueError(f"the reward of rollout {k} of group {group} is {float(rewards[group, k])}")
    flat = without_variance(rewards)[:, None]  # [G, 1]
    return torch.where(flat, 0.0, ADVANTAGES[kind](rewards))


def token_weights(sizes: Sequence[Sequence[int]], per: str = "token") -> list[list[float]]:
    """What one token weighs in the loss of a batch; over all of its tokens the weights add up to 1.

    sizes    of each rollout, how many tokens were written in each of its branches
    per      "token": all alike, so long rollouts count for more (DAPO, arXiv 2503.14476)
             "rollout": the mean of each rollout's tokens, so that rollouts count alike (GRPO)
             "branch": the mean of each branch's tokens, the mean of these, so that branches of a rollout do too (APR)
    returns  of each rollout, the weight of a token in each of its branches. One in which nothing was written has none

    Of the whole batch, before it is cut into parts: the parts' losses then add up to the batch's, in whatever order and
    on however many machines.
    """
    tokens = [sum(branches) for branches in sizes]
    live = max(1, sum(map(bool, tokens)))
    every = max(1, sum(tokens))
    if per == "token":
        return [[1 / every] * len(branches) for branches in sizes]
    if per == "rollout":
        return [[1 / (live * max(1, n))] * len(branches) for n, branches in zip(tokens, sizes, strict=True)]
    if per == "branch":
        return [[1 / (live * max(1, sum(map(bool, b))) * max(1, n)) for n in b] for b in sizes]
    raise ValueError(f'loss is normalised per "token", "rollout" or "branch", got {per!r}')


# From the log-ratio d = log reference - log policy of sampled tokens to estimates of KL(policy || reference) (Schulman
# 2020, "Approximating KL divergence"). As a loss they are not what they are as an estimate: of k1 the gradient is 0 in
# expectation, k2 has the gradient of the KL, k3 that of the KL the other way round.
KL: dict[str, Callable[[Tensor], Tensor]] = {
    "k1": lambda d: -d,  # unbiased, and negative for single tokens
    "k2": lambda d: d.square() / 2,  # biased
    "k3": lambda d: d.expm1() - d,  # unbiased, never negative: GRPO's
}


@dataclass(frozen=True)
class Objective:
    """What is minimised. By default P-GRPO: on-policy, r - mean, no ratio, no clip, no KL. Raises ValueError on bad
    values.

    advantage  a name in ``ADVANTAGES``
    per        how tokens are weighed: see ``token_weights``
    clip       None: the plain policy gradient. (low, high): PPO's, where the ratio of the new probability to the one
               at sampling stops to pay beyond 1 - low and 1 + high (arXiv 1707.06347; "clip higher": DAPO)
    kl         weight of the KL to a reference policy, by ``estimator``
    """

    advantage: str = "mean"
    per: str = "token"
    clip: tuple[float, float] | None = None
    kl: float = 0.0
    estimator: str = "k3"

    def __post_init__(self) -> None:
        advantages(torch.zeros(1, 2), self.advantage)
        token_weights([], self.per)
        if self.clip is not None and not (len(self.clip) == 2 and 0 <= self.clip[0] <= 1 and self.clip[1] >= 0):
            raise ValueError(f"a clip is (low, high) with low from 0 to 1 and high at least 0, got {self.clip}")
        if not 0 <= self.kl < math.inf:
            raise ValueError(f"the weight of the KL is 0 or more, got {self.kl}")
        if self.estimator not in KL:
            raise ValueError(f"a KL is estimated by {', '.join(KL)}, got {self.estimator!r}")

    def loss(
        self, new: Tensor, old: Tensor, advantage: Tensor, weight: Tensor, reference: Tensor | None = None
    ) -> Tensor:
        """The loss of N written tokens, to be added up over the parts of a batch.

        new, old, reference  [N], log-probabilities: of the policy with its gradient, as sampling reported them, and of
                             the reference policy (wanted if ``kl`` is not 0)
        advantage, weight    [N], the advantage of each token's rollout, and what the token weighs
        """
        gain = advantage * new
        if self.clip is not None:
            ratio = (new - old).exp()
            gain = torch.minimum(advantage * ratio, advantage * ratio.clamp(1 - self.clip[0], 1 + self.clip[1]))
        loss = -(weight * gain).sum()
        if self.kl:
            if reference is None:
                raise ValueError(f"a KL of weight {self.kl} needs the reference policy's log-probabilities")
            loss = loss + self.kl * (weight * KL[self.estimator](reference - new)).sum()
        return loss

    def clipped(self, new: Tensor, old: Tensor, advantage: Tensor) -> Tensor:
        """Which of N tokens the clip has stopped: [N] bool. They have no gradient."""
        if self.clip is None:
            return torch.zeros_like(new, dtype=torch.bool)
        ratio = (new - old).exp()
        return ((advantage > 0) & (ratio > 1 + self.clip[1])) | ((advantage < 0) & (ratio < 1 - self.clip[0]))
