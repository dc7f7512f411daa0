"""What was compiled once is copied, in whatever folder it is wanted; what differs in anything is compiled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from miniapr.kernels import BuildError, reuse
from miniapr.kernels.compiling import Target, cxx, run_ninja, shared

pytest.importorskip("ninja")
if not shutil.which(cxx()[0]):
    pytest.skip("no C++ compiler", allow_module_level=True)

SOURCE = '#include "one.h"\nint two() { return one() + 1; }\n'
HEADER = "#pragma once\ninline int one() { return 1; }\n"


class Compiler:
    """The system's, and how often it was asked for an object."""

    def __init__(self, folder: Path) -> None:
        self.known, self.log, self.program = folder / "known", folder / "log", folder / "compiler"
        self.log.touch()
        asked = f'case "$*" in *" -E "*) ;; *) echo once >>"{self.log}";; esac'
        self.program.write_text(f'#!/bin/sh\n{asked}\nexec {" ".join(cxx())} "$@"\n', encoding="utf-8")
        self.program.chmod(0o755)

    def build(self, folder: Path, *flags: str, source: str = SOURCE, header: str = HEADER) -> tuple[int, bytes, str]:
        """Compile in a folder; gives how often the compiler was needed, the object, and what it said."""
        folder.mkdir(exist_ok=True)
        for name, text in (("two.cpp", source), ("one.h", header)):
            if not (folder / name).exists() or (folder / name).read_text(encoding="utf-8") != text:
                (folder / name).write_text(text, encoding="utf-8")
        known = [sys.executable, reuse.__file__, str(self.known)]
        command = [*known, str(self.program), "-fPIC", "-Wall", f"-I{folder}", *flags]
        target = Target("two", [folder / "two.cpp"], {".cpp": command}, [*cxx(), *shared()], [])
        before = len(self.log.read_text().splitlines())
        said = run_ninja(target, folder / "build", folder / "two.so")
        needed = len(self.log.read_text().splitlines()) - before
        return needed, (folder / "build" / "two.cpp.o").read_bytes(), said


@pytest.fixture
def compiler(tmp_path: Path) -> Compiler:
    return Compiler(tmp_path)


@pytest.mark.parametrize("flags", [(), ("-g1",)])
def test_a_copy_in_another_folder_is_not_compiled(compiler: Compiler, tmp_path: Path, flags: tuple[str, ...]) -> None:
    needed, object, _ = compiler.build(tmp_path / "first", *flags)
    assert needed == 1
    assert compiler.build(tmp_path / "my second", *flags) == (0, object, "")
    (known,) = compiler.known.iterdir()
    known.write_bytes(b"what lies there")  # control: it is where the object comes from
    third = tmp_path / "third"
    with pytest.raises(BuildError):
        compiler.build(third, *flags)
    known.unlink()
    (third / "build" / "two.cpp.o").unlink()
    assert compiler.build(third, *flags)[0] == 1


@pytest.mark.parametrize(
    "change",
    [
        {"source": SOURCE.replace("+ 1", "+ 3")},
        {"header": HEADER.replace("1", "4")},
        {"source": "// a line more, which a debugger counts\n" + SOURCE},
        {"flags": ("-O1",)},
        {"flags": ("-DX=1",)},
    ],
)
def test_whatever_differs_is_compiled(compiler: Compiler, tmp_path: Path, change: dict[str, object]) -> None:
    assert compiler.build(tmp_path / "first")[0] == 1
    flags = change.pop("flags", ())
    for folder in ("first", "second"):  # where ninja sees it, and where it does not
        needed, _, _ = compiler.build(tmp_path / folder, *flags, **change)  # type: ignore[misc, arg-type]
        assert needed == (folder == "first")
    assert compiler.build(tmp_path / "first")[0] == 0  # and back


def test_ninja_is_told_what_a_copied_object_depends_on(compiler: Compiler, tmp_path: Path) -> None:
    compiler.build(tmp_path / "first")
    compiler.build(tmp_path / "second")
    header = HEADER.replace("1", "5")
    assert compiler.build(tmp_path / "second", header=header)[0] == 1


def test_a_warning_and_an_error_are_told_each_time(compiler: Compiler, tmp_path: Path) -> None:
    for folder in ("first", "second"):
        needed, _, said = compiler.build(tmp_path / folder, source="static int unused = 1;\n" + SOURCE)
        assert needed == 1 and "unused" in said and "two.cpp:1:" in said
    for source, complaint in (("oops\n", "two.cpp:1:"), ('#include "nowhere.h"\n', "nowhere.h")):
        for _ in range(2):
            with pytest.raises(BuildError, match=complaint):
                compiler.build(tmp_path / "third", source=source)
    assert not compiler.known.exists()


def test_where_nothing_can_be_kept_all_is_compiled(compiler: Compiler, tmp_path: Path) -> None:
    compiler.known.write_text("a file, where a folder should be", encoding="utf-8")
    for folder in ("first", "second"):
        assert compiler.build(tmp_path / folder)[0] == 1


def test_those_unused_for_longest_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reuse, "KEPT", 3)
    known, object = tmp_path / "known", tmp_path / "object"
    object.touch()
    for number in (2, 0, 1):
        reuse.keep(object, known / f"{number}.o")
        os.utime(known / f"{number}.o", (number, number))
    reuse.keep(object, known / "3.o")
    assert {one.name for one in known.iterdir()} == {"1.o", "2.o", "3.o"}


def test_where_times_are_coarse_the_last_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reuse, "KEPT", 1)
    monkeypatch.setattr(os.path, "getmtime", lambda file: 0.0)
    known, object = tmp_path / "known", tmp_path / "object"
    object.touch()
    for name in ("b", "a", "d", "c"):
        reuse.keep(object, known / f"{name}.o")
        assert [one.stem for one in known.iterdir()] == [name]


def test_without_a_compiler_it_says_so(tmp_path: Path) -> None:
    words = ["no-such-compiler", "-MMD", "-MF", "d", "-c", "two.cpp", "-o", "two.o"]
    command = [sys.executable, reuse.__file__, str(tmp_path), *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("no C++ compiler: ") and "no-such" in done.stderr
