"""The four operations in C++ (``csrc/``), behind checks: bad arguments are a ``ValueError`` that names
the argument, never a crash. ``reference.py`` says what each operation does; this module does the same
for CPU tensors stored as float32, bfloat16 or float64.

The arithmetic is in float64 for float64 storage, else in float32; q comes in the type of the arithmetic
or of the storage. Caches may be views (a layer of a bigger tensor): any stride between blocks and between
layers, contiguous inside a block. A plan is checked and copied when it is first used, so it must not be
changed afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from . import reference
from .packed import PANEL, Norm, Packed, Weight
from .plan import AttentionPlan

_STORAGE = {torch.float32: 0, torch.bfloat16: 1, torch.float64: 2}  # the codes of csrc/common.h
_ARITHMETIC = {torch.float32: torch.float32, torch.bfloat16: torch.float32, torch.float64: torch.float64}


class Native:
    """The operations of one extension module made from ``csrc/``: ``miniapr._native``, or a learner's own build."""

    def __init__(self, module: ModuleType, name: str = "cpp") -> None:
        self._module, self.name = module, name

    def build_info(self) -> dict[str, str]:
        """How the extension was built, and which instruction set it uses here."""
        return dict(self._module.build_info())

    def write_kv(self, k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, slots: Tensor) -> None:
        """Store new keys and values of one layer: see ``reference.write_kv``.

        Raises ValueError if a slot is neither -1 nor in the pool (nothing is written then).
        """
        storage, sizes = _check_layer(k_cache, v_cache)
        blocks, heads, head_dim, block_size = sizes
        _check_index("slots", slots)
        rows = slots.shape[0]
        if k.dtype != k_cache.dtype:
            k = k.to(k_cache.dtype)
        if v.dtype != k_cache.dtype:
            v = v.to(k_cache.dtype)
        for label, x in (("k", k), ("v", v)):
            if x.shape != (rows, heads, head_dim) or x.device.type != "cpu":
                raise ValueError(
                    f"{label} is {_describe(x)}, expected [{rows}, {heads}, {head_dim}] on the CPU "
                    f"(rows of slots, heads and head size of k_cache)"
                )
        k, v = _dense_last(k), _dense_last(v)
        self._module.write_kv(
            k.data_ptr(), k.stride(0), k.stride(1), v.data_ptr(), v.stride(0), v.stride(1),
            k_cache.data_ptr(), v_cache.data_ptr(), k_cache.stride(0), v_cache.stride(0),
            blocks, heads, head_dim, block_size, slots.data_ptr(), rows, storage, torch.get_num_threads(),
        )  # fmt: skip

    def paged_attention(
        self,
        q: Tensor,
        k_cache: Tensor,
        v_cache: Tensor,
        plan: AttentionPlan,
        shift_cos: Tensor,
        shift_sin: Tensor,
        interleaved: bool,
    ) -> Tensor:
        """Softmax attention of every row over the runs that it sees: see ``reference.paged_attention``.

        Returns [N, Hq, D] in the type of q. Raises ValueError if an index of the plan is out of range.
        """
        storage, (blocks, heads, head_dim, block_size) = _check_layer(k_cache, v_cache)
        if q.dim() != 3 or q.shape[2] != head_dim or q.device.type != "cpu":
            raise ValueError(f"q is {_describe(q)}, expected [rows, heads, {head_dim}] on the CPU")
        arithmetic, given = _ARITHMETIC[k_cache.dtype], q.dtype
        if given != arithmetic:
            if given != k_cache.dtype:
                raise ValueError(f"q is {given}, expected {arithmetic} or {k_cache.dtype}, the type of k_cache")
            q = q.to(arithmetic)
        q = _dense_last(q)
        native = self._prepare(plan)
        cos = sin = turns = 0
        if native.shifted:
            shift_cos, shift_sin = _check_turns(shift_cos, shift_sin, head_dim, arithmetic)
            cos, sin, turns = shift_cos.data_ptr(), shift_sin.data_ptr(), shift_cos.shape[0]
        rows, q_heads, _ = q.shape
        out = torch.empty((rows, q_heads, head_dim), dtype=arithmetic)
        self._module.paged_attention(
            native, q.data_ptr(), rows, q_heads, q.stride(0), q.stride(1),
            k_cache.data_ptr(), v_cache.data_ptr(), k_cache.stride(0), v_cache.stride(0),
            blocks, heads, head_dim, block_size, storage,
            cos, sin, turns, interleaved, out.data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        return out if given == arithmetic else out.to(given)

    def copy_blocks(self, k_cache: Tensor, v_cache: Tensor, source: Tensor, target: Tensor) -> None:
        """Copy whole blocks in all layers: see ``reference.copy_blocks``.

        Raises ValueError if a block is in both lists, twice in ``target``, or not in the pool.
        """
        storage, sizes = _check_stack("k_cache", k_cache)
        layers, blocks, heads, head_dim, block_size = sizes
        if _check_stack("v_cache", v_cache)[1] != (layers, blocks, heads, block_size, head_dim):
            raise ValueError(f"v_cache is {_describe(v_cache)}, which does not go with k_cache {_describe(k_cache)}")
        if v_cache.dtype != k_cache.dtype:
            raise ValueError(f"v_cache is {v_cache.dtype}, k_cache is {k_cache.dtype}")
        _check_index("source", source)
        _check_index("target", target)
        if source.shape != target.shape:
            raise ValueError(f"source has {source.shape[0]} blocks, target has {target.shape[0]}")
        self._module.copy_blocks(
            _place(k_cache), _place(v_cache), sizes, storage,
            source.data_ptr(), target.data_ptr(), source.shape[0], torch.get_num_threads(),
        )  # fmt: skip

    def shift_keys(
        self, k_cache: Tensor, blocks: Tensor, turn: Tensor, shift_cos: Tensor, shift_sin: Tensor, interleaved: bool
    ) -> None:
        """Turn every key of the given blocks, in all layers, in place: see ``reference.shift_keys``.

        Raises ValueError if a block is listed twice or is not in the pool, or a turn is not in the tables.
        """
        storage, sizes = _check_stack("k_cache", k_cache)
        head_dim = sizes[3]
        if head_dim % 2:
            raise ValueError(f"k_cache: head size {head_dim} is not even")
        _check_index("blocks", blocks)
        _check_index("turn", turn)
        if blocks.shape != turn.shape:
            raise ValueError(f"blocks has {blocks.shape[0]} entries, turn has {turn.shape[0]}")
        shift_cos, shift_sin = _check_turns(shift_cos, shift_sin, head_dim, _ARITHMETIC[k_cache.dtype])
        self._module.shift_keys(
            _place(k_cache), sizes, storage, blocks.data_ptr(), turn.data_ptr(), blocks.shape[0],
            shift_cos.data_ptr(), shift_sin.data_ptr(), shift_cos.shape[0], interleaved, torch.get_num_threads(),
        )  # fmt: skip

    def linear(
        self, x: Tensor, weights: Sequence[Weight], norm: Norm | None = None, add: Tensor | None = None
    ) -> Tensor:
        """x [N, K] times each weight: see ``reference.linear``. Packed weights run here, plain ones in torch.

        x, norm and add have the weights' type; the arithmetic is in that of the module, rounded once at the end.
        """
        if any(isinstance(weight, Tensor) for weight in weights):
            return reference.linear(x, weights, norm, add)
        return self._linear(x, weights, norm, add, gated=False)

    def swiglu(self, x: Tensor, gate: Weight, up: Weight, norm: Norm | None = None) -> Tensor:
        """silu(x gate^T) * (x up^T) for x [N, K]: see ``reference.swiglu``."""
        if isinstance(gate, Tensor) or isinstance(up, Tensor):
            return reference.swiglu(x, gate, up, norm)
        if gate.shape != up.shape:
            raise ValueError(f"up is {list(up.shape)}, gate is {list(gate.shape)}")
        return self._linear(x, (gate, up), norm, None, gated=True)

    def _linear(
        self, x: Tensor, weights: Sequence[Weight], norm: Norm | None, add: Tensor | None, gated: bool
    ) -> Tensor:
        storage = _STORAGE.get(x.dtype)
        if storage is None or x.dim() != 2 or x.device.type != "cpu":
            raise ValueError(f"x is {_describe(x)}, expected float32, bfloat16 or float64 [N, K] on the CPU")
        rows, depth = x.shape
        for weight in weights:
            panels = weight.panels  # type: ignore[union-attr]
            if weight.shape[1] != depth or weight.dtype != x.dtype or weight.device.type != "cpu":
                raise ValueError(
                    f"weights has one of {weight.dtype} {list(weight.shape)} on {weight.device.type}, "
                    f"x is {_describe(x)}: the last sizes and the types must be the same"
                )
            if not panels.is_contiguous() or panels.shape[:2] != _panel_sizes(weight):  # type: ignore[arg-type]
                raise ValueError(f"weights has panels {list(panels.shape)} for a weight {list(weight.shape)}")
        columns = weights[0].shape[0] if gated else sum(weight.shape[0] for weight in weights)
        if norm and (norm.weight.shape != (depth,) or norm.weight.dtype != x.dtype or norm.weight.device != x.device):
            raise ValueError(f"norm is {_describe(norm.weight)}, expected {x.dtype} [{depth}] as x is")
        if add is not None and (add.shape != (rows, columns) or add.dtype != x.dtype or add.device != x.device):
            raise ValueError(f"add is {_describe(add)}, expected {x.dtype} [{rows}, {columns}]")
        x, add = _dense_last(x), None if add is None else _dense_last(add)
        scale = norm.weight.contiguous() if norm else None
        out = x.new_empty(rows, columns)
        self._module.linear(
            x.data_ptr(), x.stride(0), rows, depth,
            scale.data_ptr() if scale is not None else 0, norm.eps if norm else 0.0,
            [(weight.panels.data_ptr(), weight.shape[0]) for weight in weights], gated,  # type: ignore[union-attr]
            add.data_ptr() if add is not None else 0, add.stride(0) if add is not None else 0,
            out.data_ptr(), storage, torch.get_num_threads(),
        )  # fmt: skip
        return out

    def rope(self, x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
        """Heads [N, heads, D] turned by tables [N, D / 2]: see ``reference.rope``."""
        storage = _STORAGE.get(x.dtype)
        if storage is None or x.dim() != 3 or x.shape[2] % 2 or x.device.type != "cpu":
            raise ValueError(
                f"x is {_describe(x)}, expected float32, bfloat16 or float64 [N, heads, even D] on the CPU"
            )
        rows, heads, head_dim = x.shape
        cos, sin = _check_turns(cos, sin, head_dim, _ARITHMETIC[x.dtype], "cos", "sin")
        if cos.shape[0] != rows:
            raise ValueError(f"cos is {_describe(cos)}, expected {rows} rows as x has")
        x, out = _dense_last(x), x.new_empty(rows, heads, head_dim)
        self._module.rope(
            x.data_ptr(), x.stride(0), x.stride(1), rows, heads, head_dim, storage,
            cos.data_ptr(), sin.data_ptr(), interleaved, out.data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        return out

    def _prepare(self, plan: AttentionPlan) -> Any:
        """The plan checked and copied, once: its life is that of the plan."""
        known = plan.prepared.get(self._module)
        if known is not None:
            return known
        fields = (
            "blocks", "block_ptr", "first", "edge_ptr", "edge_row", "edge_visible", "edge_shift",
            "row_ptr", "row_edges", "shifts",
        )  # fmt: skip
        tensors = [getattr(plan, field) for field in fields]
        for field, x in zip(fields, tensors, strict=True):
            if x.dtype != torch.int32 or x.dim() != 1 or not x.is_contiguous() or x.device.type != "cpu":
                raise ValueError(f"plan.{field} is {_describe(x)}, expected contiguous int32 [n] on the CPU")
        runs, edges, rows = len(plan.first), len(plan.edge_row), len(plan.row_ptr) - 1
        lengths = {"block_ptr": runs + 1, "edge_ptr": runs + 1, "edge_visible": edges, "edge_shift": edges}
        for field, length in {**lengths, "row_ptr": max(rows, 0) + 1, "row_edges": edges}.items():
            if len(getattr(plan, field)) != length:
                raise ValueError(f"plan.{field} has {len(getattr(plan, field))} entries, expected {length}")
        addresses = [x.data_ptr() for x in tensors]
        made = self._module.Plan(addresses, len(plan.blocks), runs, edges, rows, len(plan.shifts))
        plan.prepared[self._module] = made
        return made


def _check_layer(k_cache: Tensor, v_cache: Tensor) -> tuple[int, tuple[int, int, int, int]]:
    """One layer of the pool: its storage code and (blocks, heads, head_dim, block_size)."""
    storage = _STORAGE.get(k_cache.dtype)
    if storage is None or k_cache.dim() != 4 or k_cache.device.type != "cpu":
        raise ValueError(
            f"k_cache is {_describe(k_cache)}, expected float32, bfloat16 or float64 [NB, H, D, B] on the CPU"
        )
    blocks, heads, head_dim, block_size = k_cache.shape
    if v_cache.shape != (blocks, heads, block_size, head_dim) or v_cache.dtype != k_cache.dtype:
        raise ValueError(
            f"v_cache is {_describe(v_cache)}, expected {k_cache.dtype} "
            f"[{blocks}, {heads}, {block_size}, {head_dim}] to go with k_cache"
        )
    if v_cache.device.type != "cpu":
        raise ValueError(f"v_cache is {_describe(v_cache)}, expected it on the CPU")
    inner = head_dim * block_size
    if k_cache.stride()[1:] != (inner, block_size, 1):
        raise ValueError(f"k_cache has strides {k_cache.stride()}, expected (any, {inner}, {block_size}, 1)")
    if v_cache.stride()[1:] != (inner, head_dim, 1):
        raise ValueError(f"v_cache has strides {v_cache.stride()}, expected (any, {inner}, {head_dim}, 1)")
    return storage, (blocks, heads, head_dim, block_size)


def _check_stack(label: str, cache: Tensor) -> tuple[int, tuple[int, ...]]:
    """All layers of the pool: the storage code and the shape."""
    storage = _STORAGE.get(cache.dtype)
    if storage is None or cache.dim() != 5 or cache.device.type != "cpu":
        raise ValueError(
            f"{label} is {_describe(cache)}, expected float32, bfloat16 or float64 [L, NB, H, ...] on the CPU"
        )
    inner = (cache.shape[3] * cache.shape[4], cache.shape[4], 1)
    if cache.stride()[2:] != inner:
        raise ValueError(f"{label} has strides {cache.stride()}, expected (any, any, {inner[0]}, {inner[1]}, 1)")
    return storage, tuple(cache.shape)


def _check_index(label: str, index: Tensor) -> None:
    if index.dtype != torch.int64 or index.dim() != 1 or not index.is_contiguous() or index.device.type != "cpu":
        raise ValueError(f"{label} is {_describe(index)}, expected contiguous int64 [n] on the CPU")


def _panel_sizes(weight: Packed) -> tuple[int, int]:
    rows, depth = weight.shape
    return -(-rows // PANEL), -(-depth // 2) if weight.dtype == torch.bfloat16 else depth


def _check_turns(
    cos: Tensor, sin: Tensor, head_dim: int, dtype: torch.dtype, of_cos: str = "shift_cos", of_sin: str = "shift_sin"
) -> tuple[Tensor, Tensor]:
    """Tables [S, D / 2] in the type of the arithmetic."""
    for label, x in ((of_cos, cos), (of_sin, sin)):
        if x.dim() != 2 or x.shape[1] != head_dim // 2 or not x.is_floating_point() or x.device.type != "cpu":
            raise ValueError(f"{label} is {_describe(x)}, expected floating point [S, {head_dim // 2}] on the CPU")
    if cos.shape != sin.shape:
        raise ValueError(f"{of_sin} is {_describe(sin)}, {of_cos} is {_describe(cos)}")
    return cos.to(dtype).contiguous(), sin.to(dtype).contiguous()


def _dense_last(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()


def _place(cache: Tensor) -> tuple[int, int, int]:
    """Address, and elements from one layer and from one block to the next."""
    return cache.data_ptr(), cache.stride(0), cache.stride(1)


def _describe(x: Tensor) -> str:
    return f"{str(x.dtype).removeprefix('torch.')} {list(x.shape)} on {x.device.type}"
