"""Compiling the kernels with ninja: what the compilers are, what they are told, and what they said.

``setup.py`` loads this file by its path, before there is a package: so it imports nothing but the standard
library, and the rest where it is used.
"""

from __future__ import annotations

import os
import runpy
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

OPENMP_PROBE = "#include <omp.h>\nint main() { return omp_get_max_threads() < 1; }\n"


class BuildError(RuntimeError):
    """The kernels could not be compiled; the text is what the compiler said."""


@dataclass(frozen=True)
class Target:
    """An extension module and how it is compiled."""

    module: str  # its name, as PYBIND11_MODULE in its bindings has it
    sources: list[Path]
    compile: dict[str, list[str]]  # by the source's suffix: the command before "-MMD -MF ... -c SOURCE -o OBJECT"
    link: list[str]  # the command before "OBJECTS -o FILE"
    libraries: list[str]  # what comes after that
    csrc: Path | None = None  # the folder whose checksum the module tells (``ops/built.py``)


def cpu(csrc: Path) -> Target:
    """``_native`` from ``csrc/*.cpp``: the C++ kernels for the CPU, with OpenMP where there is one."""
    compiler = cxx()
    threads = ["-fopenmp"] if compiles(OPENMP_PROBE, [*compiler, "-fopenmp"]) else ["-pthread"]
    flags = ["-std=c++17", "-O3", "-Wall", "-Wextra", "-fvisibility=hidden", *more_flags(), *threads]
    named = f'-DMINIAPR_FLAGS="{" ".join(flags)}"'  # for build_info
    compile = [*reused(), *compiler, "-fPIC", *flags, named, *includes()]
    return Target("_native", sorted(csrc.glob("*.cpp")), {".cpp": compile}, [*compiler, *shared()], flags, csrc)


def cuda(csrc: Path) -> Target:
    """``_cuda`` from ``csrc/cuda``, for the GPUs that MINIAPR_CUDA_ARCHS names (75;80;90), or those of this machine.

    The CUDA runtime is linked in, so the module can be imported where there is no driver.
    """
    compiler, archs = nvcc(), architectures()
    codes = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
    codes.append(f"-gencode=arch=compute_{archs[-1]},code=compute_{archs[-1]}")  # for GPUs that come later
    flags = ["-std=c++17", "-O3", "-Xcompiler=-fPIC,-Wall,-Wextra,-fvisibility=hidden"]
    compile = [*compiler, *flags, *codes, f'-DMINIAPR_ARCHITECTURES="{" ".join(archs)}"', *includes()]
    link = [*compiler, "-shared", "-cudart=static"]
    return Target("_cuda", cuda_sources(csrc), {".cu": compile, ".cpp": compile}, link, [], csrc)


def emulated(csrc: Path) -> Target:
    """``_cuda`` from the same sources for the CPU, with ``emulate.h`` in CUDA's place: for tests without a GPU."""
    flags = ["-std=c++17", "-O2", "-g1", "-Wall", "-Wextra", "-Wno-unknown-pragmas", "-fvisibility=hidden"]
    compile = [*reused(), *cxx(), "-fPIC", *flags, "-DMINIAPR_EMULATE", *more_flags(), *includes()]
    sources = [*cuda_sources(csrc), csrc / "cuda" / "emulate.cpp"]
    commands = {".cu": [*compile, "-xc++"], ".cpp": compile}
    return Target("_cuda", sources, commands, [*cxx(), *shared()], more_flags(), csrc)


def cuda_sources(csrc: Path) -> list[Path]:
    found = [*csrc.glob("cuda/*.cu"), *csrc.glob("cuda/*.cpp"), csrc / "plan.cpp"]
    return sorted(path for path in found if path.name != "emulate.cpp")


