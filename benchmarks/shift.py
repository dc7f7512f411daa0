"""How far each stitch is from re-prefill on a real language model, by length and number of branches.

    python -m benchmarks.shift --json benchmarks/results/shift.json --plot docs/images/shift.png

For each question one root forks into eight branches, each asked to write about another point, and sampled as long as
the longest length. At every length the first 2, 4 and 8 of them are joined in each way, from one state; the user then
asks for a conclusion, re-prefill writes it greedily, and every stitch reads the same tokens. Compared are the
distributions of the next token: KL(re-prefill || stitch) in nats, and whether the likeliest token is the same. Means
over the tokens of a conclusion are one sample for each question; intervals are 95 % by bootstrap over questions.
A branch that ends its turn early goes on with what the model thinks comes next.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from miniapr import Bundle, Decode, Engine, Extend, Fork, Join, Release, Sampling, Settle, Start, load
from miniapr.engine.request import Program
from miniapr.methods.distance import apart
from miniapr.model.checkpoint import DTYPES

STITCHES = ("stitch", "stitch_contiguous")
LENGTHS, WIDTHS = (16, 64, 256, 1024), (2, 4, 8)
CONCLUSION = 24  # tokens
# Of their own: the figures must not change with the method's wording.
POINT = 'Now write out point {number}, "{point}", in two or three sentences.'
CONCLUDE = "Now put all points together: answer the question in one short paragraph."
QUESTIONS = (
    (
        "How does a city get its drinking water?",
        "rivers",
        "wells",
        "dams",
        "pumps",
        "filters",
        "pipes",
        "tests",
        "bills",
    ),
    (
        "What should I know before I adopt a dog?",
        "time",
        "food",
        "walks",
        "training",
        "vets",
        "costs",
        "space",
        "travel",
    ),
    ("How did trains change the world?", "trade", "cities", "time", "war", "travel", "coal", "jobs", "food"),
    ("What makes a good teacher?", "patience", "humour", "knowledge", "fairness", "stories", "tests", "trust", "rest"),
    ("Why do people make music?", "joy", "ritual", "memory", "dance", "love", "work", "money", "grief"),
    ("How can a town save energy?", "heating", "lamps", "traffic", "trees", "roofs", "schools", "shops", "habits"),
    ("What lives in a tropical forest?", "birds", "frogs", "ants", "monkeys", "trees", "fungi", "snakes", "people"),
    ("How is bread made?", "wheat", "milling", "water", "salt", "yeast", "kneading", "baking", "storing"),
    ("How do sailors find their way?", "stars", "compass", "maps", "coasts", "clocks", "radio", "satellites", "birds"),
    (
        "What happens in a hospital at night?",
        "nurses",
        "doctors",
        "patients",
        "alarms",
        "birth",
        "food",
        "sleep",
        "cleaning",
    ),
    (
        "How do we know the age of the Earth?",
        "rocks",
        "fossils",
        "meteorites",
        "ice",
        "oceans",
        "decay",
        "layers",
        "stars",
    ),
    ("What is needed to found a company?", "idea", "money", "people", "law", "customers", "office", "taxes", "luck"),
)


def cells(lengths: Sequence[int], widths: Sequence[int], room: int) -> dict[int, list[int]]:
    """Which widths are joined at which length. Where a width does not fit the context at full length, it is joined at
    the greatest multiple of 32 that does."""
    found: dict[int, list[int]] = {}
    for length in lengths:
        for width in widths:
            fits = min(length, room // width)
            found.setdefault(fits if fits == length else fits // 32 * 32, []).append(width)
    return dict(sorted(found.items()))


def one(bundle: Bundle, question: Sequence[str], plan: dict[int, list[int]], sampling: Sampling) -> Program:
    """Gives a row for each cell and stitch."""
    talk = bundle.tokenizer
    seeds = [talk.turn(POINT.format(number=i, point=point)) for i, point in enumerate(question[1:], start=1)]
    root = yield Start(talk.chat([{"role": "user", "content": question[0]}]) + talk.encode("Gladly."), sampling)
    branches = yield Fork(root, seeds[: max(width for widths in plan.values() for width in widths)])
    rows, written = [], 0
    for length, widths in plan.items():
        yield Decode(branches, max_tokens=length - written)
        written = length
        yield Settle(branches)
        for width in widths:
            joined = {}
            for how in ("reprefill", *STITCHES):
                joined[how] = yield Join(root, branches[:width], how, then=talk.turn(CONCLUDE), keep=True)
            rows += yield from _distances(joined, length, width)
            yield Release(list(joined.values()))
    return rows


def _distances(joined: dict[str, Any], length: int, width: int) -> Program:
    kl: dict[str, list[float]] = {how: [] for how in STITCHES}
    same: dict[str, list[bool]] = {how: [] for how in STITCHES}
    for _ in range(CONCLUSION):
        yield Settle(list(joined.values()))
        truth = joined["reprefill"].logits  # [V]
        for how in STITCHES:
            far, alike = apart(truth, joined[how].logits)
            kl[how].append(float(far))
            same[how].append(bool(alike))
        for branch in joined.values():
            yield Extend(branch, [int(truth.argmax())])
    return [
        {"join": h, "length": length, "width": width, "kl": statistics.mean(kl[h]), "top1": statistics.mean(same[h])}
        for h in STITCHES
    ]


def interval(samples: Sequence[float], draws: int = 2000) -> tuple[float, float, float]:
    """Mean, and the ends of its 95 % bootstrap interval."""
    rng = random.Random(0)
    means = sorted(statistics.mean(rng.choices(samples, k=len(samples))) for _ in range(draws))
    return statistics.mean(samples), means[int(0.025 * draws)], means[int(0.975 * draws) - 1]


def summary(rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for key in sorted({(row["join"], row["width"], row["length"]) for row in rows}):
        own = [row for row in rows if (row["join"], row["width"], row["length"]) == key]
        found = {"join": key[0], "width": key[1], "length": key[2], "questions": len(own)}
        for what in ("kl", "top1"):
            found[what], found[f"{what}_low"], found[f"{what}_high"] = interval([row[what] for row in own])
        yield found


def plot(cells: Sequence[dict[str, Any]], path: Path, title: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained", dpi=110)
    for axes, what, label in zip(
        figure.subplots(1, 2), ("kl", "top1"), ("KL to re-prefill, nats", "same top token"), strict=True
    ):
        for how, style in zip(STITCHES, ("-", "--"), strict=True):
            for width, colour in zip(WIDTHS, ("tab:blue", "tab:orange", "tab:red"), strict=True):
                own = [c for c in cells if c["join"] == how and c["width"] == width]
                x = [c["length"] for c in own]
                axes.plot(x, [c[what] for c in own], style, color=colour, marker="o", label=f"{how}, {width} branches")
                low, high = ([c[f"{what}_{end}"] for c in own] for end in ("low", "high"))
                axes.fill_between(x, low, high, color=colour, alpha=0.1)
        axes.set_xscale("log", base=2)
        axes.set_xlabel("tokens in each branch")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0, top=1 if what == "top1" else None)
    axes.legend(fontsize=7)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--dtype", choices=tuple(DTYPES), default="float32")
    parser.add_argument("--questions", type=int, default=len(QUESTIONS), help="how many; the more, the narrower")
    parser.add_argument("--longest", type=int, default=LENGTHS[-1], help="leave out greater lengths")
    parser.add_argument("--temperature", type=float, default=0.8, help="of the branches")
    parser.add_argument("--json", type=Path, help="write the rows and their summary; what is there is gone on with")
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    bundle = load(args.model, DTYPES[args.dtype])
    lengths = [length for length in LENGTHS if length <= args.longest]
    plan = cells(lengths, WIDTHS, bundle.model.config.max_position_embeddings - 600)
    found = json.loads(args.json.read_text()) if args.json and args.json.is_file() else {"rows": []}
    engine = Engine(bundle.model, bundle.tokenizer, num_blocks=1800, record=False)
    for number, question in enumerate(QUESTIONS[: args.questions]):
        if any(row["question"] == number for row in found["rows"]):
            continue
        begun = time.perf_counter()
        rows = engine.run(one(bundle, question, plan, Sampling(args.temperature, seed=number)))
        engine.kv.flush()
        found["rows"] += [{"question": number, **row} for row in rows]
        found |= {"model": bundle.name, "dtype": args.dtype, "temperature": args.temperature, "conclusion": CONCLUSION}
        found["cells"] = list(summary(found["rows"]))
        if args.json:
            args.json.write_text(json.dumps(found, indent=1) + "\n")
        print(f"question {number}: {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
    for cell in found["cells"]:
        kl, top1 = (f"{cell[w]:.3f} ({cell[w + '_low']:.3f} to {cell[w + '_high']:.3f})" for w in ("kl", "top1"))
        print(f"{cell['join']:18} {cell['width']} x {cell['length']:4}  KL {kl}  same top token {top1}")
    if args.plot:
        count = len({row["question"] for row in found["rows"]})
        plot(found["cells"], args.plot, f"{found['model']} ({found['dtype']}): {count} questions, 95 % intervals")


if __name__ == "__main__":
    with torch.inference_mode():
        main()
