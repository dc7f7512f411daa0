"""From logits to a token: greedy, temperature, top-k, top-p, min-p, one seeded generator per branch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..ops import Operations, reference


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

    def key(self, path: Sequence[int]) -> int:
        """The key of the random numbers of the branch at ``path`` (its number among the children, from the root
        down): 64 bits in which seed and path are mixed."""
        text = f"{self.seed}/{'/'.join(map(str, path))}"
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


class Token(NamedTuple):
    """A sampled token: its id, log-probability (of the plain softmax) and the likeliest alternatives."""

    id: int
    logprob: float
    alternatives: tuple[tuple[int, float], ...] = ()


def uniforms(keys: Sequence[int], drawn: Sequence[int]) -> npt.NDArray[np.float64]:
    """For each key the uniform number in [0, 1) that comes after ``drawn`` others.

    A function of key and count (SplitMix64: Steele, Lea and Flood 2014), so a generator is two integers: nothing
    to copy for a fork or a commit, and all branches' numbers come from one call.
    """
    with np.errstate(over="ignore"):
        z = np.array(keys, np.uint64) + (np.array(drawn, np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    uniform: npt.NDArray[np.float64] = (z >> np.uint64(11)) * 2.0**-53
    return uniform


Row = tuple[Tensor, int]  # logits [M, V] of a step, and which of its rows


def together(rows: Sequence[Row]) -> Tensor:
    """The rows as one tensor [M, V]: without a copy where they are all that a step left, in its order."""
    whole, numbers = rows[0][0], [number for _, number in rows]
    if any(tensor is not whole for tensor, _ in rows):
        return torch.stack([tensor[number] for tensor, number in rows])
    return whole if numbers == list(range(len(whole))) else whole[numbers]


def sample(
    logits: Tensor, params: Sequence[Sampling], drawn: Sequence[float], ops: Operations = reference
) -> list[Token]:
    """One token for each row, by inverting the cumulative distribution at the row's own uniform number (which is
    ignored where temperature is 0), so that who else is in the batch changes nothing.

    logits  [M, vocab_size]
    Raises ValueError if a row holds NaN or +inf: there is nothing to choose from.
    """
    if any(p.temperature for p in params):
        temperature, top_p, min_p, uniform = (
            torch.from_numpy(np.array(column, dtype=np.float64))  # [M]
            for column in ([p.temperature for p in params], [p.top_p for p in params], [p.min_p for p in params], drawn)
        )
        top_k = torch.from_numpy(np.array([p.top_k for p in params], dtype=np.int64))
    else:
        temperature = top_p = min_p = uniform = torch.zeros(len(params), dtype=torch.float64)
        top_k = torch.zeros(len(params), dtype=torch.int64)
    chosen, picked = (x.tolist() for x in ops.sample(logits, temperature, top_k, top_p, min_p, uniform))
    if min(chosen) < 0:
        raise ValueError("the model's logits hold NaN or infinity")
    wide = max(p.logprobs for p in params)
    if not wide:
        return list(map(Token, chosen, picked))
    # In double precision, as the operation has it; of one token there is one number, wherever it stands.
    logprobs = logits.double().log_softmax(-1)  # [M, V]
    same = logprobs.gather(1, torch.tensor(chosen, device=logits.device)[:, None])[:, 0].tolist()
    top = logprobs.topk(min(wide, logits.shape[1]), -1)
    tokens = []
    for row, (ids, listed) in enumerate(zip(top.indices.tolist(), top.values.tolist(), strict=True)):
        many = params[row].logprobs
        alternatives = tuple(zip(ids[:many], listed[:many], strict=True))
        tokens.append(Token(chosen[row], same[row] if many else picked[row], alternatives))
    return tokens
