"""`miniapr learn project`: a learner's runs of an open task, and what they have beaten."""

from __future__ import annotations

import ast
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from .folder import Folder
from .projects import NAMES, Project, project

BOARD = "projects.json"


@dataclass(frozen=True)
class Run:
    """``name``: what the table calls it, or the first line of the learner's file. ``own``: a learner's."""

    name: str
    cost: float
    says: str
    own: bool = True


@dataclass
class Board:
    """The runs of every project, in the learner's folder."""

    path: Path
    runs: dict[str, list[Run]] = field(default_factory=dict)

    @staticmethod
    def open(folder: Path) -> Board:
        """Raises ValueError for a file that is none."""
        file = folder / BOARD
        if not file.is_file():
            return Board(file)
        try:
            said: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["projects"]
            return Board(file, {name: [Run(**run) for run in runs] for name, runs in said.items()})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{file} could not be read ({error}): move it away to begin a new one") from error

    def add(self, name: str, run: Run) -> None:
        """Kept at once, and in one move."""
        self.runs.setdefault(name, []).append(run)
        said = {"version": 1, "projects": {key: list(map(asdict, runs)) for key, runs in self.runs.items()}}
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
        os.replace(part, self.path)


def run(folder: Folder, name: str | None, out: Console) -> int:
    """List the projects, or score the learner's file of one. Raises ValueError for what is wrong with it."""
    board = Board.open(folder.path)
    if name is None:
        for known in map(project, NAMES):
            best = min((run.cost for run in board.runs.get(known.name, []) if run.own), default=None)
            told = "not tried" if best is None else f"your best: {best:g} {known.unit}"
            out.print(Text.assemble((f"{known.name:8}", "bold"), f"{known.title}  ", (told, "dim")), soft_wrap=True)
        out.print(f"\nBegin with: miniapr learn project {NAMES[0]}", soft_wrap=True)
        return 0
    chosen = project(name)
    file = folder.path / "projects" / f"{name}.py"
    if not file.is_file():
        return begin(chosen, file, out)
    for rival, rated in chosen.table.items():
        if not any(run.name == rival for run in board.runs.get(name, []) if not run.own):
            with out.status(f"scoring {rival}, once"):
                board.add(name, Run(rival, **asdict(rated()), own=False))
    with out.status(f"scoring {file}"):
        score = chosen.score(file)
    mine = Run(first_line(file), **asdict(score))
    before = min((run.cost for run in board.runs[name] if run.own), default=None)
    board.add(name, mine)
    tell(chosen, board.runs[name], mine, before, out)
    return 0


def begin(chosen: Project, file: Path, out: Console) -> int:
    """Write what a learner begins with, and say what to do."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(chosen.start, encoding="utf-8")
    out.print(Text(f"{chosen.title}\n", "bold"))
    out.print(Text(chosen.text), soft_wrap=True)
    out.print(Text(f"\nEdit   {file}\nScore  miniapr learn project {chosen.name}"), soft_wrap=True)
    return 0


def tell(chosen: Project, runs: list[Run], mine: Run, before: float | None, out: Console) -> None:
    """The board, the best first, and what the last run has beaten."""
    out.print(Text.assemble((chosen.title, "bold"), f"  ({chosen.unit}; the less the better)\n"))
    wide = max(len(run.name) for run in runs)
    for place, run in enumerate(sorted(runs, key=lambda run: run.cost), start=1):
        style = "bold green" if run is mine else "" if run.own else "dim"
        mark = "<- now" if run is mine else "" if run.own else "(table)"
        out.print(
            Text(f"{place:3}  {run.cost:8.2f}  {run.name:{wide}}  {run.says}  {mark}".rstrip(), style), soft_wrap=True
        )
    beaten = [run.name for run in runs if not run.own and run.cost > mine.cost]
    rivals = [run.name for run in runs if not run.own]
    told = "all of the table" if len(beaten) == len(rivals) else ", ".join(beaten) or "nothing of the table yet"
    own = "" if before is None else f"; your best before was {before:g}"
    out.print(Text(f"\nBeaten: {told}{own}."), soft_wrap=True)


def first_line(file: Path) -> str:
    """Of the file's documentation: what a run is called."""
    said = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "without a name"
    return said.splitlines()[0].rstrip(".")
