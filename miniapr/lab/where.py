"""Where and of what a result was made: without it a figure means nothing."""

from __future__ import annotations

import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import torch

from .. import __version__


def where() -> dict[str, Any]:
    """The machine, the versions, the commit and the day."""
    machine = {"machine": processor(), "torch": torch.__version__, "miniapr": __version__}
    return {**machine, "commit": commit(), "date": time.strftime("%Y-%m-%d", time.gmtime())}


def processor() -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def commit() -> str | None:
    """Of the code, with a + where files differ from it; None where this file is not of a checkout: an installed package
    may lie in one of somebody else's."""
    try:
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        return _git("describe", "--always", "--dirty=+", "--abbrev=10")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*words: str) -> str:
    told = subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    return told.stdout.strip()
