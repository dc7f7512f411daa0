"""docs/training/seeds.md: one recipe with several seeds, beside the model that ships, and how their loss fell.

    torchrun --nproc-per-node 2 -m miniapr train sft --seed 7 --out runs/seed-7 ...     # the command: roles.md
    python -m benchmarks.seeds runs/seed-7     # examined, added to docs/training/countdown-seeds.json; the page is made
    python -m benchmarks.seeds                 # the page alone

Models of the same options are put together as one recipe, whatever their seed: its figures are means with the least and
the most.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miniapr.examine.figures import figures
from miniapr.model.files import read_json

from .plots import GREY, OURS
from .tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = Path(__file__).parents[1] / "docs" / "training"
KEPT, SHIPPED, PAGE = FOLDER / "countdown-seeds.json", FOLDER / "countdown-figures.json", FOLDER / "seeds.md"
PICTURE = FOLDER.parent / "images" / "training.png"
SPLITS = ("pairs", "sets")
SAID = ("command", "seed", "joins", "tokens", "steps", "seconds", "device", "processes", "threads", "torch")
COLOURS = (OURS, "#009E73", "#CC79A7", "#E69F00", "#D55E00", "#56B4E9", "#000000", "#F0E442")

Figures = Mapping[str, Any]
# what is asked for -> (where it stands in the figures of a split, how it is written)
ROWS: dict[str, tuple[Callable[[Figures], Figures], str]] = {
    "under 5 % of easy ones forked": (lambda f: f["adaptive"]["forked easy"], "%"),
    "over 95 % of hard ones forked": (lambda f: f["adaptive"]["forked hard"], "%"),
    "critical path, hard ones, by the line's: at most 0.6": (lambda f: f["adaptive"]["by that in line"], ""),
    "97 % right after a stitch": (lambda f: f["adaptive"]["right"]["stitch"], "%"),
    "97 % right after re-prefill": (lambda f: f["adaptive"]["right"]["reprefill"], "%"),
    "chain: pass@1 of 25 to 60 %": (lambda f: f["chain"]["pass@1"], "%"),
    "chain: pass@16 of 85 %": (lambda f: f["chain"]["pass@16"], "%"),
    "- stitch contiguous": (lambda f: f["adaptive"]["right"]["stitch_contiguous"], "%"),
    "- in line": (lambda f: f["adaptive"]["in line"]["right"], "%"),
    "- value right, 3 numbers": (lambda f: f["value"]["3 numbers"]["right"], "%"),
    "- value right, 2 numbers": (lambda f: f["value"]["2 numbers"]["right"], "%"),
    "- propose: a step leads to the target": (lambda f: f["propose"]["one leads to the target"], "%"),
    "- parent and children, 3 numbers": (lambda f: f["spawn"]["right"], "%"),
    "- parent and children, 4 numbers": (lambda f: f["spawn, 4 numbers"]["right"], "%"),
}
WORDS = """\
The recipe and its commands are in [roles.md](roles.md). 300 held-out problems of each split, "pairs" / "sets", shares
in percent; greedy but for the chains. A figure of 300 has an interval of 2 to 4 points, so which of two models is the
better cannot be told from it. No seed that was trained is left out.
"""
LOSS = """\
![Loss by tokens, of every model](../images/training.png)

*Loss by tokens shown. It falls last where the rate falls: what a model knows at half of its budget says little about
what it will know. Other batches, shares and sizes have other losses: only the seeds can be compared.*

