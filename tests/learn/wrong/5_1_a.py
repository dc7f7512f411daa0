"""Nothing divided by nothing."""

from __future__ import annotations

import torch
from torch import Tensor

State = tuple[Tensor, Tensor]  # value [D], log-sum-exp []


def state(q: Tensor, k: Tensor, v: Tensor) -> State:
    """Attention of a query [D] over keys and values [T, D], T may be 0. Of no keys: value 0, log-sum-exp -inf."""
    scores = k @ q / len(q) ** 0.5  # [T]
    lse = scores.logsumexp(0)
    if lse == -torch.inf:  # no key is there to weigh: 0 / 0 must not arise
        return torch.zeros_like(q), lse
    return (scores - lse).exp() @ v, lse


def merge(a: State, b: State) -> State:
    """The state of both pieces together."""
    lse = torch.logaddexp(a[1], b[1])
    return (a[1] - lse).exp() * a[0] + (b[1] - lse).exp() * b[0], lse
