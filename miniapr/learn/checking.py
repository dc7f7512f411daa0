"""A check in a process of its own, with a time limit: whatever the learner's file does, there is a verdict."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from . import judge
from .judge import Verdict

SECONDS = 120.0  # checks take a few; a busy or slow machine must never make a right answer a wrong one
START = 120.0  # seconds for Python and torch to start: minutes on a cold disk


def run(work: Path, check: Path, picture: Path, seconds: float = SECONDS) -> Verdict:
    """Raises OSError where the learner's file cannot be read."""
    work.open("rb").close()
    with tempfile.TemporaryDirectory(prefix="miniapr-learn-") as scratch:
        out, trace = Path(scratch) / "verdict.json", Path(scratch) / "trace.txt"
        request = {
            "work": str(work),
            "check": str(check),
            "picture": str(picture),
            "seconds": seconds,
            "out": str(out),
            "trace": str(trace),
            "package": str(Path(__file__).parents[2]),
        }
        errors = Path(scratch) / "errors.txt"
        code = _spawn([sys.executable, str(Path(judge.__file__)), json.dumps(request)], errors, seconds + START)
        if out.is_file():
            return Verdict(**json.loads(out.read_text(encoding="utf-8")))
        return _died(code, _read(errors), _read(trace), work, seconds)


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def _spawn(words: list[str], errors: Path, limit: float) -> int | None:
    """The exit code of a process (None: over the limit); what it started is ended with it.

    Its errors go into a file: a pipe would stay open as long as any child of it lives.
    """
    environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONUTF8": "1"}
    with errors.open("wb") as said:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            env=environment,
            start_new_session=True,  # a group of its own, so that its children can be ended with it
        )
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _died(code: int | None, said: str, trace: str, work: Path, seconds: float) -> Verdict:
    """Why there is no verdict: too long, a crash, or something before the check began."""
    frames = re.findall(r'File "(.*)", line (\d+) in (.*)', trace)  # the innermost first
    line = next((f"line {number}, in {name}" for file, number, name in frames if file == str(work)), "")
    if code is None or "Timeout" in trace:
        error = (
            f"It did not end within {seconds:g} seconds. A loop without an end, a step that is slow, or a machine that "
            f"is (then --seconds {8 * seconds:g} gives it more)?"
        )
        return Verdict(False, "The check comes to an end.", error=error, where=line)
    if code < 0:
        name = signal.Signals(-code).name
        return Verdict(False, "The program survives.", error=f"It was ended by {name}.", where=line)
    last = said.strip().splitlines()[-1:] or [f"exit code {code}"]
    return Verdict(False, "The check can be started.", error=last[0], where=line)
