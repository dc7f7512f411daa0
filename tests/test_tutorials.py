"""The chapters: notebooks in step with their sources, and every cell run from top to bottom."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from miniapr.learn.exercise import exercises

TUTORIALS = Path(__file__).parents[1] / "tutorials"


def load_notebooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tutorial_notebooks", TUTORIALS / "notebooks.py")
    assert spec and spec.loader
    module = sys.modules["tutorial_notebooks"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pytest.importorskip("jupytext")
notebooks = load_notebooks()
each = pytest.mark.parametrize("source", notebooks.sources(), ids=lambda source: source.stem)


@each
def test_notebook_is_what_its_source_says(source: Path) -> None:
    file = source.with_suffix(".ipynb")
    assert file.is_file() and file.read_text(encoding="utf-8") == notebooks.text(notebooks.notebook(source)), (
        f"python tutorials/notebooks.py {int(source.name[:2])}"
    )


def test_every_notebook_has_a_source() -> None:
    assert {file.stem for file in TUTORIALS.glob("*.ipynb")} == {source.stem for source in notebooks.sources()}


@each
def test_chapter_begins_with_its_number_and_ends_with_its_exercises(source: Path) -> None:
    cells = notebooks.notebook(source).cells
    number = int(source.name[:2])
    assert cells[0].cell_type == "markdown" and re.match(rf"# (Chapter )?{number}\b", cells[0].source)
    named = {id for cell in cells for id in re.findall(r"miniapr learn check (\d+\.\d+)", cell.source)}
    assert named == {exercise.id for exercise in exercises() if exercise.chapter == number}


@each
def test_chapter_runs_from_top_to_bottom(source: Path, tmp_path: Path) -> None:
    made = notebooks.run(notebooks.notebook(source), tmp_path)
    code = [cell for cell in made.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    warned = [o.text for cell in code for o in cell.outputs if o.output_type == "stream" and "Warning" in o.text]
    assert not warned, "a reader would stop at this"
    notebooks.keep(source, made)  # for the book
