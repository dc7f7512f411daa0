"""`miniapr learn`: chapters and progress, and one command for each thing to do with an exercise."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ..show.text import console
from .board import run as run_project
from .checking import SECONDS
from .exercise import CHAPTERS, Exercise, exercises, select
from .folder import USUAL, Folder, Record, create
from .judge import Verdict

ACTIONS = {
    "init": "make a folder with all exercises (and add new ones to an old folder)",
    "check": "check an exercise, or a chapter; without a number, the next one",
    "hint": "one more hint",
    "show": "the reference solution",
    "next": "what to do next",
    "reset": "begin an exercise again; your file is kept beside it",
    "project": "an open task: your runs beside the table's; without a name, all of them",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One action and what it acts on."""
    parser.description = "Exercises that check themselves. Without an action: the chapters and your progress."
    actions = parser.add_subparsers(dest="action", metavar="ACTION", parser_class=type(parser))
    for name, words in ACTIONS.items():
        action = actions.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".")
        if name == "init":
            action.add_argument("folder", type=Path, nargs="?", default=Path(USUAL), help=f"default: {USUAL}")
        elif name == "check":
            action.add_argument("exercise", nargs="*", help="4.2, or 4 for all of chapter 4")
            action.add_argument("--seconds", type=float, default=SECONDS, help=f"time limit (default: {SECONDS:g})")
        elif name == "reset":
            action.add_argument("exercise", nargs="+", help="4.2, or 4 for all of chapter 4")
        elif name == "project":
            action.add_argument("project", nargs="?", metavar="NAME", help="join, reward or method")
        elif name != "next":
            action.add_argument("exercise", nargs="?", help="4.2; without it, the next one")


def run(args: argparse.Namespace) -> int:
    """Returns the exit code: 0, or 1 if a check was red. Raises ValueError for what is not there."""
    out = console()
    known = exercises()
    if args.action == "init":
        return init(args.folder, known, out)
    folder = Folder.find(Path.cwd())
    if args.action is None:
        return overview(folder, known, out)
    if folder is None:
        raise ValueError(f"no exercises in {Path.cwd()}: make a folder for them with `miniapr learn init`")
    if args.action == "project":
        return run_project(folder, args.project, out)
    if args.action == "check":
        return check(folder, _chosen(folder, args.exercise, known), args.seconds, out)
    if args.action == "next":
        tell(folder, _one(folder, None, known), out)
    if args.action == "hint":
        hint(folder, _one(folder, args.exercise, known), out)
    if args.action == "show":
        show(folder, _one(folder, args.exercise, known), out)
    if args.action == "reset":
        reset(folder, select(args.exercise, known), out)
    return 0


def _chosen(folder: Folder, words: list[str], known: list[Exercise]) -> list[Exercise]:
    """What was asked for, or the first that is not solved yet. Raises ValueError if all are."""
    if words:
        return select(words, known)
    for exercise in known:
        if not folder.record(exercise).solved:
            return [exercise]
    raise ValueError("all exercises are solved: say which one is meant, for example 4.2")


def _one(folder: Folder, word: str | None, known: list[Exercise]) -> Exercise:
    chosen = _chosen(folder, [word] if word else [], known)
    if len(chosen) > 1:
        raise ValueError(f"one exercise at a time, for example {chosen[0].id}")
    return chosen[0]


def _count(known: list[Exercise]) -> str:
    return f"{len(known)} exercise" + "s" * (len(known) != 1)


def _plain(out: Console, text: str, style: str = "", indent: int = 0) -> None:
    """As it is: code and files are copied from here, so nothing is wrapped or interpreted."""
    for line in text.splitlines():
        out.print(Text(" " * indent * bool(line) + line, style), soft_wrap=True)


def init(path: Path, known: list[Exercise], out: Console) -> int:
    """Files that are there already stay as they are."""
    folder, new = create(path.expanduser(), known)
    kept = len(known) - new
    _plain(
        out,
        f"{folder.path}: {new} of {_count(known)} written"
        + (f", {kept} were there and stay as they are" if kept else ""),
    )
    within = Folder.find(Path.cwd())
    go = "" if within and within.path.resolve() == folder.path.resolve() else f"cd {path} && "
    _plain(out, f"Begin with: {go}miniapr learn next")
    return 0


