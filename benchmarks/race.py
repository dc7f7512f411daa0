"""docs/race.md: every method on the same problems, from what `miniapr race --json` wrote.

    miniapr race --problems 70 --budget 600 --seed 0 --json race-600-0.json     # and other seeds and budgets
    python -m benchmarks.race race-*.json        # pooled into benchmarks/results/race.json, and the page made

Runs of one task, size, levels, model, width, temperature and budget are pooled over their seeds, which draw other
problems and other dice. A method that ran twice with the same seed (baselines are in every race) counts once. Rows that
are not made again stay as they were.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from miniapr.methods.race import FRONTIERS, frontier, reasons, wilson
from miniapr.methods.table import METHODS
from miniapr.show.race_plot import plot

from . import machine
from .tables import Table

HERE = Path(__file__).parent
FIGURES, PAGE = HERE / "results" / "race.json", HERE.parent / "docs" / "race.md"
COLUMNS = {
    "decoded": "decoded", "critical": "critical path", "largest_context": "largest context", "prefilled": "prefilled",
    "recomputed": "again", "reused": "reused", "resent": "a client sends", "saved": "saved", "most_blocks": "blocks",
    "passes": "passes", "seconds": "ms",
}  # fmt: skip
COSTS = [cost for cost in COLUMNS if cost != "saved"]  # what is kept; what was saved is made of it
WORDS = """\
Every method on the same held-out problems, with the same model, dice and budget: means over the problems, shares right
with Wilson's 95 % intervals, pooled over the seeds. A star marks who is on the frontier: nobody is right at least as
often with a shorter critical path (in the column of that), or with fewer decoded tokens; who is never right is not on
it. A judge that is `exact` has been told what is right (best-of-N is then pass@N): such rows bound the others and do
not compete with them. `saved` is what `a client sends` less `prefilled`: tokens that a client of a text-only server
would have had computed again for every decoding, and that here were not, since branches share what they see (forks,
joins by stitching) and keep it when they go on. `reused` counts a prefix for every child that was forked, also for one
that never writes: of those a search makes many. `lines` are the lines of the method's page; `miniapr methods NAME` says
what it does, [methods.md](methods.md) what each word means. Between methods compare `passes`, not `ms`: most were timed
on a machine that had much else to do. Problems are drawn anew for each seed, so some come twice: of the ranges of
`organizer` there are 160 in all.
"""


def pooled(files: Iterable[Path]) -> dict[str, Any]:
    """What is kept of many races."""
    groups: dict[str, dict[str, Any]] = {}
    for file in files:
        told = json.loads(file.read_text())
        name = name_of(told)
        empty: dict[str, Any] = {"seeds": [], "temperature": told["temperature"], "left_out": {}, "rows": {}}
        group = groups.setdefault(name, {**empty, **machine.now(), "cpu": machine.describe("cpp")["cpu"]})
        group["seeds"] = sorted({*group["seeds"], told["seed"]})
        group["left_out"] |= told["left_out"]
        for row in told["rows"]:
            none: dict[str, Any] = {"judge": row["judge"], "lines": _lines(row["method"]), "seeds": []}
            none |= dict.fromkeys(("problems", "right", "spent"), 0)
            sums = group["rows"].setdefault(row["method"], none)
            if told["seed"] in sums["seeds"]:
                continue
            sums["seeds"].append(told["seed"])
            for count in ("problems", "right", "spent"):
                sums[count] += row[count]
            for cost in COSTS:
                sums[cost] = sums.get(cost, 0.0) + row[cost] * row["problems"]
    for group in groups.values():
        for row in group["rows"].values():
            row |= {cost: row[cost] / row["problems"] for cost in COSTS}
    return {"races": groups}


def name_of(told: Mapping[str, Any]) -> str:
    """What was asked for, but for the seed: races that differ in any of it are not pooled."""
    count, levels, width, budget = told.get("count"), told.get("levels"), told.get("width"), told["budget"]
    said = told["task"]
    said += f" of {count} numbers" if count else ""
    said += f" in {levels} level{'s' * (levels != 1)}" if levels is not None else ""
    said += f" by {told['model']}, {budget['tokens']} tokens"
    said += f", {budget['critical']} in line" if budget["critical"] is not None else ""
    said += f", width {width}" if width is not None else ""
    said += f", temperature {told['temperature']:g}" if told["temperature"] != 1 else ""
    return said


def added(kept: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    """Races with those that were made since: a row that was made again, and what is said of all, is the new one. What
    nobody played stays told; the page leaves out what somebody has played by now."""
    merged = dict(kept)
    for name, group in made.items():
        before = {"rows": {}, "left_out": {}, **kept.get(name, {})}
        merged[name] = {**group, **{part: before[part] | group[part] for part in ("rows", "left_out")}}
    return merged


def page(found: Mapping[str, Any]) -> str:
    """The whole page, as text."""
    parts = ["<!-- Made by `python -m benchmarks.race`. -->", "# All methods, one table", WORDS]
    for name, group in found["races"].items():
        counts = {row["problems"] for row in group["rows"].values()}
        seeds, few = ", ".join(map(str, group["seeds"])), "-".join(map(str, sorted(counts)))
        parts += [f"## {name}", f"{few} problems a method, seeds {seeds}, temperature {group['temperature']:g}."]
        picture = picture_of(name)
        parts.append(f"![{name}: share right against both costs](images/{picture.name})")
        parts.append(_table(group["rows"], standing(group["rows"])).markdown())
        played = {row.partition(":")[0] for row in group["rows"]}
        left = {method: why for method, why in group["left_out"].items() if method not in played}
        if told := [f"{', '.join(methods)} ({why})" for why, methods in reasons(left).items()]:
            parts.append(f"Not played: {'; '.join(told)}.")
        parts.append(f"Put together {group['date']} UTC at commit {group['commit']}, {group['cpu']}, one thread.")
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _table(rows: Mapping[str, Mapping[str, Any]], standing: Sequence[Pooled]) -> Table:
    cells, best = [], {cost: frontier(standing, cost) for cost in FRONTIERS}
    for row in standing:
        low, high = row.interval
        line = [f"`{row.name}`", row.judge, f"{100 * row.accuracy:.0f}", f"{100 * low:.0f}-{100 * high:.0f}"]
        for cost in COLUMNS:
            star = " *" * (row.name in best.get(cost, ()))
            line.append(f"{row.costs[cost] * (1000 if cost == 'seconds' else 1):,.0f}{star}")
        cells.append([*line, str(rows[row.name]["lines"])])
    return Table("", "", ["method", "judge", "right, %", "95 %", *COLUMNS.values(), "lines"], cells)


def _lines(name: str) -> int:
    """Lines of the page that a method is on."""
    return len(Path(inspect.getfile(METHODS[name.partition(":")[0]].play)).read_text().splitlines())


class Pooled(NamedTuple):
    """What the table and the picture need of a row."""

    name: str
    judge: str
    accuracy: float
    interval: tuple[float, float]
    costs: Mapping[str, float]


def standing(rows: Mapping[str, Mapping[str, Any]]) -> list[Pooled]:
    """Of the figures that are kept. What was saved is made of them: the mean of a difference is that of the means."""
    return [
        Pooled(
            name,
            row["judge"],
            row["right"] / row["problems"],
            wilson(row["right"], row["problems"]),
            {cost: row[cost] for cost in COSTS} | {"saved": row["resent"] - row["prefilled"]},
        )
        for name, row in rows.items()
    ]


def picture_of(name: str) -> Path:
    return HERE.parent / "docs" / "images" / f"race-{'-'.join(re.findall(r'[a-z0-9]+', name.lower()))}.png"


def draw(found: Mapping[str, Any]) -> None:
    for name, group in found["races"].items():
        plot(standing(group["rows"]), picture_of(name), name)


def write() -> Path:
    PAGE.write_text(page(json.loads(FIGURES.read_text())))
    return PAGE


if __name__ == "__main__":
    kept = json.loads(FIGURES.read_text())["races"] if FIGURES.exists() else {}
    races = added(kept, pooled(map(Path, sys.argv[1:]))["races"])
    FIGURES.write_text(json.dumps({"races": races}, indent=1) + "\n")
    draw(json.loads(FIGURES.read_text()))
    print(write())
