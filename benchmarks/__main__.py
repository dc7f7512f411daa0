"""python -m benchmarks [--quick] measures; python -m benchmarks report makes docs/performance.md of the figures."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from miniapr.ops import Operations, load

from . import attention, crowd, joins, linear, machine, moves, peers, prefill, steps, tables, targets
from .timing import Memory, bandwidth

Section = Callable[[], dict[str, Any]]
BOTH = ["float32", "bfloat16"]
NAMES = [
    "bandwidth", "steps M", "steps S", "attention", "linear", "peak", "moves", "joins M", "joins S", "fork", "prefill",
    "memory", "crowd",
]  # fmt: skip


def sections(ops: Operations, quick: bool, rounds: int) -> dict[str, Section]:
    """What is measured under which name. ``quick`` takes the sizes that the targets speak of and leaves the rest."""
    prefixes = [1024] if quick else [128, 1024, 4096]
    widths = [1, 8] if quick else [1, 2, 4, 8, 16]
    types = ["float32"] if quick else BOTH
    few = max(3, rounds // 3)
    return {
        "bandwidth": lambda: bandwidth(5 * rounds, Memory(ops=ops)),
        "steps M": lambda: steps.measure("M", BOTH, ops, prefixes, widths, rounds),
        "steps S": lambda: steps.measure("S", types, ops, prefixes, widths, rounds),
        "attention": lambda: {
            dtype: attention.measure(dtype, ops, [4096] if quick else [1024, 4096], widths, 2 * rounds)
            for dtype in types
        },
        "linear": lambda: {dtype: linear.measure(dtype, ops, widths, 2 * rounds) for dtype in types},
        "peak": lambda: linear.peak(ops, 2 * rounds),
        "moves": lambda: {dtype: moves.measure(dtype, ops, [512, 4096], 2 * rounds) for dtype in types},
        "joins M": lambda: joins.measure("M", "float32", ops, [8], [128] if quick else [32, 128, 512, 2048], few),
        "joins S": lambda: joins.measure("S", "float32", ops, widths[1:], [128] if quick else [32, 128, 512], few),
        "fork": lambda: joins.fork("M", "float32", ops, prefixes, 8, 2 * rounds),
        "prefill": lambda: prefill.measure("S" if quick else "M", "float32", ops, [512] if quick else [512, 2048], 3),
        "memory": lambda: prefill.memory("M", "float32", ops, 1024 if quick else 4096, 64, widths),
        "crowd": lambda: crowd.measure(ops, quick, 1 if quick else 3),
    }


def main() -> None:
    if sys.argv[1:2] == ["report"]:
        from . import report

        return report.write()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the sizes that the targets speak of: about a minute")
    parser.add_argument("--only", action="append", choices=[*NAMES, "peers", "gpu"], help="may be given again")
    parser.add_argument(
        "--peers",
        action="store_true",
        help="llama.cpp, onnxruntime-genai and vLLM as well; of a GPU's, FlexAttention and transformers",
    )
    parser.add_argument("--gpu", action="store_true", help="the questions for a CUDA device as well")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: torch's own number")
    parser.add_argument("--rounds", type=int, help="turns of each contestant: 11, with --quick 5")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--json", type=Path, help="write the figures to this file; with --only: add them")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    ops, rounds = load(options.backend), options.rounds or (5 if options.quick else 11)
    todo = sections(ops, options.quick, rounds)
    todo["peers"] = lambda: peers.measure(ops, 1024, [1, 8], rounds)
    todo["gpu"] = lambda: _gpu(options.peers)
    names = options.only or [*NAMES, *["peers"] * options.peers, *["gpu"] * options.gpu]
    if "gpu" in names and not torch.cuda.is_available():
        parser.error("there is no CUDA device here: nothing can be measured on it")
    try:
        found = read(options.json if options.only else None, machine.describe(ops.name))
    except ValueError as error:
        parser.error(str(error))
    print(tables.machine(found).text())
    for name in names:
        begun = time.perf_counter()
        measured = todo[name]()
        seconds = round(time.perf_counter() - begun, 1)
        found["sections"][name] = measured
        found["measured"][name] = {**machine.now(), "seconds": seconds, "rounds": rounds}
        for table in tables.of(name, measured):
            print("\n" + table.text(), flush=True)
        print(f"({name}: {seconds:.0f} s)", flush=True)
        if options.json:
            options.json.write_text(json.dumps(found, indent=1) + "\n")
    print("\n" + tables.targets(found["sections"]).text())
    sections_now = {name: found["sections"][name] for name in names}
    failed = [f"{name}: {part}" for name, section in sections_now.items() for part in section.get("failed", ())]
    if failed := failed + targets.beaten(sections_now):
        sys.exit("failed: " + "; ".join(failed))


def _gpu(peers: bool) -> dict[str, Any]:
    from . import gpu

    return gpu.measure(sizes=gpu.Sizes(peers=peers))


def read(file: Path | None, here: dict[str, Any]) -> dict[str, Any]:
    """What the file holds already, so that sections can be measured one by one. Raises ValueError if it is from
    another machine, another torch or another number of threads: such figures do not stand side by side."""
    fresh: dict[str, Any] = {"machine": here, "measured": {}, "sections": {}}
    if not file or not file.exists():
        return fresh
    found: dict[str, Any] = json.loads(file.read_text())
    for what, value in here.items():
        if found["machine"].get(what) != value:
            raise ValueError(
                f"{file} is from {what} {found['machine'].get(what)!r}, this is {value!r}: take another file"
            )
    return found


if __name__ == "__main__":
    main()
