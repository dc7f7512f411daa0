"""Rotary position embedding: a pure rotation, so that positions add up.

RoFormer (Su et al. 2021, section 3.2): dimension pair i of a vector at position p turns by p * theta^(-2i/d).
Rotations compose, R(a) R(b) = R(a + b), and scores depend on differences only. Everything this engine
does with positions rests on that: a key stored at s and seen as moved by d scores against a query at p
as R(p - (s + d)). So either the key turns by d (shift_keys) or the query turns by -d (paged_attention).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..ops.reference import rotate

__all__ = ["angles", "cos_sin", "rotate"]


def angles(positions: Tensor, head_dim: int, theta: float) -> Tensor:
    """[...] int64 -> [..., head_dim / 2] float64. In float32 position 100,000 is off by a hundredth of a turn."""
    pair = torch.arange(0, head_dim, 2, dtype=torch.float64, device=positions.device)
    return positions.to(torch.float64)[..., None] * theta ** (-pair / head_dim)


def cos_sin(positions: Tensor, head_dim: int, theta: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """cos and sin of the rotation to each position, [..., head_dim / 2] each, for vectors of type ``dtype``.

    In float32 at least: bfloat16 tells cosines apart by 1/256 only, so far positions would melt together.
    """
    turn, dtype = angles(positions, head_dim, theta), torch.promote_types(dtype, torch.float32)
    return turn.cos().to(dtype), turn.sin().to(dtype)
