"""Runs of an experiment: every arm with every seed, each a process of one thread, each result a file of its own."""

from __future__ import annotations

import json
import multiprocessing
import platform
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..model.bundle import load
from ..show.curve import draw
from ..train.rl import RLConfig, train
from ..train.sampler import Sampler
from .examine import examine
from .experiment import Arm, Experiment, Kinds
from .report import Report, paragraph, table
from .starts import SMALL, start

Say = Callable[[str], None]


@dataclass(frozen=True)
class Size:
    """seeds   0, 1, ... of each arm
    steps    of each run; None: as the experiment has it
    tokens   that a start is trained on
    count    held-out problems of each kind
    """

    seeds: int = 3
    steps: int | None = None
    tokens: int = SMALL.tokens
    count: int = 400


QUICK = Size(seeds=1, steps=10, tokens=500_000, count=100)


def conduct(experiment: Experiment, out: Path, starts: Path, size: Size, jobs: int = 1, say: Say = print) -> Report:
    """Do what is not done yet below ``out`` and say what came of it; starts lie in ``starts``. A run that was stopped
    goes on where it was. Writes README.md (table and paragraph) and curves.png. Raises what a run raises."""
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # weights depend on it
    before = {}
    for name in dict.fromkeys(arm.start for arm in experiment.arms):
        folder = start(name, starts / name, size.tokens, say)
        before[name] = once(out / f"before-{name}.json", partial(first, experiment, folder, size))
    steps = experiment.steps if size.steps is None else size.steps
    work = [
        Work(arm, seed, steps, starts / arm.start, out, experiment.kinds, size.count)
        for seed in range(size.seeds)
        for arm in experiment.arms
    ]
    if jobs == 1:
        for one in work:
            say(done(one, say))
    else:
        with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
            for future in as_completed([pool.submit(done, one) for one in work]):
                say(future.result())
    runs = {arm.name: [read(out, arm, seed) for seed in range(size.seeds)] for arm in experiment.arms}
    report = Report(
        {name: found["found"] for name, found in before.items()},
        {name: [one["found"] for one in found] for name, found in runs.items()},
    )
    text = f"# {experiment.name}\n\n{paragraph(experiment, report)}\n\n{table(report)}\n"
    (out / "README.md").write_text(text, encoding="utf-8")
    curves = {f"{name} {seed}": one["curve"] for name, found in runs.items() for seed, one in enumerate(found)}
    draw(curves, out / "curves.png", experiment.name)
    return report


def first(experiment: Experiment, folder: Path, size: Size) -> dict[str, Any]:
    """What a start does before anything is done to it."""
    bundle = load(folder)
    sampler = Sampler(bundle.model, bundle.tokenizer)
    return {"found": examine(sampler, experiment.kinds(bundle), size.count), "start": bundle.about["provenance"]}


@dataclass(frozen=True)
class Work:
    """One arm with one seed, all that its process is told. ``start``: the folder of what it begins with."""

    arm: Arm
    seed: int
    steps: int
    start: Path
    out: Path
    kinds: Kinds
    count: int


def done(work: Work, say: Say = lambda _: None) -> str:
    """Train and examine, or find that it has been done. Gives a line about it."""
    torch.set_num_threads(1)
    config = RLConfig(str(work.start), seed=work.seed, steps=work.steps, **work.arm.options)
    name = f"{work.arm.name}-{work.seed}"

    def make() -> dict[str, Any]:
        begun = time.perf_counter()
        run = train(config, work.out / "runs" / name, say=lambda text: say(f"{name}: {text}"))
        found = examine(run.sampler, work.kinds(run.bundle), work.count)
        curve = [{key: float(f"{value:.5g}") for key, value in row.items()} for row in run.progress.curve]
        return {"found": found, "seconds": round(time.perf_counter() - begun, 1), "curve": curve}

    made = once(work.out / f"{name}.json", make)
    kinds = ", ".join(f"{kind} forked {found['forked']['share']:.0%}" for kind, found in made["found"].items())
    return f"{name}: {kinds} ({made['seconds']:.0f} s)"


def read(out: Path, arm: Arm, seed: int) -> Any:
    return json.loads((out / f"{arm.name}-{seed}.json").read_text(encoding="utf-8"))


def once(file: Path, make: Callable[[], Mapping[str, Any]]) -> Any:
    """What ``make`` gives, and where it was made; from ``file`` if it has been."""
    if not file.exists():
        machine = {"machine": processor(), "torch": torch.__version__, "miniapr": __version__}
        part = file.with_suffix(".part")
        part.write_text(json.dumps({**make(), **machine}) + "\n", encoding="utf-8")
        part.replace(file)
    return json.loads(file.read_text(encoding="utf-8"))


def processor() -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
