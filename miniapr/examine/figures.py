"""Held-out figures of a model that knows roles, each with its interval: those of Countdown here.

Run as ``python -m miniapr.examine.figures FOLDER``. All goes through the engine, so what is measured is what a user
gets. Problems are those of a split that no training run sees; solvable ones, distinct, from a seed.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..engine.branch import Branch
from ..engine.engine import Engine
from ..engine.operations import Decode, Extend, Fork, Start
from ..engine.request import Program
from ..engine.sampling import Sampling
from ..methods.compare import ByControl, Comparison, compare
from ..methods.grammar import Control
from ..model import checkpoint
from ..model.files import read_json
from ..model.tokenizer import Tokenizer
from ..tasks import states
from ..tasks.countdown import Ranges
from ..tasks.roles import easy
from ..tasks.states import Deck, State
from ..tasks.task import Split
from ..tasks.terse import Countdown
from ..tasks.vocabulary import MISS, Vocabulary
from ..tasks.words import CONTROL, NEVER, build_tokenizer
from .apart import apart_figures
from .shares import quotient, share
from .sorting import sorting_figures

JOINS = ("stitch", "reprefill", "stitch_contiguous")
END = CONTROL["eos"]


class Examined:
    """A model under examination. Owns an engine; every figure is a method, given problems."""

    def __init__(self, folder: Path, at_once: int = 50, longest: int = 400) -> None:
        self.task, self.vocabulary = Countdown(), Vocabulary(build_tokenizer())
        self.at_once, self.longest = at_once, longest
        model, tokenizer = checkpoint.load(folder), Tokenizer.load(folder)
        self.control = Control.of(tokenizer, CONTROL)
        self.engine = Engine(model, tokenizer, num_blocks=16_384, max_batch_tokens=2048, record=False)

    def ask(self, problem: State, role: str, step: str | None = None) -> tuple[int, ...]:
        return self.vocabulary.encode(self.task.prompt(problem, role, step).split())

    def right(self, text: str, problem: State) -> bool:
        return self.task.verify(self.task.answer(text, problem), problem).correct

    def run(self, programs: Sequence[Program]) -> list[Any]:
        """What the programs give, ``at_once`` of them in the engine at a time."""
        out = []
        for begin in range(0, len(programs), self.at_once):
            requests = [self.engine.submit(program) for program in programs[begin : begin + self.at_once]]
            out += [self.engine.wait(request) for request in requests]
        return out

    def write(self, prompt: Sequence[int], tries: int = 0, seed: int = 0) -> Program:
        """One greedy text or, with ``tries``, as many sampled ones. Gives the texts."""
        root = yield Start(prompt, Sampling(temperature=1.0 if tries else 0.0, seed=seed))
        branches: list[Branch] = (yield Fork(root, tries)) if tries else [root]
        done = yield Decode(branches, until=(END,), max_tokens=self.longest)
        return [completion.text for completion in done]

    def greedy(self, prompts: Sequence[Sequence[int]]) -> list[str]:
        return [texts[0] for texts in self.run([self.write(prompt) for prompt in prompts])]

    def adaptive(self, problems: Sequence[State]) -> dict[str, Any]:
        """Forks by difficulty, answers by join, and the critical path beside that of the line on the same problems."""
        results = [Comparison() for _ in problems]
        methods = [ByControl(self.ask(p, "adaptive"), self.control, max_tokens=self.longest) for p in problems]
        self.run([compare(self.engine, r, m, JOINS) for r, m in zip(results, methods, strict=True)])
        lines = self.greedy([self.ask(problem, "sequential") for problem in problems])
        hard = [i for i, problem in enumerate(problems) if not easy(problem)]
        forked = [i for i in hard if results[i].joins]
        in_line = [len(lines[i].split()) for i in forked]
        paths = [results[i].critical_path for i in forked]

        def after(how: str, which: Sequence[int]) -> list[bool]:
            texts = {i: results[i].joins[how].text if how in results[i].joins else results[i].before for i in which}
            return [self.right(text, problems[i]) for i, text in texts.items()]

        return {
            "forked easy": share([bool(r.joins) for i, r in enumerate(results) if i not in hard]),
            "forked hard": share([bool(results[i].joins) for i in hard]),
            "right": {how: share(after(how, range(len(problems)))) for how in JOINS},
            "right hard": {how: share(after(how, hard)) for how in JOINS},
            "width": round(statistics.mean(len(results[i].threads) for i in forked), 2) if forked else None,
            "in line": {
                "right": share([self.right(t, p) for t, p in zip(lines, problems, strict=True)]),
                "right hard": share([self.right(lines[i], problems[i]) for i in hard]),
            },
            "critical path, hard and forked": round(statistics.mean(paths), 2) if paths else None,
            "in line, the same": round(statistics.mean(in_line), 2) if paths else None,
            "by that in line": quotient(paths, in_line),
        }

    def chain(self, problems: Sequence[State], tries: int = 16) -> dict[str, Any]:
        programs = [self.write(self.ask(p, "chain"), tries, seed) for seed, p in enumerate(problems)]
        right = [[self.right(text, p) for text in ts] for ts, p in zip(self.run(programs), problems, strict=True)]
        rates = quotient([statistics.mean(row) for row in right], [1] * len(right))
        return {"pass@1": rates, f"pass@{tries}": share([any(row) for row in right])}

    def value(self, problems: Sequence[State], rng: random.Random) -> dict[str, Any]:
        """The verdict on states within the search: the one it should be, by how many numbers are left."""
        judged: dict[int, list[State]] = {3: [], 2: []}
        for problem in problems:
            after = list(states.steps(problem).values())
            winning = [state for state in after if states.paths(state)]
            judged[2].append(rng.choice(winning if rng.random() < 0.5 else after))
            judged[3].append(problem if rng.random() < 0.5 else State(problem.numbers, rng.randint(1, 100)))
        report = {}
        for count, asked in judged.items():
            said = self.greedy([self.ask(state, "value") for state in asked])
            hopeful = [states.value(state) != "never" for state in asked]
            report[f"{count} numbers"] = {
                "right": share([self.task.verdict(t) == states.value(s) for t, s in zip(said, asked, strict=True)]),
                "never, of those that can": share(
                    [self.task.verdict(t) == NEVER for t, h in zip(said, hopeful, strict=True) if h]
                ),
                "never, of those that cannot": share(
                    [self.task.verdict(t) == NEVER for t, h in zip(said, hopeful, strict=True) if not h]
                ),
            }
        return report

    def propose(self, problems: Sequence[State]) -> dict[str, Any]:
        said = self.greedy([self.ask(problem, "propose") for problem in problems])
        named = [self.task.proposed(text, problem) for text, problem in zip(said, problems, strict=True)]
        return {
            "steps": round(statistics.mean(map(len, named)), 2),
            "one leads to the target": share([any(map(states.paths, found.values())) for found in named]),
        }

    def spawn(self, problems: Sequence[State]) -> dict[str, Any]:
        """A parent, children in contexts of their own, messages."""
        ended = self.run([self._spawn(problem) for problem in problems])
        right = [self.right(text, problem) for (text, *_), problem in zip(ended, problems, strict=True)]
        children = [ok for _, told in ended for ok in told]
        return {"right": share(right), "children right": share(children)}

    def _spawn(self, problem: State) -> Program:
        root: Branch = yield Start(self.ask(problem, "parent"))
        yield Decode([root], until=(CONTROL["plan_end"], END), max_tokens=100)
        legal = self.task.steps(problem)
        named = [word for word in dict.fromkeys(root.text.split()) if word in legal]
        children: list[Branch] = []
        for step in named:
            children.append((yield Start(self.ask(problem, "child", step))))
        done = (yield Decode(children, until=(END,), max_tokens=self.longest)) if children else []
        heard = [self.task.message(child.text) for child in done]
        words = " ".join((*heard, CONTROL["join"])).split()
        yield Extend(root, self.vocabulary.encode(words))
        (last,) = yield Decode([root], until=(END,), max_tokens=20)
        told = [(text != MISS) == bool(states.paths(legal[step])) for step, text in zip(named, heard, strict=True)]
        return last.text, told


def drawn(count: int, split: Split, seed: int, ranges: Ranges) -> list[State]:
    """Distinct solvable problems of a split, hard and easy as they come. Raises ValueError if there are too few."""
    rng, deck = random.Random(f"{split} {seed}"), Deck(ranges)
    found: dict[State, None] = {}
    for _ in range(100 * count):
        if len(found) == count:
            return list(found)
        found[deck.draw(rng, split=split)] = None
    raise ValueError(f"found {len(found)} distinct problems of split {split} in {ranges}, not {count}")


Parts = Mapping[str, Callable[[], dict[str, Any]]]


def figures(
    folder: Path,
    count: int = 300,
    split: Split = "pairs",
    seed: int = 0,
    longest: int = 400,
    kept: Path | None = None,
) -> dict[str, Any]:
    """The figures of every role that the model has, on the same problems of the ranges that it was trained on; no text
    gets longer than ``longest`` tokens. ``kept``: a file that has what is made so far, after each part; what is there
    is not made again. Raises ValueError for a folder that does not say roles and ranges, and for a file of others."""
    about: dict[str, Any] = {"split": split, "seed": seed, "problems": count}
    report = read_json(kept) if kept and kept.exists() else dict(about)
    if any(report.get(name) != value for name, value in about.items()):
        raise ValueError(f"{kept} has figures of others than {about}")
    sorts = read_json(folder / "miniapr.json").get("task") == "sorting"
    parts = sorting_figures(folder, count, split, seed) if sorts else _by_role(folder, count, split, seed, longest)
    for name, make in parts.items():
        if name not in report:
            report[name] = make()
            if kept:
                kept.write_text(json.dumps(report, indent=1) + "\n")
    return report


def _by_role(folder: Path, count: int, split: Split, seed: int, longest: int) -> Parts:
    said = read_json(folder / "miniapr.json")
    try:
        known, ranges = set(said["roles"]), Ranges(**said["ranges"])
        four = Ranges(**said["ranges_of_four"]) if "ranges_of_four" in said else None
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder} does not say which roles and ranges its model knows: {error}") from error
    model, problems = Examined(folder, longest=longest), drawn(count, split, seed, ranges)
    parts: dict[str, tuple[set[str], Callable[[], dict[str, Any]]]] = {
        "adaptive": ({"adaptive", "sequential"}, lambda: model.adaptive(problems)),
        "chain": ({"chain"}, lambda: model.chain(problems)),
        "value": ({"value"}, lambda: model.value(problems, random.Random(seed))),
        "propose": ({"propose"}, lambda: model.propose(problems)),
        "spawn": ({"child", "parent"}, lambda: model.spawn(problems)),
    }
    if four:
        parts["spawn, 4 numbers"] = ({"child", "parent"}, lambda: model.spawn(drawn(count, split, seed, four)))
        parts["chain, 4 numbers"] = ({"chain"}, lambda: model.chain(drawn(count, split, seed, four)))
    made = {name: make for name, (needs, make) in parts.items() if needs <= known}
    return {**made, **apart_figures(folder, problems)}


def main() -> None:
    """Print the figures of one model folder as JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--problems", type=int, default=300)
    parser.add_argument("--split", choices=("pairs", "sets"), default="pairs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write them here, part by part; what is there is not made again")
    args = parser.parse_args()
    print(json.dumps(figures(args.folder, args.problems, args.split, args.seed, kept=args.out), indent=1))


if __name__ == "__main__":
    main()
