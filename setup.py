"""Compiles csrc/ into miniapr._native and, where there is a GPU, csrc/cuda/ into miniapr._cuda, and puts a copy of
csrc/ into the package, so that learners can edit the kernels. How to compile is in miniapr/kernels/compiling.py;
everything else is in pyproject.toml.

Without a compiler the package installs all the same and runs the torch reference. Variables:
MINIAPR_NO_EXTENSION=1  compile nothing                    MINIAPR_REQUIRE_EXTENSION=1  fail without the C++ kernels
MINIAPR_NO_CUDA=1  leave out CUDA                          MINIAPR_REQUIRE_CUDA=1  fail without the CUDA kernels
                                                           (and compile them where there is no GPU)
MINIAPR_CXX_FLAGS  more flags for compiler and linker      MINIAPR_JOBS  compilers at once (default: all cores)
MINIAPR_CUDA_ARCHS  GPUs to compile for, there or not: 75;80;90 (default: those of this machine)
CXX  the compiler (default: c++)
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


def load_build():  # type: ignore[no-untyped-def]
    """miniapr/kernels/compiling.py, without importing the package: its requirements are not installed yet."""
    spec = importlib.util.spec_from_file_location("miniapr_compiling", ROOT / "miniapr" / "kernels" / "compiling.py")
    assert spec and spec.loader
    module = sys.modules["miniapr_compiling"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = load_build()


class BuildSources(build_py):
    """The package gets its own copy of the kernels' sources; where it is installed in place, it finds them here."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            shutil.copytree(ROOT / "csrc", Path(self.build_lib) / "miniapr" / "csrc", dirs_exist_ok=True)


class Part(NamedTuple):
    """An extension: how it is made, the variables that forbid or demand it, what is said without it, and why this
    machine does not want it ("" if it does)."""

    target: Callable[[Path], Any]
    off: tuple[str, ...]
    required: str
    without: str
    unwanted: Callable[[], str] = lambda: ""

    def left_out(self) -> str:
        """Why it is not even tried, or ""."""
        forbidden = [f"{variable} is set" for variable in self.off if os.environ.get(variable)]
        return forbidden[0] if forbidden else self.unwanted()


PARTS = {
    "miniapr._native": Part(
        build.cpu,
        ("MINIAPR_NO_EXTENSION",),
        "MINIAPR_REQUIRE_EXTENSION",
        "without its C++ kernels, the torch reference runs instead",
    ),
    "miniapr._cuda": Part(
        build.cuda,
        ("MINIAPR_NO_EXTENSION", "MINIAPR_NO_CUDA"),
        "MINIAPR_REQUIRE_CUDA",
        "without its CUDA kernels",
        build.cuda_unwanted,
    ),
}


class BuildKernels(build_ext):
    """Compiles each extension by itself; a failure is told in one line and does not fail the install."""

    def run(self) -> None:
        self.missing: dict[str, str] = {}  # an extension, and why
        for name, part in PARTS.items():
            if why := part.left_out():
                self.missing[name] = why
        self.extensions = [extension for extension in self.extensions if extension.name not in self.missing]
        super().run()
        for name, part in PARTS.items():
            self.note(name, self.missing.get(name, ""))
            if name in self.missing:
                print(f"miniapr: installed {part.without} ({self.missing[name]})")

    def build_extensions(self) -> None:
        for extension in self.extensions:
            try:
                self.make(extension)
            except Exception as error:
                if os.environ.get(PARTS[extension.name].required):
                    raise
                print(error)
                text = " ".join(str(error).split())
                short = isinstance(error, build.BuildError) and not text.startswith("no C")  # no compiler
                why = "the compiler failed; pip install -v shows its messages" if short else text[:200]
                self.missing[extension.name] = why
        # Installing would look for what was not built.
        self.extensions = [extension for extension in self.extensions if extension.name not in self.missing]

    def make(self, extension: Extension) -> None:
        folder, file = Path(self.build_temp).resolve() / extension.name, Path(self.get_ext_fullpath(extension.name))
        print(build.run_ninja(PARTS[extension.name].target(ROOT.resolve() / "csrc"), folder, file.resolve()), end="")

    def note(self, name: str, reason: str) -> None:
        """Leave the reason where ``miniapr doctor`` finds it."""
        package = ROOT / "miniapr" if self.inplace else Path(self.build_lib) / "miniapr"
        package.mkdir(parents=True, exist_ok=True)
        stem = name.rsplit(".", maxsplit=1)[-1]
        file = package / f"{stem}_missing.txt"
        if reason:
            for stale in [*package.glob(f"{stem}*.so"), *package.glob(f"{stem}*.pyd")]:
                stale.unlink()  # of an earlier build: what was not built now must not be installed
            file.write_text(reason + "\n", encoding="utf-8")
        else:
            file.unlink(missing_ok=True)


if sys.platform == "win32":
    os.environ.setdefault("MINIAPR_NO_EXTENSION", "1")
setup(
    ext_modules=[
        Extension("miniapr._native", sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("csrc/*.cpp"))),
        Extension("miniapr._cuda", sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("csrc/cuda/*.cu"))),
    ],
    cmdclass={"build_ext": BuildKernels, "build_py": BuildSources},
)
