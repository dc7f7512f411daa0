"""Checks of what the compiled backends are given: a wrong argument is a ``ValueError`` that names it, never a crash.

Types, shapes, strides and devices are checked here, in Python; indices in the extensions, where it is fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from .packed import Norm
from .plan import AttentionPlan

LayerSizes: TypeAlias = tuple[int, int, int, int]  # blocks, heads, head size, block size
StackSizes: TypeAlias = tuple[int, int, int, int, int]  # layers, then as above

# What each type is computed in.
ARITHMETIC = {dtype: torch.float32 for dtype in (torch.float32, torch.bfloat16, torch.float16)}
ARITHMETIC[torch.float64] = torch.float64


@dataclass(frozen=True)
class Checks:
    """``storage``: the code of each type that the extension takes. ``device``: the type of device it works on."""

    storage: Mapping[torch.dtype, int]
    device: str = "cpu"

    @property
    def where(self) -> str:
        return "on the CPU" if self.device == "cpu" else f"on {self.device}"

    @property
    def types(self) -> str:
        """ "float32, bfloat16 or float64" """
        *first, last = (_name(dtype) for dtype in self.storage)
        return f"{', '.join(first)} or {last}"

    def code(self, label: str, x: Tensor, dims: int, shape: str) -> int:
        """The storage code of a tensor that must be here and have so many dimensions."""
        code = self.storage.get(x.dtype)
        if code is None or x.dim() != dims or x.device.type != self.device:
            raise ValueError(f"{label} is {describe(x)}, expected {self.types} {shape} {self.where}")
        return code

    def layer(self, k_cache: Tensor, v_cache: Tensor) -> tuple[int, LayerSizes]:
        """One layer of the pool: any stride between blocks, contiguous inside a block."""
        code = self.code("k_cache", k_cache, 4, "[NB, H, D, B]")
        blocks, heads, head_dim, block_size = k_cache.shape
        if v_cache.shape != (blocks, heads, block_size, head_dim) or v_cache.dtype != k_cache.dtype:
            raise ValueError(
                f"v_cache is {describe(v_cache)}, expected {k_cache.dtype} "
                f"[{blocks}, {heads}, {block_size}, {head_dim}] to go with k_cache"
            )
        self.beside("v_cache", v_cache, k_cache)
        inner = head_dim * block_size
        if k_cache.stride()[1:] != (inner, block_size, 1):
            raise ValueError(f"k_cache has strides {k_cache.stride()}, expected (any, {inner}, {block_size}, 1)")
        if v_cache.stride()[1:] != (inner, head_dim, 1):
            raise ValueError(f"v_cache has strides {v_cache.stride()}, expected (any, {inner}, {head_dim}, 1)")
        return code, (blocks, heads, head_dim, block_size)

    def stack(self, label: str, cache: Tensor) -> tuple[int, StackSizes]:
        """All layers of the pool: any stride between layers and between blocks, contiguous inside a block."""
        code = self.code(label, cache, 5, "[L, NB, H, ...]")
        layers, blocks, heads, a, b = cache.shape
        if cache.stride()[2:] != (a * b, b, 1):
            raise ValueError(f"{label} has strides {cache.stride()}, expected (any, any, {a * b}, {b}, 1)")
        return code, (layers, blocks, heads, a, b)

    def stacks(self, k_cache: Tensor, v_cache: Tensor) -> tuple[int, StackSizes]:
        """Keys and values of all layers that go together: the sizes of the keys."""
        code, sizes = self.stack("k_cache", k_cache)
        layers, blocks, heads, head_dim, block_size = sizes
        if self.stack("v_cache", v_cache)[1] != (layers, blocks, heads, block_size, head_dim):
            raise ValueError(f"v_cache is {describe(v_cache)}, which does not go with k_cache {describe(k_cache)}")
        if v_cache.dtype != k_cache.dtype:
            raise ValueError(f"v_cache is {v_cache.dtype}, k_cache is {k_cache.dtype}")
        self.beside("v_cache", v_cache, k_cache)
        return code, sizes

    def beside(self, label: str, x: Tensor, other: Tensor) -> None:
        if x.device != other.device:
            raise ValueError(f"{label} is {describe(x)}, expected it {self.where}, where the cache is")

    def tokens(self, label: str, x: Tensor, rows: int, sizes: LayerSizes, cache: Tensor) -> Tensor:
        """New keys or values [rows, heads, D], in the type of the cache."""
        _, heads, head_dim, _ = sizes
        if x.shape != (rows, heads, head_dim) or x.device != cache.device:
            raise ValueError(
                f"{label} is {describe(x)}, expected [{rows}, {heads}, {head_dim}] {self.where} "
                f"(rows of slots, heads and head size of k_cache)"
            )
        return dense_last(x if x.dtype == cache.dtype else x.to(cache.dtype))

    def heads(self, x: Tensor) -> int:
        """Heads [N, heads, D] to be turned: the storage code."""
        code = self.code("x", x, 3, "[N, heads, D]")
        if x.shape[2] % 2:
            raise ValueError(f"x is {describe(x)}: head size {x.shape[2]} is not even")
        return code

    def head_norm(self, norm: Norm, x: Tensor) -> None:
        """An RMSNorm of each head of x [N, heads, D]."""
        weight = norm.weight
        if weight.shape != x.shape[1:] or weight.dtype != x.dtype or weight.device != x.device or norm.bias is not None:
            raise ValueError(f"norm is {describe(weight)}, expected {_name(x.dtype)} {list(x.shape[1:])} as x is")
        if not weight.is_contiguous():
            raise ValueError("norm is not contiguous")

    def turns(
        self, cos: Tensor, sin: Tensor, head_dim: int, dtype: torch.dtype, of_cos: str = "shift_cos",
        of_sin: str = "shift_sin",
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Tables [S, D / 2] in the type of the arithmetic."""
        if head_dim % 2:
            raise ValueError(f"k_cache: head size {head_dim} is not even")
        for label, x in ((of_cos, cos), (of_sin, sin)):
            if x.dim() != 2 or x.shape[1] != head_dim // 2 or not x.is_floating_point() or x.device.type != self.device:
                raise ValueError(f"{label} is {describe(x)}, expected floating point [S, {head_dim // 2}] {self.where}")
        if cos.shape != sin.shape or cos.device != sin.device:
            raise ValueError(f"{of_sin} is {describe(sin)}, {of_cos} is {describe(cos)}")
        return cos.to(dtype).contiguous(), sin.to(dtype).contiguous()

    def draws(self, rows: int, **lists: Tensor) -> list[int]:
        """How each of so many rows is sampled: lists on the host, integers for top_k. Their addresses."""
        for label, x in lists.items():
            dtype = torch.int64 if label == "top_k" else torch.float64
            if x.shape != (rows,) or x.dtype != dtype or not x.is_contiguous() or x.device.type != "cpu":
                raise ValueError(f"{label} is {describe(x)}, expected contiguous {_name(dtype)} [{rows}] on the CPU")
        return [x.data_ptr() for x in lists.values()]


