"""What a fork buys and costs on average: tokens one after the other, and tokens in all, forked against in line.

    python -m benchmarks.wait --json benchmarks/results/wait.json --plot docs/images/wait.png      # a minute

Each held-out problem is thought about twice by the same weights, greedily: the model decides by itself whether to fork
(role `adaptive`, joined by stitch), and it is told to think in one line (role `sequential`). Needs a model with both
roles. Nothing of it is time, so every machine draws the same picture.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miniapr.engine.branch import Branch
from miniapr.examine.figures import Examined, drawn
from miniapr.examine.shares import quotient, share
from miniapr.methods.adaptive import adaptive
from miniapr.model.bundle import find
from miniapr.model.files import read_json
from miniapr.tasks.countdown import Ranges
from miniapr.tasks.states import State

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORKED, NOT, GREY = "#0072B2", "#E69F00", "#6b6b6b"


@dataclass(frozen=True)
class Thought:
    """``wait``: tokens decoded one after the other; ``tokens``: in all branches."""

    wait: int
    tokens: int
    right: bool


@dataclass(frozen=True)
class Pair:
    """One problem, both ways. ``branches``: into how many the model forked, 0 if it did not."""

    problem: str
    branches: int
    forked: Thought
    line: Thought


def measure(model: Examined, problems: Sequence[State], how: str = "stitch") -> list[Pair]:
    """Both ways through one engine, many problems at a time; no stretch of decoding gets longer than the model's
    ``longest``."""

    def think(role: str) -> list[Branch]:
        asked = [model.ask(problem, role) for problem in problems]
        return model.run([adaptive(prompt, model.control, how, max_tokens=model.longest) for prompt in asked])

    def thought(root: Branch, problem: State) -> Thought:
        return Thought(root.critical, root.request.cost.decoded, model.right(root.text, problem))

    both = zip(problems, think("adaptive"), think("sequential"), strict=True)
    return [
        Pair(
            " ".join(map(str, (*problem.numbers, "->", problem.target))),
            len(root.request.branches) - 1,
            thought(root, problem),
            thought(line, problem),
        )
        for problem, root, line in both
    ]


def summary(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Over all problems, and over those that were forked: ratios of sums with 95 % intervals."""
    report: dict[str, Any] = {}
    for name, chosen in (("all", list(pairs)), ("forked", [pair for pair in pairs if pair.branches])):
        if len(chosen) < 2:
            continue
        report[name] = {
            "problems": len(chosen),
            "right forked": share([pair.forked.right for pair in chosen]),
            "right in line": share([pair.line.right for pair in chosen]),
        }
        for what in ("wait", "tokens"):
            forked, line = ([getattr(getattr(p, way), what) for p in chosen] for way in ("forked", "line"))
            report[name][what] = {
                "forked": round(sum(forked) / len(chosen), 1),
                "in line": round(sum(line) / len(chosen), 1),
                "by that in line": quotient(forked, line),
                "shorter": sum(a < b for a, b in zip(forked, line, strict=True)),
            }
    return report


PANELS = {
    "wait": ("How long you wait", "tokens one after the other"),
    "tokens": ("What you pay", "tokens in all branches"),
}


def plot(pairs: Sequence[Pair], told: dict[str, Any], path: Path) -> None:
    """A point a problem: below the diagonal the fork took fewer tokens."""
    import matplotlib
    from matplotlib.figure import Figure

    from .plots import STYLE

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12, 5.6), layout="constrained", dpi=110)
        for axes, what in zip(figure.subplots(1, 2), PANELS, strict=True):
            _panel(axes, pairs, what, told["all"])
        figure.axes[0].legend(loc="upper left")
        figure.savefig(path, metadata={"Software": None})


def _panel(axes: Axes, pairs: Sequence[Pair], what: str, told: dict[str, Any]) -> None:
    (title, unit), mean = PANELS[what], told[what]

    def ends(some: Sequence[Pair]) -> tuple[list[int], list[int]]:
        return [getattr(pair.line, what) for pair in some], [getattr(pair.forked, what) for pair in some]

    top = 1.05 * max(map(max, ends(pairs)))
    axes.plot([0, top], [0, top], color=GREY, lw=1)
    axes.annotate("as many", (0.98 * top, 0.8 * top), ha="right", va="top", color=GREY)  # under the line
    for colour, mark, label, some in (
        (FORKED, "o", "the model forked", [pair for pair in pairs if pair.branches]),
        (NOT, "s", "it did not", [pair for pair in pairs if not pair.branches]),
    ):
        axes.plot(*ends(some), mark, color=colour, alpha=0.45, ms=6, mec="none", label=f"{label} ({len(some)})")
    axes.plot(mean["in line"], mean["forked"], "*", color="black", ms=16, label="mean")
    means = f"{title}: {mean['forked']:.0f} tokens forked, {mean['in line']:.0f} in line"
    fewer = f"fewer in {mean['shorter']} of {told['problems']} problems"
    axes.set_title(f"{means}\n{fewer}", loc="left", fontsize=13)
    axes.set(xlim=(0, top), ylim=(0, top), xlabel=f"{unit}, in line", ylabel=f"{unit}, forked")


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Wait and tokens, forked against in line, on held-out problems.")
    parser.add_argument("--model", default="countdown", help="a shipped one, or a folder")
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    args = parser.parse_args(words)
    folder = find(args.model)
    ranges = Ranges(**read_json(folder / "miniapr.json")["ranges"])
    pairs = measure(Examined(folder), drawn(args.problems, "pairs", args.seed, ranges))
    told = {"model": folder.name, "split": "pairs", "seed": args.seed, "join": "stitch", **summary(pairs)}
    print(json.dumps(told, indent=1))
    if args.json:
        kept = {**told, "pairs": [asdict(pair) for pair in pairs]}
        args.json.write_text(json.dumps(kept) + "\n", encoding="utf-8")
    if args.plot:
        plot(pairs, told, args.plot)


if __name__ == "__main__":
    main()
