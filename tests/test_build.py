"""Learners edit a copy of the kernels and compile it: the edit is what runs, and its faults are found and shown."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers import backend_or_skip
from paged_case import Shape, make_case

from miniapr import kernels, ops
from miniapr.kernels import BuildError, compiling
from miniapr.ops import built

pytest.importorskip("ninja")
pytest.importorskip("pybind11")
backend_or_skip("cpp")

PROTOCOL = {name for name in dir(ops.Operations) if not name.startswith("_")} - {"name"}


@contextmanager
def edited(file: Path, old: str, new: str) -> Iterator[None]:
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, (file, old)
    file.write_text(text.replace(old, new), encoding="utf-8")
    yield
    file.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources in a folder with a space in its name, compiled once without an edit."""
    folder = kernels.sources(tmp_path_factory.mktemp("learner") / "my kernels")
    kernels.build(folder)
    return folder


def written(backend: ops.Operations) -> torch.Tensor:
    k_cache, v_cache = torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    backend.write_kv(torch.ones(1, 1, 4), torch.ones(1, 1, 4), k_cache, v_cache, torch.tensor([5]))
    return torch.stack((k_cache, v_cache))


def test_an_edit_is_what_runs_beside_the_installed_kernels(copy: Path) -> None:
    installed = ops.load("cpp")
    before = kernels.build(copy)
    assert before.name == "my kernels" and torch.equal(written(before), written(installed))
    with edited(copy / "write_kv.cpp", "if (slots[n] < 0) continue;", "continue;"):
        idle = kernels.build(copy)
    assert (written(idle) == 0).all()
    assert torch.equal(written(before), written(installed))  # an earlier build stays what it was
    case = make_case(Shape(torch.float32, 16, 16, rows=6, seed=3))  # one plan through several builds
    assert torch.equal(case.run(idle), case.run(installed)) and torch.equal(case.run(idle), case.run(before))
    assert torch.equal(written(kernels.build(copy)), written(installed))


def test_only_what_changed_is_compiled(copy: Path) -> None:
    def compiled() -> set[str]:
        before = {file: file.stat().st_mtime_ns for file in (copy / "build" / "cpu").glob("*.o")}
        kernels.build(copy)
        return {file.name for file, time in before.items() if file.stat().st_mtime_ns != time}

    compiled()
    assert compiled() == set()
    with edited(copy / "write_kv.cpp", "namespace {", "\nnamespace {"):
        assert compiled() == {"write_kv.cpp.o", "sources.cpp.o"}  # the latter tells the checksum of all
    with edited(copy / "indices.h", "#pragma once", "#pragma once\n"):  # a header: all that include it
        assert compiled() == {"write_kv.cpp.o", "copy_blocks.cpp.o", "shift_keys.cpp.o", "sources.cpp.o"}


def test_a_compile_error_is_shown_in_the_compiler_s_words(copy: Path) -> None:
    with edited(copy / "write_kv.cpp", "namespace {", "namespace {\noops"):
        with pytest.raises(BuildError) as error:
            kernels.build(copy)
    text = str(error.value)
    assert "write_kv.cpp:" in text and "oops" in text and "error" in text
    assert "FAILED" not in text and " -O3 " not in text  # not the whole command


def test_a_build_carries_the_checksum_of_its_sources(copy: Path) -> None:
    def told() -> str:
        return kernels.build(copy).build_info()["sources"]  # type: ignore[attr-defined]

    before = told()
    assert before == built.checksum(copy, "_native") == built.checksum(kernels.own_sources(), "_native")
    with edited(copy / "indices.h", "#pragma once", "#pragma once\n"):
        assert told() == built.checksum(copy, "_native") != before
    assert told() == before


