"""Whether a compiled extension is of the sources that lie here: it carries their checksum.

``kernels/compiling.py`` runs this file by its path, before there is a package: it imports the standard library only.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import ModuleType

FOLDERS = {"_native": (".",), "_cuda": (".", "cuda")}  # of csrc, by module: what it is compiled from
SUFFIXES = (".cpp", ".cu", ".cuh", ".h", ".inl")


def own_sources() -> Path:
    """The folder with the kernels' sources: in an installed package, or beside it in a clone. Raises ImportError if
    there is none: a part of the package was copied."""
    package = Path(__file__).resolve().parents[1]
    for path in (package / "csrc", package.parent / "csrc"):
        if path.is_dir():
            return path
    raise ImportError(f"the kernels' sources are neither in {package} nor beside it: install the package whole")


def checksum(csrc: Path, module: str) -> str:
    """Changes with the name and the content of every source that ``module`` is compiled from."""
    digest = hashlib.sha256()
    for folder in FOLDERS[module]:
        for file in sorted((csrc / folder).iterdir()):
            if file.suffix in SUFFIXES:
                digest.update(f"{folder}/{file.name}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def told(csrc: Path, module: str) -> str:
    """C++ that is compiled into the module: its ``build_info()["sources"]``."""
    return f'extern "C" const char miniapr_sources[] = "{checksum(csrc, module)}";\n'


def check(module: ModuleType) -> ModuleType:
    """The module itself. Raises ImportError if it was compiled from other sources: their calls may be others."""
    csrc, name = own_sources(), module.__name__.rpartition(".")[2]
    if module.build_info().get("sources") != checksum(csrc, name):
        again = "python setup.py -q build_ext --inplace" if csrc.with_name("setup.py").is_file() else "pip install"
        raise ImportError(f"{name} was compiled from other sources than those in {csrc}; {again} compiles these")
    return module
