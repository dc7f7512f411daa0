"""Weights laid out for a step: few rows come in, so the time is that of reading the weight once.

        weight [N, K]                          panels [N / 16, K, 16]
    n   ┌──────────────┐           one panel = 16 outputs:   k=0 │n0 n1 ... n15│
        │ row n: K     │     →     at every k, 16 neighbours    k=1 │n0 n1 ... n15│  one stream, in order
        └──────────────┘           in one load                  ...

A plain row-major weight makes the kernel gather 16 rows or add across lanes; a panel is read from beginning
to end, each load is multiplied by one broadcast number of x, and memory is the only limit. bfloat16 keeps
pairs of k together, [N / 16, K / 2, 16, 2], so that one load holds 16 outputs twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad

PANEL = 16


class Norm(NamedTuple):
    """An RMSNorm (Zhang & Sennrich 2019): x / sqrt(mean(x^2) + eps) * weight. With a bias it is a LayerNorm (Ba et al.
    2016): x is centred first, and the bias is added last."""

    weight: Tensor
    eps: float
    bias: Tensor | None = None


@dataclass(frozen=True)
class Packed:
    """A weight [N, K] in panels. Rows beyond N and an odd K's last column are zeros.

    panels  [ceil(N / 16), K, 16], or [ceil(N / 16), ceil(K / 2), 16, 2] in bfloat16; contiguous
    shape   (N, K)

    Raises ValueError if the two do not go together: kernels trust them.
    """

    panels: Tensor
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        rows, depth = self.shape
        paired = self.dtype == torch.bfloat16
        want = (-(-rows // PANEL), -(-depth // 2), PANEL, 2) if paired else (-(-rows // PANEL), depth, PANEL)
        if self.panels.shape != want or not self.panels.is_contiguous():
            raise ValueError(f"panels {list(self.panels.shape)} for a weight {list(self.shape)}, expected {list(want)}")

    @property
    def dtype(self) -> torch.dtype:
        return self.panels.dtype

    @property
    def device(self) -> torch.device:
        return self.panels.device

    def numel(self) -> int:
        return self.shape[0] * self.shape[1]

    def unpack(self) -> Tensor:
        """The weight as it was, [N, K], in new memory."""
        by_row = self.panels.transpose(1, 2).flatten(2).flatten(0, 1)  # [16 P, K]
        return by_row[: self.shape[0], : self.shape[1]].contiguous()

    def take(self, rows: Tensor) -> Tensor:
        """weight[rows]: [...] int64 -> [..., K]. An embedding whose table is also the head's weight."""
        panel, lane = rows // PANEL, rows % PANEL
        return self.panels[panel, :, lane].flatten(rows.dim())[..., : self.shape[1]]  # [..., K] of [..., K(, 2)]


Weight: TypeAlias = Tensor | Packed


def pack(weight: Tensor) -> Packed:
    """Lay a weight [N, K] out in panels, in new memory."""
    rows, depth = weight.shape
    pairs = 2 if weight.dtype == torch.bfloat16 else 1
    padded = pad(weight.detach(), (0, -depth % pairs, 0, -rows % PANEL))
    panels = padded.unflatten(0, (-1, PANEL)).transpose(1, 2)  # [P, K, 16]
    if pairs == 2:
        panels = panels.unflatten(1, (-1, 2)).transpose(2, 3)  # [P, K / 2, 16, 2]
    return Packed(panels.contiguous(), (rows, depth))


def plain(weight: Weight) -> Tensor:
    """[N, K], whichever way it is kept."""
    return weight.unpack() if isinstance(weight, Packed) else weight