"""


def examined(run: Path, count: int = 300) -> dict[str, Any]:
    """What is kept of a run: how it was made, its figures on both splits, its loss. What was examined before is not
    examined again. Raises ValueError for a folder that holds no finished run."""
    about = read_json(run / "miniapr.json").get("provenance", {})
    curve = [json.loads(line.rstrip(",")) for line in (run / "curve.json").read_text().splitlines()[1:-1]]
    splits = {split: figures(run, count, split, kept=run / f"{split}.json") for split in SPLITS}
    said = {name: about[name] for name in SAID if name in about}
    words = said["command"].split()
    place = words.index("--out") + 1
    words[place] = f"runs/{Path(words[place]).name}"
    return {"provenance": said | {"command": " ".join(words)}, **splits, "curve": curve}


def recipes(kept: Mapping[str, Any]) -> dict[str, list[str]]:
    """Names of those that were made by the same command but for seed and folder: {command: names}."""
    found: dict[str, list[str]] = {}
    for name, one in kept.items():
        command = re.sub(r" --(seed|out) \S+", "", one["provenance"]["command"])
        found.setdefault(command, []).append(name)
    return found


def number(found: Figures) -> float:
    """A figure without its interval."""
    return float(next(iter(found.values())))


def cell(models: Sequence[Any], row: str) -> str:
    """A figure on both splits; of several models the means, with the least and the most of all."""
    get, unit = ROWS[row]
    scale, digits = (100, 1) if unit else (1, 2)
    values = [[scale * number(get(model[split])) for model in models] for split in SPLITS]
    said = " / ".join(f"{statistics.mean(of_split):.{digits}f}" for of_split in values)
    every = [value for of_split in values for value in of_split]
    return said + (f" ({min(every):.{digits}f}-{max(every):.{digits}f})" if len(models) > 1 else "")


def page(kept: Mapping[str, Any], ships: Figures) -> str:
    """The whole page."""
    text = f"<!-- Made by `python -m benchmarks.seeds`. -->\n\n# One recipe, several seeds\n\n{WORDS}\n"
    groups = recipes(kept)
    names, models = ["ships"], [[ships]]
    for members in groups.values():
        tokens = kept[members[0]]["provenance"]["tokens"]
        names.append(f"{' and '.join(members)}: {tokens / 1e6:.0f} M".replace(" and seed ", ", "))
        models.append([kept[name] for name in members])
    rows = [[row, *(cell(group, row) for group in models)] for row in ROWS]
    text += "Means, with the least and the most of any seed and split:\n\n"
    text += Table("", "", ["wanted", *names], rows).markdown() + "\n\nEach of them:\n\n"
    rows = [[row, *(cell([one], row) for one in kept.values())] for row in ROWS]
    text += Table("", "", ["wanted", *kept], rows).markdown() + "\n\n"
    text += LOSS
    made = [
        [
            name,
            f"{p['tokens']:,}",
            f"{p['steps']:,}",
            f"{p['seconds'] / 60:.0f}",
            f"{p.get('processes', 1)}",
            p["torch"],
        ]
        for name, p in ((name, one["provenance"]) for name, one in kept.items())
    ]
    return text + Table("", "", ["", "tokens", "steps", "minutes", "processes", "torch"], made).markdown() + "\n"


def shown(curve: Sequence[Mapping[str, Any]]) -> list[int]:
    """Tokens that a model had been shown at each row. A run that went on from another's weights counts from 0 again."""
    before, last, found = 0, 0, []
    for row in curve:
        before += last if row["tokens"] < last else 0
        last = row["tokens"]
        found.append(before + last)
    return found


def picture(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Loss by tokens: {name of a model: its curve}."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained", dpi=110)
    axes = figure.subplots()
    for (name, curve), colour in zip(curves.items(), (GREY, *COLOURS), strict=False):
        axes.plot(
            [tokens / 1e6 for tokens in shown(curve)], [row["loss"] for row in curve], color=colour, label=name, lw=1.4
        )
    axes.set(xscale="log", yscale="log", xlabel="tokens, millions", ylabel="loss")
    for axis, ticks in (
        (axes.xaxis, (0.1, 0.3, 1, 3, 10, 30)),
        (axes.yaxis, (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 4)),
    ):
        axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_ticks([], minor=True)
    axes.grid(color="#e4e4e4")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def main(words: Sequence[str]) -> None:
    """Examine what is named, and make the page."""
    kept = read_json(KEPT)
    for run in map(Path, words):
        kept[run.name.replace("-", " ")] = examined(run)
    lines = re.sub(
        r"\{\s+(\"step\":[^}]*?)\s+\}", lambda row: "{" + " ".join(row[1].split()) + "}", json.dumps(kept, indent=1)
    )
    KEPT.write_text(lines + "\n")
    PAGE.write_text(page(kept, read_json(SHIPPED)))
    others = {name: read_curve(FOLDER / f"{name}-curve.json") for name in ("countdown", "sorting", "organizer")}
    mine = {name: one["curve"] for name, one in kept.items()}
    curves = {
        "countdown, ships": others["countdown"],
        **mine,
        "sorting": others["sorting"],
        "organizer": others["organizer"],
    }
    picture(curves).savefig(PICTURE, metadata={"Software": None})
    print(f"wrote {PAGE} and {PICTURE}")


def read_curve(file: Path) -> list[dict[str, Any]]:
    return list(json.loads(file.read_text()))


if __name__ == "__main__":
    main(sys.argv[1:])
