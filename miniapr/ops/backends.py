"""Which implementations of the operations there are, and which one to take."""

from __future__ import annotations

import warnings
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from . import built

if TYPE_CHECKING:
    from . import Operations

_NAMES = ("cuda", "cpp", "reference")  # the fastest first


def available() -> dict[str, str]:
    """Every backend's name, with how it was built, or "missing: ..." and why."""
    found = {"reference": "plain PyTorch, any device"}
    for name in ("cpp", "cuda"):
        try:
            info = _extension(name).build_info()  # type: ignore[attr-defined]
            found[name] = ", ".join(f"{key} {value}" for key, value in info.items())
        except (ImportError, ValueError) as error:
            found[name] = f"missing: {_why(name, error)}"
    return found


def load(name: str = "auto", device: torch.device | str = "cpu") -> Operations:
    """The operations called ``name``; "auto" takes the compiled ones for ``device`` (CUDA for a GPU, else C++) if
    they were built, else the reference, and says so.

    Raises ValueError for a name that does not exist, ImportError for one that was asked for and is not here.
    """
    if name not in ("auto", *_NAMES):
        raise ValueError(f"no backend {name!r}: there are auto, {', '.join(sorted(_NAMES))}")
    from . import reference

    if name == "reference":
        return reference
    wanted = ("cuda" if torch.device(device).type == "cuda" else "cpp") if name == "auto" else name
    try:
        return _extension(wanted)
    except (ImportError, ValueError) as error:
        why = _why(wanted, error)
        if name != "auto":
            raise ImportError(f"backend {name!r} is missing: {why}") from error
        # Python shows a warning once for each place.
        kind = "CUDA" if wanted == "cuda" else "C++"
        warnings.warn(f"{kind} kernels are missing, plain PyTorch runs instead: {why}", stacklevel=2)
        return reference


def load_for(dtype: torch.dtype, device: torch.device | str) -> Operations:
    """What "auto" takes for a model of this type: the reference where the compiled operations do not know it, which
    is float16 on a CPU."""
    ops = load("auto", device)
    return ops if dtype in getattr(ops, "dtypes", (dtype,)) else load("reference")


def usable(name: str) -> bool:
    """Whether ``load(name)`` gives something."""
    try:
        return bool(load(name))
    except ImportError:
        return False


def _extension(name: str) -> Operations:
    if name == "cpp":
        from .native import Native

        return Native(built.check(import_module("miniapr._native")))
    from .cuda import Cuda

    module = built.check(import_module("miniapr._cuda"))
    if not torch.cuda.is_available():
        raise ImportError("torch sees no GPU")
    return Cuda(module)


def _why(name: str, error: Exception) -> str:
    """What the build left behind, or else what the import said."""
    file, compiler = {"cpp": ("_native", "a C++17 compiler"), "cuda": ("_cuda", "nvcc")}.get(name, ("", ""))
    note = Path(__file__).parents[1] / f"{file}_missing.txt"
    if note.exists():
        return f"{note.read_text(encoding='utf-8').strip()} (to mend it, install again with {compiler})"
    if compiler and isinstance(error, ModuleNotFoundError):
        return f"the extension was not built (install the package again, with {compiler})"
    return str(error)
