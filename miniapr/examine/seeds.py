"""One recipe with several seeds: trained, examined, and put side by side.

Run as ``python -m miniapr.examine.seeds --out FOLDER --seeds 0 1 2`` with the options of ``miniapr train --roles``. A
run that was killed goes on, and what is complete is not done again.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..train import command
from .figures import figures

Examine = Callable[[Path], dict[str, Any]]


def examined(args: argparse.Namespace, seeds: Sequence[int], examine: Examine) -> list[dict[str, Any]]:
    """Train with each seed into a folder of its own below ``args.out``, and examine what came of it."""
    reports = []
    for seed in seeds:
        folder = args.out / f"seed-{seed}"
        file = folder / "figures.json"
        if not file.exists():
            command.run(argparse.Namespace(**{**vars(args), "seed": seed, "out": folder}))
            file.write_text(json.dumps(examine(folder), indent=1) + "\n")
        reports.append(json.loads(file.read_text()))
    return reports


def across(reports: Sequence[Any]) -> Any:
    """Reports of one shape as one: of every number mean, least and most. A figure is taken without its interval, which
    is about problems, not about seeds; None where it is None in one of them."""
    first = reports[0]
    if any(report is None for report in reports):
        return None
    if isinstance(first, dict):
        if "low" in first:
            return across([next(iter(report.values())) for report in reports])
        return {name: across([report[name] for report in reports]) for name in first}
    if isinstance(first, str):
        return first
    return {"mean": round(statistics.mean(reports), 4), "min": min(reports), "max": max(reports)}


def main() -> None:
    """Train, examine and write figures.json."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    command.add_arguments(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="instead of --seed")
    parser.add_argument("--problems", type=int, default=300, help="held-out ones of every figure")
    args = parser.parse_args()
    if args.roles is None:
        raise SystemExit("a model that knows no roles has no such figures: give --roles")
    reports = examined(args, args.seeds, lambda folder: figures(folder, args.problems))
    for report in reports:
        del report["seed"], report["problems"]  # of the problems' draw: the same in all
    said = {"seeds": args.seeds, "problems": args.problems} | across(reports)
    (args.out / "figures.json").write_text(json.dumps(said, indent=1) + "\n")
    print(json.dumps(said, indent=1))


if __name__ == "__main__":
    main()
