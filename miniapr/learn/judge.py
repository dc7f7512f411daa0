"""Runs one check on one file, and says in plain data what came of it.

This file is also run by itself, as a program in a process of its own: a learner's endless loop, crash or exit must
not end the command. It imports nothing of the package, so that it can.
"""

from __future__ import annotations

import ast
import contextlib
import faulthandler
import importlib.util
import io
import json
import linecache
import sys
import textwrap
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

MEMORY = 4 << 30  # bytes: a loop that only appends must not take the machine with it
LINES = 30  # of an example: state machines write one a step


@dataclass
class Verdict:
    """``what`` failed: the property in words. ``example``: the smallest input found. ``error``: what was wrong.
    ``where``: the line of the learner's file, if the failure came from there. ``printed``: the last lines that the
    learner's code wrote, which belong to that example. ``picture``: where one was drawn, or why it was not.
    """

    passed: bool
    what: str = ""
    example: str = ""
    error: str = ""
    where: str = ""
    printed: str = ""
    picture: str = ""


def judge(work: Path, check: Path, picture: Path | None = None) -> Verdict:
    """The learner's file against the check, in this process. Hypothesis uses whatever profile is loaded."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        verdict = _judge(work, check, picture)
    verdict.printed = "\n".join(printed.getvalue().splitlines()[-8:])
    return verdict


def _judge(work: Path, check: Path, picture: Path | None) -> Verdict:
    tests = load(check, "miniapr_exercise_check")
    try:
        module = load(work, "miniapr_exercise_work")
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return Verdict(False, "The file can be imported.", error=_message(error, check), where=_where(error, work))
    try:
        tests.check(module)
        verdict = Verdict(True)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        verdict = Verdict(False, _property(error, check), _example(error), _message(error, check), _where(error, work))
    if picture and hasattr(tests, "picture"):
        try:
            tests.picture(module, picture)
            verdict.picture = str(picture)
        except Exception as error:  # of wrong code there may be nothing to draw
            verdict.picture = f"none ({type(error).__name__}: {error})"
    return verdict


def load(file: Path, name: str) -> ModuleType:
    """A module from a file of any name. It is found in ``sys.modules``, where dataclasses look for it."""
    linecache.checkcache(str(file))
    source = file.read_text(encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    exec(compile(source, str(file), "exec", dont_inherit=True), module.__dict__)
    return module


def _frames(error: BaseException, file: Path) -> list[traceback.FrameSummary]:
    return [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]


def _property(error: BaseException, check: Path) -> str:
    """The docstring of the outermost function of the check that has one and was running."""
    tree = ast.parse(check.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name != "check"]
    for frame in _frames(error, check):
        for node in functions:
            if node.lineno <= (frame.lineno or 0) <= (node.end_lineno or 0) and (words := ast.get_docstring(node)):
                return " ".join(words.split())
    return ""


def _example(error: BaseException) -> str:
    """What Hypothesis notes on the error: the arguments, or the steps of a state machine."""
    lines: list[str] = []
    for note in getattr(error, "__notes__", ()):
        if not note.startswith(("You can reproduce", "Explanation", "Highlighted")):
            lines += note.splitlines()
    first, last = (lines[0], lines[-1]) if lines else ("", "")
    if first.startswith(("Falsifying ", "Failing ")):
        if first.endswith("(") and last == ")":
            lines = [line.removesuffix(",") for line in lines[:-1]]  # name(argument=..., ...): the name is told above
        lines = lines[1:]
    hidden = len(lines) - LINES
    lines = textwrap.dedent("\n".join(lines)).splitlines()
    return "\n".join([*lines[:LINES], *([f"... and {hidden} lines more"] if hidden > 0 else [])])


def _message(error: BaseException, check: Path) -> str:
    name, text = type(error).__name__, str(error).strip()
    if isinstance(error, NotImplementedError):
        return text or "This is still to be written."
    if isinstance(error, SyntaxError):
        return f"{name}: {error.msg}"
    if isinstance(error, AssertionError):
        frames = _frames(error, check)
        return text or f"does not hold: {frames[-1].line}" if frames else text or "an assertion failed"
    if isinstance(error, AttributeError) and "miniapr_exercise_work" in text:
        return f"Your file has no {text.rpartition(' ')[2]}, which the check needs."
    if name in ("Flaky", "FlakyFailure", "FlakyStrategyDefinition"):
        return "The same input gave different results: what does your code keep between two calls?"
    if isinstance(error, SystemExit):
        return "Your file ended the program (exit)."
    return f"{name}: {text}" if text else name


def _where(error: BaseException, work: Path) -> str:
    if isinstance(error, SyntaxError) and error.filename == str(work):
        line = (error.text or "").rstrip("\n")
        caret = " " * max(0, (error.offset or 1) - 1) + "^"
        return f"line {error.lineno}\n{line}\n{caret}"
    frames = _frames(error, work)
    if not frames:
        return ""
    frame = frames[-1]
    return f"line {frame.lineno}{_inside(frame.name)}\n    {frame.line}"


def _inside(name: str) -> str:
    return "" if name.startswith("<") else f", in {name}"


def use_profile() -> None:
    """The same examples every time, the simplest failing one, and only one failure at a time."""
    from hypothesis import HealthCheck, Phase, settings

    settings.register_profile(
        "miniapr learn",
        deadline=None,
        derandomize=True,
        database=None,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
    )
    settings.load_profile("miniapr learn")


def main() -> None:
    """In a process of its own: the request is its argument, the verdict goes to a file."""
    request: dict[str, Any] = json.loads(sys.argv[1])
    work, out = Path(request["work"]), Path(request["out"])
    sys.dont_write_bytecode = True  # the package's folder is not ours to write into
    sys.path[0] = request["package"]  # in place of this file's folder: its names are nobody else's business
    sys.path.append(str(work.parent))
    use_profile()
    import torch

    import miniapr

    assert miniapr
    torch.set_num_threads(1)  # many small tensors: more threads only wait for each other
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    with Path(request["trace"]).open("w", encoding="utf-8") as trace:
        faulthandler.enable(trace)  # of a crash
        faulthandler.dump_traceback_later(request["seconds"], exit=True, file=trace)
        verdict = judge(work, Path(request["check"]), Path(request["picture"]))
        faulthandler.cancel_dump_traceback_later()
    out.write_text(json.dumps(asdict(verdict)), encoding="utf-8")


if __name__ == "__main__":
    main()
