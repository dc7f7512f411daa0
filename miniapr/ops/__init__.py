"""The four operations on the block pool, in interchangeable implementations."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from .backends import available, load
from .plan import AttentionPlan, PlanBuilder


class Operations(Protocol):
    """What a backend provides. ``ops/reference.py`` says exactly what each operation does."""

    name: str

    def write_kv(self, k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, slots: Tensor) -> None: ...

    def paged_attention(
        self,
        q: Tensor,
        k_cache: Tensor,
        v_cache: Tensor,
        plan: AttentionPlan,
        shift_cos: Tensor,
        shift_sin: Tensor,
        interleaved: bool,
    ) -> Tensor: ...

    def copy_blocks(self, k_cache: Tensor, v_cache: Tensor, source: Tensor, target: Tensor) -> None: ...

    def shift_keys(
        self, k_cache: Tensor, blocks: Tensor, turn: Tensor, shift_cos: Tensor, shift_sin: Tensor, interleaved: bool
    ) -> None: ...


__all__ = ["AttentionPlan", "Operations", "PlanBuilder", "available", "load"]
