"""Runs of an experiment: every arm with every seed, each a process of one thread, each result a file of its own."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..model.bundle import find, load
from ..show.curve import draw
from ..train.saved import difference, usual
from .arms import Arm, Room, Say, Size
from .experiment import Examine, Experiment, seeds
from .picture import picture
from .report import Report
from .tell import legend, paragraph, table
from .where import where

QUICK = Size(seeds=1, steps=4, tokens=150_000, count=50)


@dataclass(frozen=True)
class Asked:
    """All that makes a result what it is, but for the code."""

    arm: Arm
    steps: int | None
    tokens: int | None
    count: int


@dataclass(frozen=True)
class Work:
    """One arm with one seed, all that its process is told. ``examine``: None where it only is what others begin
    with."""

    arm: Arm
    seed: int
    room: Room
    out: Path
    examine: Examine | None

    @property
    def name(self) -> str:
        return f"{self.arm.name}-{self.seed}"

    @property
    def asked(self) -> Asked:
        """How many seeds an arm has is none of it."""
        size = self.room.size
        return Asked(self.arm, size.steps, size.tokens, size.count)


def conduct(
    experiment: Experiment,
    out: Path,
    starts: Path,
    size: Size,
    jobs: int = 1,
    say: Say = print,
    only: Collection[str] = (),
    given: Path | None = None,
) -> Report:
    """Do what is not done yet below ``out`` and say what came of it. A run that was stopped goes on where it was.

    starts, given  where models that experiments share are made, and where some of them are already, in full
    only           these arms, of the others what is there already; none: all
    Writes README.md (table and paragraph), figures.png and, of reinforcement, curves.png. Raises what a run raises, and
    ValueError for no arm, or a folder that cannot be one.
    """
    levels = replace(experiment, arms=chosen(experiment, only)).levels
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"results cannot be kept in {out}: {error.strerror}") from error
    room, examined = Room(starts, out / "runs", size, given), {arm.name for arm in experiment.arms}
    for level in levels:
        works = [
            Work(arm, seed, room, out, experiment.examine if arm.name in examined else None)
            for seed in range(size.seeds)
            for arm in level
            if seed in seeds(arm, size.seeds)
        ]
        if jobs == 1:
            for work in works:
                say(done(work, say))
        else:
            with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
                for future in as_completed([pool.submit(done, work) for work in works]):
                    say(future.result())
    runs = {arm.name: found for arm in experiment.arms if (found := results(out, arm, size.seeds))}
    each = ({name: [one[what] for one in some] for name, some in runs.items()} for what in ("found", "curve"))
    report = Report(*each)
    parts = [f"# {experiment.name}", paragraph(experiment, report), table(report), legend(experiment, size)]
    parts += [experiment.exact()] if experiment.exact else []
    (out / "README.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    picture(report, out / "figures.png", experiment.name)
    rewarded = {name: some for name, some in report.curves.items() if some[0] and "reward" in some[0][0]}
    if rewarded:
        draw(rewarded, out / "curves.png", experiment.name)
    return report


def done(work: Work, say: Say = lambda _: None) -> str:
    """Make and examine, or find that it has been done. Gives a line about it."""
    torch.set_num_threads(1)  # weights depend on it

    def make() -> dict[str, Any]:
        begun = time.perf_counter()
        model = work.arm.make(work.seed, work.room, lambda text: say(f"{work.name}: {text}"))
        made = time.perf_counter()
        found = work.examine(load(model), work.room.size.count) if work.examine else {}
        took = {"seconds": round(made - begun, 1), "examined in": round(time.perf_counter() - made, 1)}
        return {"found": found, **took, "curve": curve(model)}

    made = once(work.out / f"{work.name}.json", work.asked, make)
    return f"{work.name}: made in {made['seconds']:.0f} s, examined in {made['examined in']:.0f} s"


def curve(model: str) -> Any:
    """How a model was trained, if its folder says it."""
    file = find(model) / "curve.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []


def chosen(experiment: Experiment, only: Collection[str]) -> tuple[Arm, ...]:
    """Raises ValueError for the name of no arm."""
    known = {arm.name: arm for arm in experiment.arms}
    if unknown := set(only) - set(known):
        raise ValueError(f"{experiment.name} has no arm {', '.join(sorted(unknown))}; it has {', '.join(known)}")
    return tuple(known[name] for name in only) or experiment.arms


def results(out: Path, arm: Arm, count: int) -> list[Any]:
    """Of the seeds of an arm that were run."""
    files = [out / f"{arm.name}-{seed}.json" for seed in seeds(arm, count)]
    return [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]


def once(file: Path, asked: Asked, make: Callable[[], Mapping[str, Any]]) -> Any:
    """What ``make`` gives, what was asked for and where it was made; from ``file`` if it has been. Raises ValueError if
    something else was asked for then."""
    if not file.exists():
        part = file.with_suffix(".part")
        part.write_text(json.dumps({**make(), **where(), "asked": asdict(asked)}) + "\n", encoding="utf-8")
        part.replace(file)
    found = json.loads(file.read_text(encoding="utf-8"))
    if other := difference(found.get("asked", {}), asdict(asked), usual(asked)):
        raise ValueError(f"{file} was made {other}: move it away, or choose another --out")
    return found
