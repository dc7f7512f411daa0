"""What layers are made of: weights that can be packed, and the scales of norms."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops.packed import Norm, Packed, Weight, pack, plain
from .config import ModelConfig


class Matrix(nn.Module):
    """A weight [N, K], and a bias [N] or None. Parameters to be trained, or the weight packed to be read fast."""

    weight: Weight
    bias: Tensor | None

    def __init__(self, rows: int, columns: int, bias: bool = False) -> None:
        super().__init__()
        # In place: of an ordinary quotient on the meta device torch imports its compiler, two seconds of every start.
        self.weight = nn.Parameter(torch.empty(rows, columns).uniform_(-1, 1).div_(math.sqrt(columns)))
        self.bias = nn.Parameter(torch.zeros(rows)) if bias else None

    def pack(self) -> None:
        if isinstance(weight := self.weight, Tensor):
            del self.weight  # a parameter's name takes nothing but parameters
            self.weight = pack(weight)

    def take(self, rows: Tensor) -> Tensor:
        """weight[rows]: [...] int64 -> [..., K]"""
        table = self.weight
        return table.take(rows) if isinstance(table, Packed) else F.embedding(rows, table)

    def with_bias(self, x: Tensor) -> Tensor:
        return x if self.bias is None else x + self.bias

    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if isinstance(self.weight, Packed):
            destination[prefix + "weight"] = plain(self.weight)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        """Into the memory that is there, packed or not: captured steps go on reading it."""
        packed = self.weight
        if isinstance(packed, Packed) and (given := state_dict.get(prefix + "weight")) is not None:
            if given.shape != packed.shape:
                raise ValueError(f"{prefix}weight is {list(given.shape)}, this one is {list(packed.shape)}")
            packed.panels.copy_(pack(given.to(packed.device, packed.dtype)).panels)
            state_dict = {name: value for name, value in state_dict.items() if name != prefix + "weight"}
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _apply(self, *args: Any, **kwargs: Any) -> Matrix:
        if isinstance(self.weight, Packed):
            raise ValueError("a packed model cannot be moved or converted: load it again with what you want")
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]
        return self


class Scale(nn.Module):
    """The scale of an RMSNorm, or scale and bias of a LayerNorm. It is applied by whatever reads the normed vector."""

    bias: Tensor | None

    def __init__(self, size: int, eps: float, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size)) if bias else None
        self.eps = eps

    @property
    def norm(self) -> Norm:
        return Norm(self.weight, self.eps, self.bias)


def norm_of(config: ModelConfig) -> Scale:
    return Scale(config.hidden_size, config.rms_norm_eps, bias=config.model_type == "gpt2")