def overview(folder: Folder | None, known: list[Exercise], out: Console) -> int:
    """A line for each exercise."""
    records = folder.records if folder else {}
    solved = sum(records.get(exercise.id, Record()).solved for exercise in known)
    head = f"{solved} of {len(known)} solved" if folder else _count(known)
    out.print(Text.assemble(("miniapr learn", "bold"), f"  {head}"), soft_wrap=True)
    chapter = -1
    for exercise in known:
        if exercise.chapter != chapter:
            chapter = exercise.chapter
            title = CHAPTERS[chapter] if chapter < len(CHAPTERS) else ""
            out.print(Text.assemble(("\n" + f"{chapter}  ", "bold cyan"), (title, "bold")), soft_wrap=True)
        record = records.get(exercise.id, Record())
        mark, style = ("solved", "green") if record.solved else ("tried", "yellow") if record.tries else ("", "")
        line = Text.assemble(f"   {exercise.id:<5}", (f"{mark:<8}", style), exercise.title)
        line.append(_details(record), "dim")
        out.print(line, soft_wrap=True)
    out.print()
    if folder is None:
        _plain(out, "Begin with: miniapr learn init")
    elif solved < len(known):
        _plain(out, f"In {folder.path}. Go on with: miniapr learn next")
    else:
        _plain(out, "All of them. Now find a fault that is not in the list.")
    return 0


def _details(record: Record) -> str:
    parts = [f"{record.tries} {'try' if record.tries == 1 else 'tries'}"] if record.tries else []
    parts += [f"{record.hints} {'hint' if record.hints == 1 else 'hints'}"] if record.hints else []
    parts += ["solution read"] if record.shown else []
    return f"  ({', '.join(parts)})" if parts else ""


def tell(folder: Folder, exercise: Exercise, out: Console) -> None:
    """The task, and where to write."""
    out.print(Text(f"{exercise.id}  {exercise.title}\n", "bold"), soft_wrap=True)
    _plain(out, exercise.text)
    _plain(out, f"\nEdit   {folder.file(exercise)}")
    _plain(out, f"Check  miniapr learn check {exercise.id}")


def check(folder: Folder, chosen: list[Exercise], seconds: float, out: Console) -> int:
    """Runs each, prints what came of it, and notes it at once."""
    from .checking import run as run_check

    if seconds <= 0:
        raise ValueError(f"--seconds must be more than 0, not {seconds:g}")
    red = 0
    for exercise in chosen:
        file = folder.file(exercise)
        if not file.is_file():
            raise ValueError(f"{file} is not there: `miniapr learn reset {exercise.id}` writes it again")
        with out.status(f"checking {exercise.id}"):
            verdict = run_check(file.resolve(), exercise.check, file.resolve().with_suffix(".png"), seconds)
        record = folder.record(exercise)
        record.tries += not record.solved
        record.solved = verdict.passed
        folder.save()
        report(exercise, verdict, file, out)
        red += not verdict.passed
    return 1 if red else 0


def report(exercise: Exercise, verdict: Verdict, file: Path, out: Console) -> None:
    """Green in a line; red with the property, the example and the place."""
    word, style = ("green", "bold green") if verdict.passed else ("red", "bold red")
    out.print(Text.assemble((word, style), (f"  {exercise.id}  {exercise.title}", "bold")), soft_wrap=True)
    if not verdict.passed:
        sections: list[tuple[str, str, Callable[[str], str]]] = [
            ("Should hold", verdict.what, str),
            ("Fails for", verdict.example, str),
            ("Because", verdict.error, str),
            ("In your file", verdict.where, lambda where: f"{file}, {where}"),
            ("It printed", verdict.printed, str),
        ]
        for title, text, shown in sections:
            if text:
                out.print(Text(f"\n{title}", "cyan"))
                _plain(out, shown(text), indent=2)
    if verdict.picture:
        _plain(out, f"\nPicture: {verdict.picture}")
    if not verdict.passed:
        _plain(out, f"\nStuck? miniapr learn hint {exercise.id}", "dim")


def hint(folder: Folder, exercise: Exercise, out: Console) -> None:
    """Those read before, and one more."""
    record, hints = folder.record(exercise), exercise.hints
    more = record.hints < len(hints)
    record.hints = min(record.hints + 1, len(hints))
    folder.save()
    for number, text in enumerate(hints[: record.hints], start=1):
        new = more and number == record.hints
        out.print(Text(f"Hint {number} of {len(hints)}", "bold cyan" if new else "dim"), soft_wrap=True)
        _plain(out, text + "\n", "" if new else "dim", indent=2)
        out.print()
    if not more:
        _plain(out, f"There are no more. The solution: miniapr learn show {exercise.id}")


def show(folder: Folder, exercise: Exercise, out: Console) -> None:
    """The reference; that it was read is noted."""
    folder.record(exercise).shown = True
    folder.save()
    _plain(out, exercise.reference)


def reset(folder: Folder, chosen: list[Exercise], out: Console) -> None:
    """The learner's files are kept under another name."""
    for exercise in chosen:
        kept = folder.reset(exercise)
        folder.save()
        _plain(out, f"{folder.file(exercise)} is new" + (f"; yours is now {kept.name}" if kept else ""))
