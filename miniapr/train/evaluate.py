"""Held-out accuracy, by the join: the same branches of every problem, joined in each way and concluded
greedily.

Run as ``python -m miniapr.train.evaluate FOLDER``. It goes through the engine, so what is measured is what a
user gets.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engine.engine import Engine
from ..methods.compare import ByControl, Comparison, compare
from ..methods.grammar import Control
from ..model import checkpoint
from ..model.files import read_json
from ..model.tokenizer import Tokenizer
from ..tasks.countdown import Problem, Ranges, Split, draw, verify
from ..tasks.demonstrations import extract_answer, prompt_words
from ..tasks.vocabulary import CONTROL, Vocabulary
from .data import is_easy
from .figures import figures

JOINS = ("stitch", "reprefill", "stitch_contiguous")


@dataclass(frozen=True)
class Outcome:
    """One problem: whether its first try hits, whether the model forked, which joins led to the answer."""

    easy: bool
    forked: bool
    correct: dict[str, bool]


def held_out(split: Split, count: int, seed: int, ranges: Ranges) -> list[Problem]:
    """Distinct problems (up to the order of the numbers) of a split, drawn as they come, easy and hard.

    Raises ValueError if the ranges hold too few.
    """
    rng = random.Random(f"{split} {seed}")
    found: dict[tuple[tuple[int, ...], int], Problem] = {}
    for _ in range(100 * count):
        if len(found) == count:
            return list(found.values())
        problem = draw(rng, ranges, split)
        found.setdefault((problem.descending, problem.target), problem)
    raise ValueError(f"found {len(found)} distinct problems of split {split} in {ranges}, not {count}")


def answer_all(engine: Engine, problems: Sequence[Problem], mode: str, joins: Sequence[str]) -> list[Comparison]:
    """Think about all problems at once, in one engine; a problem that did not fork has no joins."""
    vocabulary = Vocabulary()
    control = Control.of(engine.tokenizer, CONTROL)
    results = []
    requests = []
    for problem in problems:
        result = Comparison()
        method = ByControl(vocabulary.encode(prompt_words(problem, mode)), control, max_tokens=1000)
        requests.append(engine.submit(compare(engine, result, method, joins)))
        results.append(result)
    for request in requests:
        engine.wait(request)
    return results


def judge(problem: Problem, result: Comparison, joins: Sequence[str], vocabulary: Vocabulary) -> Outcome:
    """What came of one problem. One that did not fork has the same answer whatever the join."""
    texts = {how: result.joins[how].text if how in result.joins else result.before for how in joins}
    correct = {how: verify(extract_answer(text), problem).correct for how, text in texts.items()}
    return Outcome(is_easy(problem, vocabulary), bool(result.joins), correct)


def summarize(outcomes: Sequence[Outcome], joins: Sequence[str]) -> dict[str, Any]:
    """Counts and shares: of right answers by join, over all and over the hard ones, and of forks."""
    hard = [outcome for outcome in outcomes if not outcome.easy]
    easy = [outcome for outcome in outcomes if outcome.easy]
    return {
        "n": len(outcomes),
        "n_hard": len(hard),
        "correct": {how: _share([o.correct[how] for o in outcomes]) for how in joins},
        "correct_hard": {how: _share([o.correct[how] for o in hard]) for how in joins},
        "forked_easy": _share([o.forked for o in easy]),
        "forked_hard": _share([o.forked for o in hard]),
    }


def _share(values: Sequence[bool]) -> float | None:
    return round(sum(values) / len(values), 4) if values else None


def evaluate(
    folder: str | Path,
    sizes: dict[Split, int] | None = None,
    *,
    seed: int = 0,
    ranges: Ranges | None = None,
    joins: Sequence[str] = JOINS,
    at_once: int = 50,
) -> dict[str, Any]:
    """Accuracy of the model in ``folder`` on held-out problems: adaptively for every join, and sequentially; of a model
    that knows roles, the figures of every role."""
    sizes = sizes or {"pairs": 500, "sets": 300}
    about = Path(folder) / "miniapr.json"
    if about.is_file() and "roles" in read_json(about):
        return {"seed": seed} | {split: figures(Path(folder), count, split, seed) for split, count in sizes.items()}
    model, tokenizer, vocabulary = checkpoint.load(folder), Tokenizer.load(folder), Vocabulary()
    engine = Engine(model, tokenizer, num_blocks=16_384, max_batch_tokens=2048, reuse_prefixes=False, record=False)
    report: dict[str, Any] = {"seed": seed}
    for split, count in sizes.items():
        problems = held_out(split, count, seed, ranges or Ranges())
        report[split] = {}
        for mode, ways in (("adaptive", tuple(joins)), ("sequential", ("sequential",))):
            outcomes = []
            for begin in range(0, count, at_once):
                some = problems[begin : begin + at_once]
                results = answer_all(engine, some, mode, ways if mode == "adaptive" else ("stitch",))
                outcomes += [judge(p, r, ways, vocabulary) for p, r in zip(some, results, strict=True)]
            report[split][mode] = summarize(outcomes, ways)
    return report


def main() -> None:
    """Print the report for one model folder as JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--sets", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(json.dumps(evaluate(args.folder, {"pairs": args.pairs, "sets": args.sets}, seed=args.seed), indent=2))


if __name__ == "__main__":
    main()
