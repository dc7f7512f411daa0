"""The learner's folder: one file an exercise, and progress.json."""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .exercise import Exercise

PROGRESS = "progress.json"
USUAL = "miniapr-exercises"


@dataclass
class Record:
    """How far the learner got with one exercise."""

    tries: int = 0
    hints: int = 0  # how many were read
    shown: bool = False  # the reference was read
    solved: bool = False


@dataclass
class Folder:
    """Owns what is written into the learner's folder. Never does: overwrite or remove a learner's file."""

    path: Path
    records: dict[str, Record] = field(default_factory=dict)

    @staticmethod
    def find(start: Path) -> Folder | None:
        """The folder that ``start`` is in or that was made there under its usual name."""
        for path in (start, start / USUAL, *start.parents):
            if (path / PROGRESS).is_file():
                return Folder.open(path)
        return None

    @staticmethod
    def open(path: Path) -> Folder:
        """With its progress; a damaged file is put aside, since the learner's answers matter more."""
        file = path / PROGRESS
        try:
            said = json.loads(file.read_text(encoding="utf-8"))
            return Folder(path, {id: Record(**record) for id, record in said["exercises"].items()})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            aside = _free_name(path, PROGRESS, "damaged")
            file.rename(aside)
            warnings.warn(f"{file} could not be read ({error}); it is now {aside.name}", stacklevel=2)
            folder = Folder(path)
            folder.save()
            return folder

    def save(self) -> None:
        """In one move, so that an interrupted write leaves the old one."""
        said = {"version": 1, "exercises": {id: asdict(record) for id, record in self.records.items()}}
        part = self.path / f"{PROGRESS}.part"
        part.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
        os.replace(part, self.path / PROGRESS)

    def record(self, exercise: Exercise) -> Record:
        return self.records.setdefault(exercise.id, Record())

    def file(self, exercise: Exercise) -> Path:
        return self.path / exercise.place

    def add(self, exercise: Exercise) -> bool:
        """Write the stub if there is no such file yet."""
        file = self.file(exercise)
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with file.open("x", encoding="utf-8") as out:
                out.write(exercise.stub)
        except FileExistsError:
            return False
        return True

    def reset(self, exercise: Exercise) -> Path | None:
        """The stub again; returns where the learner's file is kept, if there was one."""
        file, kept = self.file(exercise), None
        if file.exists():
            kept = _free_name(file.parent, file.name, "bak")
            file.rename(kept)
        self.add(exercise)
        self.records.pop(exercise.id, None)
        return kept


def create(path: Path, exercises: list[Exercise]) -> tuple[Folder, int]:
    """The folder with all exercises that it does not have yet, and how many these were."""
    path.mkdir(parents=True, exist_ok=True)  # raises FileExistsError where there is a file
    folder = Folder.open(path) if (path / PROGRESS).is_file() else Folder(path)
    new = sum(folder.add(exercise) for exercise in exercises)
    folder.save()
    return folder, new


def _free_name(folder: Path, name: str, ending: str) -> Path:
    number = 1
    while (path := folder / f"{name}.{ending}{number}").exists():
        number += 1
    return path
