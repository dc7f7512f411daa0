"""The operations as torch operators ``miniapr::write_kv`` and so on, so that ``torch.compile``, ``torch.export``
and profilers see them as one thing each. Importing this module registers them.

They run in C++ where it was built, else in plain PyTorch. The engine calls the plain functions, which cost
less per call. A plan travels as its ten tensors, in the order of the fields of ``AttentionPlan``.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from . import Operations
from .backends import load
from .plan import AttentionPlan


def _operations(x: Tensor) -> Operations:
    if x.device.type != "cpu":
        return load("reference")
    with warnings.catch_warnings():  # whoever loaded a backend by name was told already
        warnings.simplefilter("ignore")
        return load("auto")


def plan_tensors(plan: AttentionPlan) -> list[Tensor]:
    """A plan as the operator takes it."""
    return [getattr(plan, field.name) for field in dataclasses.fields(plan)]


@torch.library.custom_op("miniapr::write_kv", mutates_args=("k_cache", "v_cache"))
def write_kv(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, slots: Tensor) -> None:
    """See ``reference.write_kv``."""
    _operations(k_cache).write_kv(k, v, k_cache, v_cache, slots)


@torch.library.custom_op("miniapr::paged_attention", mutates_args=())
def paged_attention(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    plan: Sequence[Tensor],
    shift_cos: Tensor,
    shift_sin: Tensor,
    interleaved: bool,
) -> Tensor:
    """See ``reference.paged_attention``."""
    rebuilt = AttentionPlan(*plan)
    return _operations(k_cache).paged_attention(q, k_cache, v_cache, rebuilt, shift_cos, shift_sin, interleaved)


@torch.library.custom_op("miniapr::copy_blocks", mutates_args=("k_cache", "v_cache"))
def copy_blocks(k_cache: Tensor, v_cache: Tensor, source: Tensor, target: Tensor) -> None:
    """See ``reference.copy_blocks``."""
    _operations(k_cache).copy_blocks(k_cache, v_cache, source, target)


@torch.library.custom_op("miniapr::shift_keys", mutates_args=("k_cache",))
def shift_keys(
    k_cache: Tensor, blocks: Tensor, turn: Tensor, shift_cos: Tensor, shift_sin: Tensor, interleaved: bool
) -> None:
    """See ``reference.shift_keys``."""
    _operations(k_cache).shift_keys(k_cache, blocks, turn, shift_cos, shift_sin, interleaved)


@write_kv.register_fake
def _(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, slots: Tensor) -> None:
    return None


@paged_attention.register_fake
def _(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    plan: Sequence[Tensor],
    shift_cos: Tensor,
    shift_sin: Tensor,
    interleaved: bool,
) -> Tensor:
    return q.new_empty(q.shape)


@copy_blocks.register_fake
def _(k_cache: Tensor, v_cache: Tensor, source: Tensor, target: Tensor) -> None:
    return None


@shift_keys.register_fake
def _(k_cache: Tensor, blocks: Tensor, turn: Tensor, shift_cos: Tensor, shift_sin: Tensor, interleaved: bool) -> None:
    return None
