"""Makes the notebooks from the chapters' sources, and runs them.

    python tutorials/notebooks.py            write NN_name.ipynb for every NN_name.py
    python tutorials/notebooks.py 4 7        only chapters 4 and 7
    python tutorials/notebooks.py --run 4    run it too, from top to bottom, and say how long it took

The sources are Python in the percent format, so they can be read, compared and checked like all other code. A
notebook is kept with what its last run showed, words and pictures, so that they are seen where nothing is run; pages to
step through are not, for who shows notebooks shows no scripts. Outputs of other code than the source's are dropped.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from traitlets.config import Config

import miniapr

HERE = Path(__file__).parent
PACKAGE = Path(miniapr.__file__).parent
CELL = 1800  # seconds: only a cell that hangs takes so long; a whole chapter takes less than 120 on a laptop


def sources(chapters: list[int] | None = None) -> list[Path]:
    """The chapters in order: all of them, or those asked for. Raises ValueError for a number that is not there."""
    found = {int(file.name[:2]): file for file in sorted(HERE.glob("[0-9][0-9]_*.py"))}
    for number in chapters or ():
        if number not in found:
            raise ValueError(f"no chapter {number}; there are {', '.join(map(str, found))}")
    return [found[number] for number in chapters or found]


def notebook(source: Path) -> NotebookNode:
    """The same cells, with ids that do not change from one time to the next."""
    made = jupytext.read(source, fmt="py:percent")
    made.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    made.nbformat, made.nbformat_minor = 4, 5
    for number, cell in enumerate(made.cells):
        cell.id = f"cell-{number}"
    return made


def text(made: NotebookNode) -> str:
    """As it is written to the file."""
    return nbformat.writes(made) + "\n"


def run(made: NotebookNode, folder: Path) -> NotebookNode:
    """Every cell, in a fresh kernel and in ``folder``; returns it with its outputs. Raises for the first error."""
    nbformat.validate(made)
    paths = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    # Over files, not over ports that somebody else may take between their choice and their use.
    place = tempfile.mkdtemp(prefix="kernel-")  # a short path: a socket's has room for a hundred letters
    sockets = Config({"KernelManager": {"transport": "ipc", "ip": f"{place}/of"}})
    client = NotebookClient(
        made,
        config=sockets,
        timeout=CELL,
        startup_timeout=CELL,
        iopub_timeout=CELL,  # else what a slow machine has not read by then is missing, silently
        raise_on_iopub_timeout=True,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        coalesce_streams=True,  # in how many pieces a cell's text arrives is a matter of chance
    )
    client.extra_arguments = ["--log-level=ERROR"]
    try:
        return client.execute(env=environment)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def shown(made: NotebookNode) -> NotebookNode:
    """A run chapter as it is kept beside its source."""
    kept = copy.deepcopy(made)
    kept.metadata["language_info"] = {"name": "python"}  # the kernel adds its version, and there are many
    for cell in kept.cells:
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop("text/html", None)
    return kept


def remembered(source: Path) -> NotebookNode:
    """The chapter as its source says it, with the outputs beside it if they are those of the same code."""
    made, file = notebook(source), source.with_suffix(".ipynb")
    if not file.is_file():
        return made
    last = nbformat.read(file, as_version=4)
    if code(last) == code(made):
        for cell, old in zip(code_cells(made), code_cells(last), strict=True):
            cell.outputs, cell.execution_count = old.outputs, old.execution_count
    return made


def code_cells(made: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in made.cells if cell.cell_type == "code"]


def code(made: NotebookNode) -> list[str]:
    return [cell.source for cell in code_cells(made)]


def key(made: NotebookNode) -> str:
    """Changes with the cells and with everything in the package that they may use; what was compiled from it, or was
    not, is left out: another installation of the same package gives the same chapter."""
    digest = hashlib.sha256(text(made).encode())
    for file in sorted(PACKAGE.rglob("*")):
        made_here = file.suffix in (".pyc", ".so", ".pyd") or file.name.endswith("_missing.txt")
        if file.is_file() and not made_here:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _place(source: Path) -> Path:
    return HERE.parent / "build" / "chapters" / f"{source.stem}-{key(notebook(source))}.ipynb"


def keep(source: Path, made: NotebookNode) -> NotebookNode:
    """Remember a run chapter, and forget its older runs."""
    place = _place(source)
    place.parent.mkdir(parents=True, exist_ok=True)
    for old in place.parent.glob(f"{source.stem}-*.ipynb"):
        old.unlink(missing_ok=True)
    nbformat.write(made, place)
    return made


def kept(source: Path) -> NotebookNode | None:
    """The chapter with its outputs, if it was run since anything changed."""
    place = _place(source)
    return nbformat.read(place, as_version=4) if place.is_file() else None


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Make the notebooks from the chapters' sources.")
    parser.add_argument("chapters", nargs="*", type=int, help="default: all")
    parser.add_argument("--run", action="store_true", help="run them too")
    args = parser.parse_args(words)
    try:
        files = sources(args.chapters)
    except ValueError as error:
        parser.error(str(error))
    for file in files:
        made = remembered(file)
        line = f"{file.stem}: {len(made.cells)} cells"
        if args.run:
            began = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                made = shown(keep(file, run(notebook(file), Path(folder))))
            line += f", ran in {time.perf_counter() - began:.0f} s"
        elif not any(cell.outputs for cell in code_cells(made)):
            line += ", without outputs: run it"
        file.with_suffix(".ipynb").write_text(text(made), encoding="utf-8")
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
