"""The kernels in a folder, compiled and loaded as a backend like any other: for learners who edit them."""

from __future__ import annotations

import hashlib
import shutil
import sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from ..ops import Operations
from ..ops.built import own_sources
from ..ops.cuda import Cuda
from ..ops.native import Native
from .compiling import Target, cache, cpu, cuda, emulated, run_ninja

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

EMULATED = "cuda (emulated)"


def sources(folder: str | Path) -> Path:
    """Copy the sources of the kernels into a new folder, to be edited. Raises ValueError if it is not empty."""
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"folder: {folder} is not empty")
    shutil.copytree(own_sources(), folder, dirs_exist_ok=True)
    return folder


def build(path: str | Path, kind: str = "cpu") -> Operations:
    """Compile the kernels in the folder ``path`` and load them beside all others, as a backend of its own.

    ``kind``: "cpu", "cuda", or "emulated": the CUDA kernels for the CPU (see ``emulate``). Only what has changed is
    compiled; what was compiled in any other folder, the package's own included, is copied (``reuse.py``; not of CUDA).
    Objects are in ``path/build``. Raises ValueError if ``path`` has no kernels, BuildError with the compiler's message.
    """
    path = Path(path).resolve()
    makers = {"cpu": cpu, "cuda": cuda, "emulated": emulated}
    if kind not in makers:
        raise ValueError(f"kind is {kind!r}, expected one of {', '.join(makers)}")
    if not (path / "bindings.cpp").is_file():
        raise ValueError(f"path: {path} has no kernels (no bindings.cpp); kernels.sources(path) copies them there")
    module = compile_module(makers[kind](path), path / "build" / kind)
    return backend(module, kind, path.name)


def emulate() -> Operations:
    """The package's own CUDA kernels, run on the CPU: the threads of a block as fibres, one after the other.

    Slow, and good for two things: without a GPU, to see that a kernel is right; and to find what a GPU keeps to
    itself, a missing barrier or memory read before it was written (``csrc/cuda/emulate.h`` says how). It is
    compiled when it is first asked for, into the user's cache. Raises BuildError with the compiler's message.
    """
    csrc = own_sources()
    own = hashlib.sha256(f"{csrc} {sys.implementation.cache_tag}".encode()).hexdigest()[:16]
    return backend(compile_module(emulated(csrc), cache() / own), "emulated", EMULATED)


def backend(module: ModuleType, kind: str, name: str) -> Operations:
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
