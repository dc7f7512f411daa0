"""The operations of a step, in interchangeable implementations: those on the block pool, and those of a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from .backends import available, load
from .packed import Norm, Packed, Weight
from .plan import AttentionPlan, PlanBuilder


class LayerOperations(Protocol):
    """What a decoder layer is made of, but for attention. ``ops/reference.py`` says exactly what each does."""

    def linear(
        self, x: Tensor, weights: Sequence[Weight], norm: Norm | None = None, add: Tensor | None = None
    ) -> Tensor: ...

    def swiglu(self, x: Tensor, gate: Weight, up: Weight, norm: Norm | None = None) -> Tensor: ...

    def rope(self, x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool, norm: Norm | None = None) -> Tensor: ...


class Operations(LayerOperations, Protocol):
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

    def copy_and_shift(
        self,
        k_cache: Tensor,
        v_cache: Tensor,
        source: Tensor,
        target: Tensor,
        turn: Tensor,
        shift_cos: Tensor,
        shift_sin: Tensor,
        interleaved: bool,
    ) -> None: ...

    def sample(
        self, logits: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor, uniform: Tensor
    ) -> tuple[Tensor, Tensor]: ...


__all__ = [
    "AttentionPlan",
    "Norm",
    "Operations",
    "Packed",
    "PlanBuilder",
    "Weight",
    "available",
    "load",
]
