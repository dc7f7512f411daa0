"""Stands before the compiler, and asks it for nothing that was compiled already, in whatever folder that was.

    python reuse.py FOLDER COMPILER FLAGS... -MMD -MF DEPENDENCIES -c SOURCE -o OBJECT

An object follows from the flags and from what the preprocessor makes of the source, so it is kept in FOLDER under a
hash of both: a copy of the kernels costs the preprocessor, and the compiler only where it was edited. (The idea is
ccache's.) ninja runs this file as a program, before there is a package: it imports nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

KEPT = 500  # objects, those used last; each has some hundred kilobytes


def compile(known: Path, words: list[str]) -> int:
    """Run the command ``words``, or copy what it made before; gives the compiler's exit code."""
    *command, _, _, dependencies, _, source, _, object = words
    depends = ["-MMD", "-MF", dependencies, "-MT", object]
    seen = subprocess.run([*command, *depends, "-E", source], check=False, stdout=subprocess.PIPE)
    if seen.returncode:
        return seen.returncode
    place = known / f"{key(seen.stdout, Path(source), command)}.o"
    with contextlib.suppress(OSError):
        shutil.copyfile(place, object)
        os.utime(place)
        return 0
    done = subprocess.run([*command, "-c", source, "-o", object], check=False, stderr=subprocess.PIPE)
    sys.stderr.buffer.write(done.stderr)
    if not (done.returncode or done.stderr):  # a warning must be told each time
        with contextlib.suppress(OSError):  # a full disk, or a folder of somebody else
            keep(Path(object), place)
    return done.returncode


def key(seen: bytes, source: Path, command: list[str]) -> str:
    """A hash of all that the object depends on. Folders are taken out of the preprocessor's line marks, since it does
    not matter where a file lies; the marks stay, since debuggers are told lines."""
    folders = [os.getcwd(), str(source.parent), *(word[2:] for word in command if word.startswith("-I"))]
    for folder in sorted(folders, key=len, reverse=True):  # one may lie in another
        seen = seen.replace(os.fsencode(folder), b"")
    compiler = shutil.which(command[0]) or command[0]
    version = os.stat(compiler)
    flags = [word for word in command[1:] if not word.startswith("-I")]
    return hashlib.sha256(repr((compiler, version.st_size, version.st_mtime_ns, flags)).encode() + seen).hexdigest()


def keep(object: Path, place: Path) -> None:
    """Whole or not at all, whoever keeps the same at the same time. Those that nobody used for longest make room, which
    the one that was just kept is never, however coarse the times of a file system are."""
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_suffix(f".{os.getpid()}")
    shutil.copyfile(object, part)
    part.replace(place)
    for old in sorted(place.parent.glob("*.o"), key=lambda one: (one == place, os.path.getmtime(one)))[:-KEPT]:
        old.unlink()


if __name__ == "__main__":
    try:
        sys.exit(compile(Path(sys.argv[1]), sys.argv[2:]))
    except OSError as error:
        sys.exit(f"no C++ compiler: {error}")
