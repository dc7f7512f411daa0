"""Whether workers who read each other do less twice: python -m benchmarks.redundancy [--json FILE]

The same weights, problems and dice: workers who read each other's words as they are written (Group Think's slots), and
workers who do not (``private``). A worker tries one line after another; two who try the same line do it twice. Exact
counts, so every machine finds the same.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from miniapr.engine.engine import Engine
from miniapr.examine.figures import drawn
from miniapr.examine.shares import quotient, share
from miniapr.methods.budget import Budget
from miniapr.methods.outcome import Outcome
from miniapr.methods.play import play
from miniapr.methods.weaves import group_think
from miniapr.model.bundle import load
from miniapr.players import game_of
from miniapr.tasks.countdown import Ranges
from miniapr.tasks.vocabulary import MISS
from miniapr.tasks.words import LABELS

SIGHTS = {"read each other": "slots", "do not": "private"}


def lines(text: str) -> list[str]:
    """The lines that a worker tried, each by its first step: what stands behind ``<thread> 1`` or a miss."""
    words = text.split()
    starts = [2, *(i + 1 for i, word in enumerate(words) if word == MISS)]
    return [words[i] for i in starts if i < len(words) and words[i] in LABELS]


def measure(name: str, count: int, width: int, seed: int = 0, tokens: int = 1000) -> dict[str, Any]:
    """Both kinds of team on ``count`` held-out problems."""
    bundle = load(name)
    problems = drawn(count, "pairs", seed, Ranges(**bundle.about["ranges"]))
    engine, player = Engine(bundle.model, bundle.tokenizer, num_blocks=1024), game_of(bundle).player
    report: dict[str, Any] = {"model": name, "problems": count, "seed": seed, "width": width}
    for sight, positions in SIGHTS.items():
        ended = []
        for number, problem in enumerate(problems):
            team = group_think(problem, player.seeded(number), Budget(tokens), width=width, positions=positions)
            outcome = play(engine, team, Budget(tokens))
            assert outcome is not None
            ended.append(outcome)
        assert player.check is not None
        right = [player.check(problem, outcome.answer) for problem, outcome in zip(problems, ended, strict=True)]
        report[sight] = {"positions": positions, "right": share(right), **counted(ended)}
    return report


def counted(ended: Sequence[Outcome]) -> dict[str, Any]:
    """Means a problem, with 95 % intervals; ``twice``: of the lines tried, those that were tried already."""
    tried = [[line for worker in outcome.candidates for line in lines(worker.text)] for outcome in ended]
    all_lines, twice = [len(team) for team in tried], [len(team) - len({*team}) for team in tried]
    ones = [1] * len(ended)
    return {
        "lines": quotient(all_lines, ones),
        "twice": quotient(twice, all_lines),
        "tokens": quotient([outcome.costs.decoded for outcome in ended], ones),
        "critical path": quotient([outcome.costs.critical for outcome in ended], ones),
    }


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Lines tried twice by workers who read each other, or do not.")
    parser.add_argument("--model", default="countdown", help="a shipped one, or a folder")
    parser.add_argument("--problems", type=int, default=300)
    parser.add_argument("--width", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(words)
    told = [measure(args.model, args.problems, width) for width in args.width]
    print(json.dumps(told, indent=1))
    if args.json:
        args.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
