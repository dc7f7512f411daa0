"""Which implementations of the operations there are, and which one to take."""

from __future__ import annotations

import warnings
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import Operations
    from .native import Native

_NAMES = ("cpp", "reference")  # the fastest first


def available() -> dict[str, str]:
    """Every backend's name, with how it was built, or "missing: ..." and why."""
    found = {"reference": "plain PyTorch, any device"}
    try:
        found["cpp"] = ", ".join(f"{key} {value}" for key, value in _native().build_info().items())
    except (ImportError, ValueError) as error:
        found["cpp"] = f"missing: {_why(error)}"
    return found


def load(name: str = "auto") -> Operations:
    """The operations called ``name``; "auto" takes C++ if it was built, else the reference, and says so.

    Raises ValueError for a name that does not exist, ImportError for one that was asked for and is not here.
    """
    if name not in ("auto", *_NAMES):
        raise ValueError(f"no backend {name!r}: there are auto, {', '.join(sorted(_NAMES))}")
    from . import reference

    if name == "reference":
        return reference
    try:
        return _native()
    except (ImportError, ValueError) as error:
        if name != "auto":
            raise ImportError(f"backend {name!r} is missing: {_why(error)}") from error
        # Python shows a warning once for each place.
        warnings.warn(f"C++ kernels are missing, plain PyTorch runs instead: {_why(error)}", stacklevel=2)
        return reference


def usable(name: str) -> bool:
    """Whether ``load(name)`` gives something."""
    try:
        return bool(load(name))
    except ImportError:
        return False


def _native() -> Native:
    from .native import Native

    return Native(import_module("miniapr._native"))


def _why(error: Exception) -> str:
    """What the build left behind, or else what the import said."""
    note = Path(__file__).parents[1] / "_native_missing.txt"
    if note.exists():
        return f"{note.read_text(encoding='utf-8').strip()} (to mend it, install again with a C++17 compiler)"
    if isinstance(error, ModuleNotFoundError):
        return "the extension was not built (install the package again, with a C++17 compiler)"
    return str(error)
