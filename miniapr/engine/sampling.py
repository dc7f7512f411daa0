"""From logits to a token: greedy, temperature, top-k, top-p, min-p, one seeded generator per branch."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How a branch chooses its tokens. Frozen: children can share it, since no state lives here (M6, F29).

    temperature  0 is greedy
    top_k        keep the k likeliest, 0: all
    top_p        then the smallest set of likeliest tokens that holds this much probability (Holtzman et al. 2020)
    min_p        then those at least this fraction as likely as the likeliest (Nguyen et al. 2024)
    seed         of the root; every child derives its own, so siblings differ and a run can be repeated
    logprobs     how many alternatives to report for each token
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0
    logprobs: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and 0 <= self.temperature <= 100):
            raise ValueError(f"temperature must be in 0..100, is {self.temperature}")
        if self.top_k < 0:
            raise ValueError(f"top_k must be at least 0 (0: all), is {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], is {self.top_p}")
        if not 0 <= self.min_p <= 1:
            raise ValueError(f"min_p must be in [0, 1], is {self.min_p}")
        if not 0 <= self.logprobs <= 100:
            raise ValueError(f"logprobs must be in 0..100, is {self.logprobs}")

    def generator(self, path: Sequence[int]) -> random.Random:
        """The generator of the branch at ``path`` (its number among the children, from the root down)."""
        return random.Random(f"{self.seed}/{'/'.join(map(str, path))}")


@dataclass(frozen=True)
class Token:
    """A sampled token: its id, log-probability (of the plain softmax) and the likeliest alternatives."""

    id: int
    logprob: float
    alternatives: tuple[tuple[int, float], ...] = ()


def together(rows: Sequence[Tensor]) -> Tensor:
    """Rows [V] as one tensor [M, V]: without a copy where they lie one after the other, as a step leaves them."""
    first, size = rows[0], len(rows[0])
    memory, begin, step = first.untyped_storage().data_ptr(), first.data_ptr(), size * first.itemsize
    for number, row in enumerate(rows):
        if row.data_ptr() != begin + number * step or row.untyped_storage().data_ptr() != memory:
            return torch.stack(list(rows))
    return first.as_strided((len(rows), size), (size, 1))


def sample(logits: Tensor, params: Sequence[Sampling], uniforms: Sequence[float]) -> list[Token]:
    """One token for each row, by inverting the cumulative distribution at the row's own uniform number.

    The number is drawn by the caller from the branch's generator, so that who else is in the batch
    changes nothing.

    logits  [M, vocab_size]
    Raises ValueError if a row holds NaN or +inf: there is nothing to choose from.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    logprobs = logits.log_softmax(-1)  # [M, V]
    chosen = logits.argmax(-1)  # [M]
    picked = logprobs.gather(1, chosen[:, None])[:, 0].tolist()
    if not all(map(math.isfinite, picked)):  # a NaN or +inf makes its whole row NaN
        raise ValueError("the model's logits hold NaN or infinity")
    warm = [row for row, p in enumerate(params) if p.temperature > 0]
    if warm:
        some = [params[row] for row in warm]
        u = torch.tensor([uniforms[row] for row in warm], dtype=torch.float64)
        chosen[warm] = _draw(logits[warm].double().cpu(), some, u).to(chosen.device)
        picked = logprobs.gather(1, chosen[:, None])[:, 0].tolist()
    wide = max((p.logprobs for p in params), default=0)
    if not wide:
        return [Token(*pair) for pair in zip(chosen.tolist(), picked, strict=True)]
    top = logprobs.topk(min(wide, logits.shape[1]), -1)
    listed = zip(chosen.tolist(), picked, top.indices.tolist(), top.values.tolist(), params, strict=True)
    return [Token(id, lp, tuple(zip(ids, lps, strict=True))[: p.logprobs]) for id, lp, ids, lps, p in listed]


def _draw(logits: Tensor, params: Sequence[Sampling], u: Tensor) -> Tensor:
    """logits [M, V] float64, u [M] in [0, 1) -> [M] int64"""

    def column(name: str) -> Tensor:
        return torch.tensor([getattr(p, name) for p in params], dtype=torch.float64)[:, None]  # [M, 1]

    # A stable sort: equal logits keep the order of their ids, whatever the batch.
    logits, order = (logits / column("temperature")).sort(dim=-1, descending=True, stable=True)
    rank = torch.arange(logits.shape[1])
    top_k = column("top_k")
    logits = logits.masked_fill((rank >= top_k) & (top_k > 0), -math.inf)
    p = logits.softmax(-1)
    # Probability before each token: the first token always stays, even if it alone exceeds top_p.
    p = p.masked_fill(p.cumsum(-1) - p >= column("top_p"), 0)
    p = p.masked_fill(p < column("min_p") * p[:, :1], 0)
    edge = p.cumsum(-1)
    index = torch.searchsorted(edge, u[:, None] * edge[:, -1:], right=True)[:, 0]  # [M]
    last = (p > 0).sum(-1) - 1  # rounding must not pick a token that was cut
    return order.gather(1, torch.minimum(index, last)[:, None])[:, 0]
