"""Compiles csrc/ into miniapr._native, and puts a copy of csrc/ into the package, so that learners can edit the
kernels. How to compile is in miniapr/ops/build.py; everything else is in pyproject.toml.

Without a C++17 compiler the package installs all the same and runs the torch reference. Variables:
MINIAPR_CXX_FLAGS  more flags for compiler and linker      MINIAPR_JOBS  compilers at once (default: all cores)
MINIAPR_NO_EXTENSION=1  do not compile                     MINIAPR_REQUIRE_EXTENSION=1  fail if it can't
CXX  the compiler (default: c++)
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


def load_build():  # type: ignore[no-untyped-def]
    """miniapr/ops/build.py, without importing the package: its requirements are not installed yet."""
    spec = importlib.util.spec_from_file_location("miniapr_build", ROOT / "miniapr" / "ops" / "build.py")
    assert spec and spec.loader
    module = sys.modules["miniapr_build"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = load_build()


class BuildSources(build_py):
    """The package gets its own copy of the kernels' sources; where it is installed in place, it finds them here."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            shutil.copytree(ROOT / "csrc", Path(self.build_lib) / "miniapr" / "csrc", dirs_exist_ok=True)


class BuildNative(build_ext):
    """Compiles the kernels; a failure is told in one line and does not fail the install."""

    def run(self) -> None:
        try:
            if os.environ.get("MINIAPR_NO_EXTENSION"):
                raise RuntimeError("MINIAPR_NO_EXTENSION is set")
            super().run()
            self.note("")
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) or os.environ.get("MINIAPR_REQUIRE_EXTENSION"):
                raise
            print(error)
            text = " ".join(str(error).split())
            short = isinstance(error, build.BuildError) and not text.startswith("no C++ compiler")
            reason = "the C++ compiler failed; pip install -v shows its messages" if short else text[:200]
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
        for extension in self.extensions:
            folder, file = Path(self.build_temp).resolve(), Path(self.get_ext_fullpath(extension.name)).resolve()
            print(build.run_ninja(build.cpu(ROOT.resolve() / "csrc"), folder, file), end="")


if sys.platform == "win32":
    os.environ.setdefault("MINIAPR_NO_EXTENSION", "1")
setup(
    ext_modules=[Extension("miniapr._native", sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("csrc/*.cpp")))],
    cmdclass={"build_ext": BuildNative, "build_py": BuildSources},
)
