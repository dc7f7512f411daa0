"""Compiles csrc/ into miniapr._native; everything else is in pyproject.toml.

Without a C++17 compiler the package installs all the same and runs the torch reference. Variables:
MINIAPR_CXX_FLAGS  more flags for compiler and linker      MINIAPR_JOBS  compilers at once (default: all cores)
MINIAPR_NO_EXTENSION=1  do not compile                     MINIAPR_REQUIRE_EXTENSION=1  fail if it can't
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import ninja
from pybind11.setup_helpers import Pybind11Extension
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
FLAGS = ["-O3", "-Wall", "-Wextra", "-fvisibility=hidden", *os.environ.get("MINIAPR_CXX_FLAGS", "").split()]
OPENMP_PROBE = "#include <omp.h>\nint main() { return omp_get_max_threads() < 1; }\n"


def explain(error: BaseException) -> str:
    """One line: the compiler's own messages are in the build's output."""
    text = " ".join(str(error).split())
    if "No such file or directory" in text:
        return f"no C++ compiler: {text}"
    if text.startswith("Command ") or "failed with exit" in text:
        return "the C++ compiler failed; pip install -v shows its messages"
    return text[:200] or type(error).__name__


def command(*words: str) -> str:
    """A shell command as ninja writes it."""
    return shlex.join(words).replace("$", "$$")


def escape(path: Path) -> str:
    """A path in a build line of ninja."""
    return str(path).replace("$", "$$").replace(" ", "$ ").replace(":", "$:")


class BuildNative(build_ext):
    """Compiles with OpenMP where there is one; a failure is told in one line and does not fail the install."""

    def run(self) -> None:
        try:
            if os.environ.get("MINIAPR_NO_EXTENSION"):
                raise RuntimeError("MINIAPR_NO_EXTENSION is set")
            super().run()
            self.note("")
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) or os.environ.get("MINIAPR_REQUIRE_EXTENSION"):
                raise
            reason = explain(error)
            print(f"miniapr: installed without its C++ kernels, the torch reference runs instead ({reason})")
            self.note(reason)
            self.extensions = []  # or installing would look for what was not built

    def note(self, reason: str) -> None:
        """Leave the reason where ``miniapr doctor`` finds it."""
        package = ROOT / "miniapr" if self.inplace else Path(self.build_lib) / "miniapr"
        package.mkdir(parents=True, exist_ok=True)
        file = package / "_native_missing.txt"
        if reason:
            for stale in [*package.glob("_native*.so"), *package.glob("_native*.pyd")]:
                stale.unlink()  # of an earlier build: what was not built now must not be installed
            file.write_text(reason + "\n", encoding="utf-8")
        else:
            file.unlink(missing_ok=True)

    def build_extensions(self) -> None:
        threads = ["-fopenmp"] if self.compiles(OPENMP_PROBE, ["-fopenmp"]) else ["-pthread"]
        for extension in self.extensions:
            flags = [*FLAGS, *threads]
            extension.extra_compile_args += [*flags, f'-DMINIAPR_FLAGS="{" ".join(["-std=c++17", *flags])}"']
            extension.extra_link_args += flags
            self.make(extension)

    def make(self, extension: Extension) -> None:
        """Compile with ninja: in parallel, and the next time only what has changed."""
        folder, target = Path(self.build_temp).resolve(), Path(self.get_ext_fullpath(extension.name)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        includes = [f"-I{path}" for path in [*extension.include_dirs, *self.compiler.include_dirs]]
        compiler = getattr(self.compiler, "compiler_so_cxx", self.compiler.compiler_so)
        linker = getattr(self.compiler, "linker_so_cxx", self.compiler.linker_so)
        objects = {ROOT / source: folder / f"{Path(source).stem}.o" for source in extension.sources}
        compile = command(*compiler, *includes, *extension.extra_compile_args)
        lines = [
            "rule compile",
            f"  command = {compile} -MMD -MF $out.d -c $in -o $out",
            "  depfile = $out.d",
            "  deps = gcc",
            "rule link",
            f"  command = {command(*linker)} $in -o $out {command(*extension.extra_link_args)}",
            *[f"build {escape(o)}: compile {escape(source)}" for source, o in objects.items()],
            f"build {escape(target)}: link {' '.join(map(escape, objects.values()))}",
        ]
        (folder / "build.ninja").write_text("\n".join([*lines, ""]), encoding="utf-8")
        jobs = ["-j", os.environ["MINIAPR_JOBS"]] if "MINIAPR_JOBS" in os.environ else []
        subprocess.run([str(Path(ninja.BIN_DIR, "ninja")), "-C", str(folder), *jobs], check=True)

    def compiles(self, source: str, flags: list[str]) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "probe.cpp")
            file.write_text(source, encoding="utf-8")
            try:
                objects = self.compiler.compile([str(file)], output_dir=folder, extra_postargs=flags)
                self.compiler.link_executable(objects, str(Path(folder, "probe")), extra_postargs=flags)
            except Exception:
                return False
        return True


if sys.platform == "win32":
    os.environ.setdefault("MINIAPR_NO_EXTENSION", "1")
setup(
    ext_modules=[
        Pybind11Extension(
            "miniapr._native",
            sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("csrc/*.cpp")),
            depends=sorted(str(p.relative_to(ROOT)) for p in [*ROOT.glob("csrc/*.h"), *ROOT.glob("csrc/*.inl")]),
            cxx_std=17,
        )
    ],
    cmdclass={"build_ext": BuildNative},
)