def check_index(label: str, x: Tensor) -> None:
    """A list of blocks, slots or rows, on the host."""
    if x.dtype != torch.int64 or x.dim() != 1 or not x.is_contiguous() or x.device.type != "cpu":
        raise ValueError(f"{label} is {describe(x)}, expected contiguous int64 [n] on the CPU")


def check_indices(**lists: Tensor) -> int:
    """Lists of the same length, which is returned."""
    for label, x in lists.items():
        check_index(label, x)
    first, *others = lists
    for label in others:
        if lists[label].shape != lists[first].shape:
            raise ValueError(f"{first} has {len(lists[first])} entries, {label} has {len(lists[label])}")
    return len(lists[first])


def plan_tensors(plan: AttentionPlan) -> list[Tensor]:
    """The ten lists of a plan, in the order of its fields, of the right lengths."""
    fields = (
        "blocks", "block_ptr", "first", "edge_ptr", "edge_row", "edge_visible", "edge_shift",
        "row_ptr", "row_edges", "shifts",
    )  # fmt: skip
    tensors = [getattr(plan, field) for field in fields]
    for field, x in zip(fields, tensors, strict=True):
        if x.dtype != torch.int32 or x.dim() != 1 or not x.is_contiguous() or x.device.type != "cpu":
            raise ValueError(f"plan.{field} is {describe(x)}, expected contiguous int32 [n] on the CPU")
    runs, edges, rows = len(plan.first), len(plan.edge_row), len(plan.row_ptr) - 1
    lengths = {"block_ptr": runs + 1, "edge_ptr": runs + 1, "edge_visible": edges, "edge_shift": edges}
    for field, length in {**lengths, "row_ptr": max(rows, 0) + 1, "row_edges": edges}.items():
        if len(getattr(plan, field)) != length:
            raise ValueError(f"plan.{field} has {len(getattr(plan, field))} entries, expected {length}")
    return tensors


def dense_last(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()


def place(cache: Tensor) -> tuple[int, int, int]:
    """Address, and elements from one layer and from one block to the next."""
    return cache.data_ptr(), cache.stride(0), cache.stride(1)


def describe(x: Tensor) -> str:
    return f"{_name(x.dtype)} {list(x.shape)} on {x.device.type}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
