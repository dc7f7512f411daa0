"""Compiling the kernels with ninja: when the package is installed (``setup.py``), and for learners who edit them.

    from miniapr import ops

    ops.sources("mine")         # a copy of the kernels to edit
    mine = ops.build("mine")    # compiles what has changed, and loads it: a backend like any other
    print(ops.check(mine), ops.time(mine), sep="\\n\\n")

``setup.py`` loads this file by its path, before there is a package: so it imports nothing but the standard
library, and the rest where it is used.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import Operations

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

OPENMP_PROBE = "#include <omp.h>\nint main() { return omp_get_max_threads() < 1; }\n"


class BuildError(RuntimeError):
    """The kernels could not be compiled; the text is what the compiler said."""


@dataclass(frozen=True)
class Target:
    """An extension module and how it is compiled."""

    module: str  # its name, as PYBIND11_MODULE in its bindings has it
    sources: list[Path]
    compile: dict[str, list[str]]  # by the source's suffix: the command before "-c SOURCE -o OBJECT"
    link: list[str]  # the command before "OBJECTS -o FILE"
    libraries: list[str]  # what comes after that


def cpu(csrc: Path) -> Target:
    """``_native`` from ``csrc/*.cpp``: the C++ kernels for the CPU, with OpenMP where there is one."""
    compiler = cxx()
    threads = ["-fopenmp"] if compiles(OPENMP_PROBE, [*compiler, "-fopenmp"]) else ["-pthread"]
    flags = ["-std=c++17", "-O3", "-Wall", "-Wextra", "-fvisibility=hidden", *more_flags(), *threads]
    named = f'-DMINIAPR_FLAGS="{" ".join(flags)}"'  # for build_info
    compile = [*compiler, "-fPIC", *flags, named, *includes()]
    return Target("_native", sorted(csrc.glob("*.cpp")), {".cpp": compile}, [*compiler, *shared()], flags)


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
    return Target("_cuda", cuda_sources(csrc), {".cu": compile, ".cpp": compile}, link, [])


def emulated(csrc: Path) -> Target:
    """``_cuda`` from the same sources for the CPU, with ``emulate.h`` in CUDA's place: for tests without a GPU."""
    flags = ["-std=c++17", "-O2", "-g1", "-Wall", "-Wextra", "-Wno-unknown-pragmas", "-fvisibility=hidden"]
    compile = [*cxx(), "-fPIC", *flags, "-DMINIAPR_EMULATE", *more_flags(), *includes()]
    sources = [*cuda_sources(csrc), csrc / "cuda" / "emulate.cpp"]
    return Target("_cuda", sources, {".cu": [*compile, "-xc++"], ".cpp": compile}, [*cxx(), *shared()], more_flags())


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
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        listed = subprocess.run(query, check=True, capture_output=True, encoding="utf-8").stdout.split()
    except (OSError, subprocess.CalledProcessError):
        listed = []
    return sorted({capability.replace(".", "") for capability in listed}, key=int) or ["75", "80", "90"]


def cxx() -> list[str]:
    """The C++ compiler of this system, or the one that the variable CXX names."""
    return shlex.split(os.environ.get("CXX") or "c++")


def more_flags() -> list[str]:
    """The flags in MINIAPR_CXX_FLAGS, for compiler and linker."""
    return shlex.split(os.environ.get("MINIAPR_CXX_FLAGS", ""))


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
    (folder / "build.ninja").write_text(ninja_file(target, folder, file), encoding="utf-8")
    jobs = ["-j", os.environ["MINIAPR_JOBS"]] if "MINIAPR_JOBS" in os.environ else []
    command = [str(Path(ninja.BIN_DIR, "ninja")), "-C", str(folder), *jobs]
    done = subprocess.run(command, check=False, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        raise BuildError(messages(done.stdout + done.stderr))
    return messages(done.stdout)


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


def kernels() -> Path:
    """The folder with the kernels' sources: in an installed package, or beside it in a clone."""
    package = Path(__file__).resolve().parents[1]
    return next(path for path in (package / "csrc", package.parent / "csrc") if path.is_dir())


def sources(folder: str | Path) -> Path:
    """Copy the sources of the kernels into a new folder, to be edited. Raises ValueError if it is not empty."""
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"folder: {folder} is not empty")
    shutil.copytree(kernels(), folder, dirs_exist_ok=True)
    return folder


def build(path: str | Path, kind: str = "cpu") -> Operations:
    """Compile the kernels in the folder ``path`` and load them beside all others, as a backend of its own.

    ``kind``: "cpu", "cuda", or "emulated": the CUDA kernels for the CPU (see ``emulate``). The first time takes as
    long as an installation, later only what has changed is compiled. Objects are in ``path/build``. Raises
    ValueError if ``path`` has no kernels, BuildError with the compiler's message.
    """
    path = Path(path).resolve()
    makers = {"cpu": cpu, "cuda": cuda, "emulated": emulated}
    if kind not in makers:
        raise ValueError(f"kind is {kind!r}, expected one of {', '.join(makers)}")
    if not (path / "bindings.cpp").is_file():
        raise ValueError(f"path: {path} has no kernels (no bindings.cpp); ops.sources(path) copies them there")
    module = compile_module(makers[kind](path), path / "build" / kind)
    return backend(module, kind, path.name)


def emulate() -> Operations:
    """The package's own CUDA kernels, run on the CPU: the threads of a block as fibres, one after the other.

    Slow, and good for two things: without a GPU, to see that a kernel is right; and to find what a GPU keeps to
    itself, a missing barrier or memory read before it was written (``csrc/cuda/emulate.h`` says how). It is
    compiled when it is first asked for, into the user's cache. Raises BuildError with the compiler's message.
    """
    csrc = kernels()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    own = hashlib.sha256(f"{csrc} {sys.implementation.cache_tag}".encode()).hexdigest()[:16]
    return backend(compile_module(emulated(csrc), cache / "miniapr" / own), "emulated", "cuda (emulated)")


def backend(module: ModuleType, kind: str, name: str) -> Operations:
    from .cuda import Cuda
    from .native import Native

    return Native(module, name) if kind == "cpu" else Cuda(module, "cuda" if kind == "cuda" else "cpu", name)


def compile_module(target: Target, folder: Path) -> ModuleType:
    """Compile what has changed, and load it. Others that want the same folder meanwhile wait."""
    file = folder / f"{target.module}.so"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        if fcntl:
            fcntl.flock(lock, fcntl.LOCK_EX)
        run_ninja(target, folder, file)
        return load_module(target.module, file)


def load_module(name: str, file: Path) -> ModuleType:
    """Load an extension beside others of the same name. A process loads a file once, so every content gets its
    own: what is loaded is a copy named by its checksum."""
    own = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    known = sys.modules.get(f"miniapr_built_{own}.{name}")
    if known:
        return known
    copy = file.with_name(f"{file.stem}.{own}{file.suffix}")
    shutil.copyfile(file, copy)
    loader = ExtensionFileLoader(f"miniapr_built_{own}.{name}", str(copy))
    spec = spec_from_file_location(loader.name, copy, loader=loader)
    assert spec
    module = module_from_spec(spec)
    loader.exec_module(module)
    copy.unlink()  # what is loaded stays loaded
    sys.modules[loader.name] = module
    return module
