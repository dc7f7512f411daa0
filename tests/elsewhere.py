"""The kernels in a process of their own, as a backend: for a processor that Python does not run on here.

    python tests/elsewhere.py qemu-aarch64 ./kernels

runs ``miniapr.kernels.check`` on the program (``tests/elsewhere.cpp`` and ``csrc/`` in one) and fails if it is wrong.
"""

from __future__ import annotations

import ctypes
import itertools
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

from miniapr.kernels import check
from miniapr.ops.native import Native

ELEMENT = (4, 2, 8)  # bytes, by the storage code


@dataclass(frozen=True)
class Stretch:
    """Memory that an operation reads, and writes if it ``comes_back``."""

    address: int
    bytes: int
    comes_back: bool = False


class Program:
    """Looks like the extension module: calls with addresses, which it sends with what lies there."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.instructions = self._read_line()

    def build_info(self) -> dict[str, str]:
        return {"instructions": self.instructions}

    def Plan(self, addresses: Sequence[int], *sizes: int) -> Plan:
        plan = Plan(addresses, sizes)
        self._call("plan", plan.stretches, plan.arguments)
        return plan

    def paged_attention(
        self, plan: Plan, q: int, rows: int, heads: int, row_stride: int, head_stride: int, narrow: bool, k: int,
        v: int, k_block: int, v_block: int, blocks: int, kv_heads: int, head_dim: int, block_size: int, storage: int,
        cos: int, sin: int, turns: int, interleaved: bool, out: int, threads: int,
    ) -> None:  # fmt: skip
        wide, table = ELEMENT[1 if narrow else 2 if storage == 2 else 0], ELEMENT[2 if storage == 2 else 0]
        inner = kv_heads * head_dim * block_size
        stretches = [
            Stretch(q, _extent(wide, (rows, row_stride), (heads, head_stride), (head_dim, 1))),
            *(Stretch(x, _extent(ELEMENT[storage], (blocks, s), (inner, 1))) for x, s in ((k, k_block), (v, v_block))),
            *(Stretch(x, turns * head_dim // 2 * table) for x in (cos, sin)),
            Stretch(out, rows * heads * head_dim * wide, True),
        ]
        arguments = (
            q, rows, heads, row_stride, head_stride, narrow, k, v, k_block, v_block, blocks, kv_heads, head_dim,
            block_size, storage, cos, sin, turns, interleaved, out, threads,
        )  # fmt: skip
        self._call("paged_attention", [*plan.stretches, *stretches], [*plan.arguments, *arguments])

    def write_kv(self, *a: int) -> None:
        (
            k,
            k_row,
            k_head,
            v,
            v_row,
            v_head,
            keys,
            values,
            k_block,
            v_block,
            blocks,
            heads,
            depth,
            size,
            slots,
            n,
            code,
            _,
        ) = a
        element, inner = ELEMENT[code], heads * depth * size
        new = [
            Stretch(x, _extent(element, (n, row), (heads, head), (depth, 1)))
            for x, row, head in ((k, k_row, k_head), (v, v_row, v_head))
        ]
        caches = [
            Stretch(x, _extent(element, (blocks, step), (inner, 1)), True)
            for x, step in ((keys, k_block), (values, v_block))
        ]
        self._call("write_kv", [*new, *caches, Stretch(slots, 8 * n)], a)

    def copy_blocks(
        self, k: Place, v: Place, sizes: Sizes, code: int, source: int, target: int, n: int, threads: int
    ) -> None:
        lists = [Stretch(source, 8 * n), Stretch(target, 8 * n)]
        self._call(
            "copy_blocks", [*_stacks((k, v), sizes, code), *lists], [*k, *v, *sizes, code, source, target, n, threads]
        )

    def shift_keys(self, k: Place, sizes: Sizes, code: int, blocks: int, turn: int, n: int, *by: int) -> None:
        stretches = [
            *_stacks((k,), sizes, code),
            Stretch(blocks, 8 * n),
            Stretch(turn, 8 * n),
            *_tables(by, sizes[3], code),
        ]
        self._call("shift_keys", stretches, [*k, *sizes, code, blocks, turn, n, *by])

    def copy_and_shift(
        self, k: Place, v: Place, sizes: Sizes, code: int, source: int, target: int, turn: int, n: int, *by: int
    ) -> None:
        lists = [Stretch(x, 8 * n) for x in (source, target, turn)]
        stretches = [*_stacks((k, v), sizes, code), *lists, *_tables(by, sizes[3], code)]
        self._call("copy_and_shift", stretches, [*k, *v, *sizes, code, source, target, turn, n, *by])

    def linear(
        self, x: int, x_stride: int, rows: int, depth: int, norm: int, eps: float, weights: Sequence[tuple[int, int]],
        gated: bool, add: int, add_stride: int, out: int, code: int, threads: int,
    ) -> None:  # fmt: skip
        element, padded = ELEMENT[code], depth + depth % 2 if code == 1 else depth
        columns = sum(count for _, count in weights) // (2 if gated else 1)
        stretches = [
            Stretch(x, _extent(element, (rows, x_stride), (depth, 1))),
            Stretch(norm, depth * element if norm else 0),
            *(Stretch(panels, -(-count // 16) * 16 * padded * element) for panels, count in weights),
            Stretch(add, _extent(element, (rows, add_stride), (columns, 1)) if add else 0),
            Stretch(out, rows * columns * element, True),
        ]
        flat = [len(weights), *itertools.chain.from_iterable(weights)]
        arguments = [x, x_stride, rows, depth, norm, float(eps), *flat, gated, add, add_stride, out, code, threads]
        self._call("linear", stretches, arguments)

    def rope(self, *a: Any) -> None:
        x, row_stride, head_stride, rows, heads, depth, code, norm, _eps, cos, sin, _interleaved, out, _threads = a
        element, table = ELEMENT[code], ELEMENT[2 if code == 2 else 0]
        stretches = [
            Stretch(x, _extent(element, (rows, row_stride), (heads, head_stride), (depth, 1))),
            Stretch(norm, heads * depth * element if norm else 0),
            *(Stretch(y, rows * depth // 2 * table) for y in (cos, sin)),
            Stretch(out, rows * heads * depth * element, True),
        ]
        self._call("rope", stretches, a)

    def sample(self, *a: int) -> None:
        logits, rows, stride, count, code, temperature, top_k, top_p, min_p, uniform, tokens, logprobs, _threads = a
        lists = [Stretch(x, 8 * rows) for x in (temperature, top_k, top_p, min_p, uniform)]
        results = [Stretch(x, 8 * rows, True) for x in (tokens, logprobs)]
        self._call("sample", [Stretch(logits, _extent(ELEMENT[code], (rows, stride), (count, 1))), *lists, *results], a)

    def _call(self, name: str, stretches: Sequence[Stretch], arguments: Sequence[float]) -> None:
        assert self._process.stdin
        heads = itertools.chain.from_iterable((s.address, s.bytes, s.comes_back) for s in stretches)
        words = [*_words([len(stretches), *heads]), *(ctypes.string_at(s.address, s.bytes) for s in stretches)]
        message = b"".join([f"{name}\n".encode(), *words, *_words([len(arguments), *arguments])])
        self._process.stdin.write(message)
        self._process.stdin.flush()
        if length := struct.unpack("<q", self._read(8))[0]:
            raise ValueError(self._read(length).decode())
        for s in stretches:
            if s.comes_back:
                ctypes.memmove(s.address, self._read(s.bytes), s.bytes)

    def _read(self, count: int) -> bytes:
        assert self._process.stdout
        found = self._process.stdout.read(count)
        if len(found) < count:
            raise RuntimeError(f"the program ended with {self._process.wait()}")
        return found

    def _read_line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().decode().strip()


Place, Sizes = Sequence[int], Sequence[int]


class Plan:
    """What a plan is made of: it is sent along with each call."""

    def __init__(self, addresses: Sequence[int], sizes: Sequence[int]) -> None:
        listed, runs, edges, rows, shifts = sizes[:5]
        lengths = (listed, runs + 1, runs, runs + 1, edges, edges, edges, rows + 1, edges, shifts)
        self._kept = [
            ctypes.create_string_buffer(ctypes.string_at(a, 4 * n), 4 * n + 8)
            for a, n in zip(addresses, lengths, strict=True)
        ]
        own = [ctypes.addressof(x) for x in self._kept]
        self.stretches = [Stretch(a, 4 * n) for a, n in zip(own, lengths, strict=True)]
        self.arguments, self.rows = [*own, *sizes], rows
        self.shifted = any(self._kept[-1].raw)


def _words(values: Sequence[float]) -> list[bytes]:
    return [struct.pack("<d" if isinstance(value, float) else "<q", value) for value in values]


def _extent(element: int, *axes: tuple[int, int]) -> int:
    """Bytes from the first to behind the last of elements that lie along (count, stride) axes."""
    return element * (1 + sum((count - 1) * stride for count, stride in axes)) if all(n for n, _ in axes) else 0


def _stacks(places: Sequence[Place], sizes: Sizes, code: int) -> list[Stretch]:
    layers, blocks, *inner = sizes
    own = inner[0] * inner[1] * inner[2]
    return [Stretch(a, _extent(ELEMENT[code], (layers, up), (blocks, step), (own, 1)), True) for a, up, step in places]


def _tables(by: Sequence[int], depth: int, code: int) -> list[Stretch]:
    cos, sin, turns, *_ = by
    return [Stretch(x, turns * depth // 2 * ELEMENT[2 if code == 2 else 0]) for x in (cos, sin)]


def main() -> None:
    program = Program(sys.argv[1:])
    table = check(Native(cast("ModuleType", program), f"cpp ({program.instructions})"))
    print(f"instructions: {program.instructions}\n{table}")
    sys.exit(any(not row.ok for row in table.rows))


if __name__ == "__main__":
    main()
