"""Trained for one join, joined by another: the table that shows why the join belongs to the training.

Run as ``python -m miniapr.train.table --out FOLDER``. Every run sees the same demonstrations in the same
order with the same budget; the runs differ in how forks are packed, and in the seed. Runs that are complete
are not done again.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ..tasks.countdown import Ranges
from .config import TrainConfig
from .data import Mixture
from .evaluate import evaluate
from .export import export
from .sft import train

TRAINED = ("stitch", "reprefill", "both")
JOINED = ("stitch", "reprefill", "stitch_contiguous")


def train_all(folder: Path, seeds: Sequence[int], tokens: int, ranges: Ranges) -> list[Path]:
    """Train each way of packing with each seed, seed by seed. Returns the models' folders."""
    mixture = Mixture(two_numbers=0.15, two_high=5, single=0.6, ties=0.75)  # more of what is learned late
    folders = []
    for seed in seeds:
        for joins in TRAINED:
            out = folder / f"{joins}-{seed}"
            if not (out / "miniapr.json").exists():
                print(f"training for {joins}, seed {seed}", flush=True)
                run = train(
                    TrainConfig(joins=joins, seed=seed, tokens=tokens, ranges=ranges, mixture=mixture),
                    out,
                    report_steps=200,
                )
                export(run, out, "python -m miniapr.train.table")
            folders.append(out)
    return folders


def evaluate_all(folders: Sequence[Path], problems: int, ranges: Ranges) -> list[dict[str, Any]]:
    """Held-out (numbers, target) pairs, the same for every model; adaptive and sequential."""
    rows = []
    for folder in folders:
        file = folder / "evaluation.json"
        if not file.exists():
            file.write_text(json.dumps(evaluate(folder, {"pairs": problems}, ranges=ranges, joins=JOINED)))
        report = json.loads(file.read_text())["pairs"]
        about = json.loads((folder / "miniapr.json").read_text())["provenance"]
        rows.append({"trained": about["joins"], **about, **report})
        print(folder.name, report["adaptive"]["correct_hard"], flush=True)
    return rows


def tabulate(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean, least and most over seeds of the share right on hard problems, by training and by join."""
    table: dict[str, Any] = {}
    for trained in TRAINED:
        table[trained] = {}
        for joined in JOINED:
            shares = [row["adaptive"]["correct_hard"][joined] for row in rows if row["trained"] == trained]
            if shares:
                table[trained][joined] = {
                    "mean": round(statistics.mean(shares), 4),
                    "min": min(shares),
                    "max": max(shares),
                    "seeds": len(shares),
                }
    return table


def main() -> None:
    """Train, evaluate and write table.json."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=2_200_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--high", type=int, default=15, help="largest number")
    parser.add_argument("--target-high", type=int, default=80, help="largest target")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    ranges = Ranges(3, 1, args.high, 1, args.target_high)
    rows = evaluate_all(train_all(args.out, args.seeds, args.tokens, ranges), args.problems, ranges)
    settings = {"tokens": args.tokens, "problems": args.problems, "ranges": asdict(ranges)}
    report = {**settings, "table": tabulate(rows), "runs": rows}
    (args.out / "table.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report["table"], indent=1))


if __name__ == "__main__":
    main()