@pytest.mark.parametrize("tells", [{"sources": "of another version"}, {}])
def test_an_extension_of_other_sources_is_refused(tells: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    stale = SimpleNamespace(__name__="miniapr._native", build_info=lambda: tells)
    monkeypatch.setitem(sys.modules, "miniapr._native", stale)
    with pytest.raises(ImportError, match=r"compiled from other sources than those in .*csrc; .* compiles these"):
        ops.load("cpp")
    with pytest.warns(UserWarning, match="plain PyTorch runs instead: _native was compiled from other sources"):
        ops.load()


def test_what_is_no_folder_of_kernels_is_refused(tmp_path: Path, copy: Path) -> None:
    with pytest.raises(ValueError, match=r"has no kernels \(no bindings.cpp\)"):
        kernels.build(tmp_path)
    with pytest.raises(ValueError, match="is not empty"):
        kernels.sources(copy)


def test_without_a_compiler_the_error_says_so(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(BuildError, match=r"no C\+\+ compiler: .*no-such-compiler"):
        kernels.build(copy)


def test_the_build_file_needs_no_package(tmp_path: Path) -> None:
    """setup.py runs before torch is installed: compiling.py may import neither torch nor miniapr."""
    shutil.copy(compiling.__file__, tmp_path / "alone.py")
    code = "import sys, alone; print([m for m in ('torch', 'miniapr', 'ninja', 'pybind11') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["reference", "cpp"])
def test_check_says_what_is_right_for_every_operation_and_dtype(name: str) -> None:
    table = kernels.check(name)
    assert all(row.ok for row in table.rows), str(table)
    operations = {row.operation for row in table.rows}
    assert operations == PROTOCOL and {row.dtype for row in table.rows} == {"float64", "float32", "bfloat16"}
    assert all(row.cases > 5 for row in table.rows) and "largest error" in str(table) and "WRONG" not in str(table)


def test_check_takes_the_operations_that_it_is_given() -> None:
    rows = kernels.check("reference", ["rope", "copy_blocks"]).rows
    assert [row.operation for row in rows] == ["rope"] * 3 + ["copy_blocks"] * 3
    with pytest.raises(ValueError, match="no operation ropes: there are write_kv, paged_attention"):
        kernels.check("reference", ["ropes", "rope"])


def test_check_finds_planted_errors(copy: Path) -> None:
    """All in one build: the last slot of a run is not seen, two slots of a block are swapped, a wrong table."""
    with (
        edited(copy / "plan.cpp", "edge_run[e] =", "edge_visible[e] -= edge_visible[e] > 1, edge_run[e] ="),
        edited(copy / "write_kv.cpp", "offset = slots[n] % size", "offset = size - 1 - slots[n] % size"),
        edited(copy / "shift_keys.cpp", "sin + row, by", "cos + row, by"),
    ):
        table = kernels.check(kernels.build(copy))
    wrong = {row.operation for row in table.rows if not row.ok}
    assert wrong >= {"paged_attention", "write_kv", "shift_keys"} and "copy_blocks" not in wrong, str(table)
    assert "WRONG" in str(table)


def test_time_gives_every_operation_a_line_with_units() -> None:
    table = kernels.time("cpp", repeats=1)
    assert {row.operation for row in table.rows} == PROTOCOL
    assert all(row.microseconds > 0 and row.gb_per_s > 0 and row.share > 0 for row in table.rows)
    assert "us" in str(table) and "GB/s" in str(table) and "limits, measured" in str(table)


def test_time_takes_the_operations_that_it_is_given() -> None:
    assert [row.operation for row in kernels.time("cpp", ["rope", "write_kv"], repeats=1).rows] == ["rope", "write_kv"]
    with pytest.raises(ValueError, match="no operation ropes: there are write_kv, paged_attention"):
        kernels.time("cpp", ["ropes"])


def test_the_package_needs_little_to_be_imported() -> None:
    """A bare machine lacks these. And nothing that runs in a step imports the tools for kernels, which are above it."""
    code = """
import sys
sys.modules |= dict.fromkeys(("gguf", "rich", "matplotlib", "fastapi", "uvicorn", "anywidget", "transformers"))
import miniapr
assert "miniapr.ops.native" not in sys.modules and "miniapr.kernels" not in sys.modules, "loaded before it is asked for"
bundle = miniapr.load()
engine = miniapr.Engine(bundle.model, bundle.tokenizer, num_blocks=64)
engine.decode([engine.start([1, 2, 3])], max_tokens=4)
assert "miniapr.kernels" not in sys.modules, "an import goes up"
assert "torch._dynamo" not in sys.modules, "torch has imported its compiler: two seconds or three of every start"
import miniapr.kernels
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
