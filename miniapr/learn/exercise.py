"""What an exercise is: a folder with its text, its reference, and its check.

    exercises/<chapter>/<number>_<name>/
        text.md       the first line is the title; then what to do; then `## Hint` sections, each helping further
        exercise.py   the reference, from which the learner's stub is cut
        check.py      check(work): raises where the learner's module `work` is wrong; picture(work, path), if any

There is one source for the reference and the stub, so they cannot drift apart. Lines between `# <solution>` and
`# </solution>` are the reference's only; lines between `# <stub>` and `# </stub>` are comments there and code in
the stub.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

EXERCISES = Path(__file__).parent / "exercises"
CHAPTERS = (
    "Ten minutes",
    "A decoder on one page",
    "The KV cache, then pages",
    "Paged attention, three times",
    "Fork",
    "Many branches, one step",
    "Join by prefilling again",
    "Join by stitching",
    "What can go wrong",
    "Ways to think",
    "Search",
    "Thoughts that see each other",
    "Children with a context of their own",
    "Teaching it",
    "Rewarding it",
    "To real engines",
)
MARK = re.compile(r"\s*# <(/?)(solution|stub)>\s*")
COMMENT = re.compile(r"(\s*)#(?: (.*))?")
HINT = re.compile(r"^## Hint.*\n", re.MULTILINE)


@dataclass(frozen=True)
class Exercise:
    """One folder below ``exercises/``; ``id`` is what a learner types: 4.2."""

    folder: Path

    @property
    def chapter(self) -> int:
        return int(self.folder.parent.name)

    @property
    def number(self) -> int:
        return int(self.folder.name.partition("_")[0])

    @property
    def id(self) -> str:
        return f"{self.chapter}.{self.number}"

    @property
    def place(self) -> Path:
        """Of the learner's file, in the learner's folder."""
        return Path(f"chapter{self.chapter}") / f"{self.folder.name}.py"

    @property
    def check(self) -> Path:
        return self.folder / "check.py"

    @cached_property
    def _text(self) -> list[str]:
        return HINT.split((self.folder / "text.md").read_text(encoding="utf-8"))

    @property
    def title(self) -> str:
        return self._text[0].partition("\n")[0].lstrip("# ").strip()

    @property
    def text(self) -> str:
        """What to do, without the title and the hints."""
        return self._text[0].partition("\n")[2].strip()

    @property
    def hints(self) -> list[str]:
        return [hint.strip() for hint in self._text[1:]]

    @cached_property
    def _sources(self) -> tuple[str, str]:
        file = self.folder / "exercise.py"
        return split(file.read_text(encoding="utf-8"), str(file))

    @property
    def reference(self) -> str:
        return self._sources[0]

    @property
    def stub(self) -> str:
        """The learner's file: the task as a comment, then the code."""
        task = [f"Exercise {self.id}: {self.title}", "", *self.text.splitlines(), ""]
        task += [f"Check it:  miniapr learn check {self.id}", f"A hint:    miniapr learn hint {self.id}"]
        return "\n".join(f"# {line}".rstrip() for line in task) + "\n\n" + self._sources[1]


def split(source: str, file: str = "exercise.py") -> tuple[str, str]:
    """The reference and the stub. Raises ValueError, with the line, where the marks do not fit together."""
    inside = ""
    reference: list[str] = []
    stub: list[str] = []
    for number, line in enumerate(source.splitlines(), start=1):
        if mark := MARK.fullmatch(line):
            closing, name = mark.groups()
            if inside != (name if closing else ""):
                raise ValueError(f"{file}, line {number}: {line.strip()} inside of {inside or 'nothing'}")
            inside = "" if closing else name
        elif inside == "stub":
            comment = COMMENT.fullmatch(line)
            if not comment:
                raise ValueError(f"{file}, line {number}: a line of the stub must be a comment, not {line.strip()!r}")
            stub.append((comment[1] + (comment[2] or "")).rstrip())
        else:
            reference.append(line)
            if inside != "solution":
                stub.append(line)
    if inside:
        raise ValueError(f"{file}: <{inside}> is never closed")
    if reference == stub:
        raise ValueError(f"{file}: no <solution> and no <stub>, so there is nothing to do")
    return "\n".join(reference) + "\n", "\n".join(stub) + "\n"


def exercises(folder: Path = EXERCISES) -> list[Exercise]:
    """All of them, in order."""
    found = [Exercise(text.parent) for text in folder.glob("[0-9]*/[0-9]*_*/text.md")]
    return sorted(found, key=lambda exercise: (exercise.chapter, exercise.number))


def select(words: list[str], among: list[Exercise]) -> list[Exercise]:
    """Those that are meant by "4.2", or by "4" for all of a chapter. Raises ValueError for what is not there."""
    chosen = []
    for word in words:
        matching = [exercise for exercise in among if word in (exercise.id, str(exercise.chapter))]
        if not matching:
            known = ", ".join(exercise.id for exercise in among) or "none"
            raise ValueError(f"no exercise {word!r}; there are {known}")
        chosen += matching
    return chosen
