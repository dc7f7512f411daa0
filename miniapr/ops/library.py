"""The operations on the pool as torch operators ``miniapr::write_kv`` and so on, so that ``torch.compile``,
``torch.export`` and profilers see them as one thing each. Importing this module registers them.

They run in C++ where it was built, else in plain PyTorch. The engine calls the plain functions, which cost
less per call. A plan travels as its ten tensors, in the order of the fields of ``AttentionPlan``.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._library.custom_ops import CustomOpDef

from . import Operations, reference
from .backends import load
from .plan import AttentionPlan


def _operations(x: Tensor) -> Operations:
    with warnings.catch_warnings():  # whoever loaded a backend by name was told already
        warnings.simplefilter("ignore")
        return load("auto", x.device)


def _in_place(name: str, *mutates: str) -> CustomOpDef:
    """An operation that only changes caches, with the arguments that the reference has."""
    schema = torch.library.infer_schema(getattr(reference, name), mutates_args=mutates)

    def run(*arguments: Any) -> None:
        cache = next(x for x in arguments if isinstance(x, Tensor))
        getattr(_operations(cache), name)(*arguments)

    return torch.library.custom_op(f"miniapr::{name}", run, mutates_args=mutates, schema=schema)


write_kv = _in_place("write_kv", "k_cache", "v_cache")
copy_blocks = _in_place("copy_blocks", "k_cache", "v_cache")
shift_keys = _in_place("shift_keys", "k_cache")
copy_and_shift = _in_place("copy_and_shift", "k_cache", "v_cache")


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


def plan_tensors(plan: AttentionPlan) -> list[Tensor]:
    """A plan as the operator takes it."""
    return [getattr(plan, field.name) for field in dataclasses.fields(plan)]
