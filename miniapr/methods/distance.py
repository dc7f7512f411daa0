"""How far the joins are from re-prefill: what each says comes next, all along the conclusion that re-prefill wrote."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..engine.branch import Branch
from ..engine.operations import All, Extend, Join, Release, Settle, Start
from ..engine.request import Program
from ..engine.sampling import Sampling
from .compare import Comparison, Method

TRUTH = "reprefill"


def read(branch: Branch, tokens: Sequence[int]) -> Program:
    """A branch reads given tokens one after the other (teacher forcing). Gives its logits before each, [N, V]."""
    said: list[Tensor] = []
    for token in tokens:
        yield Settle([branch])
        assert branch.logits is not None
        said.append(branch.logits)
        yield Extend(branch, [token])
    return torch.stack(said)


def apart(truth: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """KL(truth || other) in nats, and whether the likeliest token is the same; of logits [..., V], [...] each."""
    p, q = truth.double().log_softmax(-1), other.double().log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1).clamp(min=0), p.argmax(-1) == q.argmax(-1)


def branched(method: Method, sampling: Sampling) -> Program:
    """Think up to the join. Gives the root and its branches, settled: every join starts from this state."""
    root = yield Start(method.prompt, sampling)
    branches = yield from method.plan(root)
    yield All([method.think(branch) for branch in branches])
    yield Settle(branches)
    return root, branches


def distances(result: Comparison, method: Method, conclusion: Sequence[int], sampling: Sampling) -> Program:
    """A program that fills in how far each join of a ``result`` is from re-prefill, which wrote ``conclusion``. The
    thought is repeated up to its joins, so on an engine that nobody draws or counts."""
    root, branches = yield from branched(method, sampling)
    said: dict[str, Tensor] = {}  # [N, V] each
    for how in result.joins:
        joined = yield Join(root, branches, how, then=method.then, keep=True)
        said[how] = yield from read(joined, conclusion)
        yield Release([joined])
    for how, joined in result.joins.items():
        kl, same = apart(said[TRUTH], said[how])
        joined.kl_to_reprefill, joined.top1_agrees = float(kl.mean()), float(same.double().mean())
