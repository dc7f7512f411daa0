"""Weights of a half-split model for a program that turns interleaved pairs."""

from __future__ import annotations

import torch
from torch import Tensor


def rotate(x: Tensor, positions: Tensor, interleaved: bool) -> Tensor:
    """x [T, heads, D], each row turned to its position [T]. (Nothing is wrong here.)"""
    size = x.shape[-1]
    angle = positions[:, None] * 10_000.0 ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)  # [T, D / 2]
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]  # [T, 1, D / 2]
    a, b = (x[..., 0::2], x[..., 1::2]) if interleaved else x.chunk(2, -1)  # [T, heads, D / 2]
    turned = a * cos - b * sin, b * cos + a * sin
    return torch.stack(turned, -1).flatten(-2) if interleaved else torch.cat(turned, -1)


def to_interleaved(weight: Tensor, heads: int) -> Tensor:
    """The rows of a query or key matrix [heads * D, width] in the order that interleaved pairs need."""
    # <solution>
    halves = weight.unflatten(0, (heads, 2, -1))  # [heads, 2, D / 2, width]: the half, then the pair
    # </solution>
    # <stub>
    # halves = weight.unflatten(0, (heads, -1, 2))
    # </stub>
    return halves.transpose(1, 2).flatten(0, 2)  # [heads * D, width]