def nvcc() -> list[str]:
    """CUDA's compiler: on the PATH, in CUDA_HOME, or where it is usually installed. Raises BuildError without one."""
    homes = [Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"), "bin"), Path("/usr/local/cuda/bin")]
    found = shutil.which("nvcc") or next((str(path / "nvcc") for path in homes if (path / "nvcc").exists()), None)
    if not found:
        raise BuildError("no CUDA compiler: nvcc is neither on the PATH nor in CUDA_HOME or /usr/local/cuda")
    return [found]


def architectures() -> list[str]:
    """The generations of GPU to compile for, the oldest first."""
    if named := os.environ.get("MINIAPR_CUDA_ARCHS"):
        return sorted(named.replace(",", ";").split(";"), key=int)
    return gpus() or ["75", "80", "90"]


def gpus() -> list[str]:
    """The generations of this machine's GPUs, the oldest first: ["90"]."""
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        listed = subprocess.run(query, check=True, capture_output=True, encoding="utf-8").stdout.split()
    except (OSError, subprocess.CalledProcessError):
        return []
    return sorted({capability.replace(".", "") for capability in listed}, key=int)


def cuda_unwanted() -> str:
    """Why an installation leaves the CUDA kernels out, or "": it takes minutes, so it is done where there is a GPU,
    or where MINIAPR_REQUIRE_CUDA or MINIAPR_CUDA_ARCHS ask for it."""
    if gpus() or any(os.environ.get(name) for name in ("MINIAPR_REQUIRE_CUDA", "MINIAPR_CUDA_ARCHS")):
        return ""
    return "no GPU here; MINIAPR_REQUIRE_CUDA=1 compiles them all the same"


def cxx() -> list[str]:
    """The C++ compiler of this system, or the one that the variable CXX names."""
    return shlex.split(os.environ.get("CXX") or "c++")


def more_flags() -> list[str]:
    """The flags in MINIAPR_CXX_FLAGS, for compiler and linker."""
    return shlex.split(os.environ.get("MINIAPR_CXX_FLAGS", ""))


def cache() -> Path:
    """The user's folder for what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "miniapr")


def reused() -> list[str]:
    """What stands before a C++ compiler, so that nothing is compiled twice (``reuse.py``)."""
    return [sys.executable, "-IS", str(Path(__file__).with_name("reuse.py")), str(cache() / "objects")]


def includes() -> list[str]:
    """Where the headers of Python and pybind11 are."""
    import pybind11

    return [f"-I{pybind11.get_include()}", f"-I{sysconfig.get_path('include')}"]


def shared() -> list[str]:
    """What makes a library that Python loads."""
    return ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared"]


def compiles(program: str, command: list[str]) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.cpp")
        source.write_text(program, encoding="utf-8")
        try:
            done = subprocess.run([*command, str(source), "-o", f"{folder}/probe"], check=False, capture_output=True)
        except OSError as error:
            raise BuildError(f"no C++ compiler: {error} (the variable CXX names another one)") from error
        return done.returncode == 0


def run_ninja(target: Target, folder: Path, file: Path) -> str:
    """Compile ``target`` to ``file`` in parallel (MINIAPR_JOBS at once), objects in ``folder``: only what has changed.

    Returns what the compilers said (warnings). Raises BuildError with the compiler's message.
    """
    import ninja

    folder.mkdir(parents=True, exist_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    if target.csrc:
        target = _with_checksum(target, target.csrc, folder / "sources.cpp")
    (folder / "build.ninja").write_text(ninja_file(target, folder, file), encoding="utf-8")
    jobs = ["-j", os.environ["MINIAPR_JOBS"]] if "MINIAPR_JOBS" in os.environ else []
    command = [str(Path(ninja.BIN_DIR, "ninja")), "-C", str(folder), *jobs]
    done = subprocess.run(command, check=False, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        raise BuildError(messages(done.stdout + done.stderr))
    return messages(done.stdout)


def _with_checksum(target: Target, csrc: Path, file: Path) -> Target:
    told = runpy.run_path(str(Path(__file__).parents[1] / "ops" / "built.py"))["told"](csrc, target.module)
    if not file.exists() or file.read_text(encoding="utf-8") != told:  # ninja goes by times
        file.write_text(told, encoding="utf-8")
    return replace(target, sources=[*target.sources, file])


def ninja_file(target: Target, folder: Path, file: Path) -> str:
    objects = {source: folder / f"{source.name}.o" for source in target.sources}
    lines = []
    for suffix, command in target.compile.items():
        lines += [
            f"rule compile{suffix}",
            f"  command = {shell(command)} -MMD -MF $out.d -c $in -o $out",
            "  description = compile $in",
            "  depfile = $out.d",
            "  deps = gcc",
        ]
    lines += [
        "rule link",
        f"  command = {shell(target.link)} $in -o $out {shell(target.libraries)}",
        "  description = link $out",
        *[f"build {escape(o)}: compile{source.suffix} {escape(source)}" for source, o in objects.items()],
        f"build {escape(file)}: link {' '.join(map(escape, objects.values()))}",
    ]
    return "\n".join([*lines, ""])


def shell(words: list[str]) -> str:
    """A shell command as ninja writes it."""
    return shlex.join(words).replace("$", "$$")


def escape(path: Path) -> str:
    """A path in a build line of ninja."""
    return str(path).replace("$", "$$").replace(" ", "$ ").replace(":", "$:")


def messages(output: str) -> str:
    """What the compilers said, without ninja's own lines: progress, and each failed command in full."""
    said, failed = [], False
    for line in output.splitlines():
        if not failed and not line.startswith(("[", "ninja: ", "FAILED: ")):
            said.append(line)
        failed = line.startswith("FAILED: ")
    return "\n".join(said)
