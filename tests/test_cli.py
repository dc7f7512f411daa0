"""The commands as a user meets them: what they print and write."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bundles import write_nonsense
from command_line import ROOT, Run, check_shape, parse

import miniapr
from miniapr.methods.compare import JOINS
from miniapr.model import bundle
from miniapr.tasks.countdown import Problem, verify
from miniapr.tasks.terse import extract_answer

# The main job, with the model that ships


def test_the_shipped_model_is_there() -> None:
    assert (bundle.SHIPPED / "countdown" / "model.safetensors").is_file(), "the package ships no model"


def test_main_job_as_json(run: Run) -> None:
    code, out, _ = run("compare", "--json")
    report = parse(out)
    check_shape(report)
    assert code == 0 and not report["interrupted"]
    assert report["fork"]["width"] == len(report["fork"]["branches"]) > 1
    assert list(report["joins"]) == list(JOINS)
    joins, width = report["joins"], report["fork"]["width"]
    assert joins["stitch"]["tokens_recomputed"] == joins["stitch_contiguous"]["tokens_recomputed"] == 0
    assert joins["stitch"]["bytes_moved"] == joins["stitch_contiguous"]["bytes_moved"] == 0
    assert joins["stitch_copied"]["keys_shifted"] > 0 and joins["stitch_copied"]["bytes_moved"] > 0
    assert joins["reprefill"]["tokens_recomputed"] > width
    total = {joined["tokens_recomputed"] + joined["tokens_reused"] for joined in joins.values()}
    assert len(total) == 1, "every join sees the same text"
    positions = [joins[how]["position"] for how in ("stitch_contiguous", "stitch_copied", "reprefill")]
    assert len(set(positions)) == 1 and joins["stitch"]["position"] < positions[0]
    assert joins["reprefill"]["kl_to_reprefill"] == 0 and joins["reprefill"]["top1_agrees"]
    problem = Problem(tuple(report["problem"]["numbers"]), report["problem"]["target"])
    for joined in joins.values():
        assert joined["correct"] == verify(extract_answer(joined["text"], problem), problem).correct
    assert (
        report["sequential"]["critical_path"] == report["sequential"]["total_tokens"] == report["sequential"]["steps"]
    )
    assert report["critical_path"] < report["sequential"]["critical_path"], "the fork made the path shorter"


def test_main_job_as_tables(run: Run) -> None:
    code, out, err = run("compare")
    assert code == 0 and err == "" and "\x1b" not in out
    for words in ("8 7 3 -> 29", "tokens recomputed", "KL, nats a token", "sequential", "critical path", "correct"):
        assert words in out
    assert max(map(len, out.splitlines())) <= 80


def test_a_seed_repeats_a_random_problem_and_its_sampling(run: Run) -> None:
    words = ("compare", "--random", "--seed", 5, "--temperature", 0.7, "--top-k", 40, "--json")
    first, second = (parse(run(*words)[1]) for _ in range(2))
    assert without_times(first) == without_times(second)


def without_times(report: dict[str, Any]) -> dict[str, Any]:
    for part in (*report["joins"].values(), report["sequential"]):
        del part["seconds"]
    return report


def test_easy_problem_is_answered_without_a_fork(run: Run) -> None:
    _, out, _ = run("compare", "--numbers", 8, 7, 3, "--target", 18, "--json")
    report = parse(out)
    check_shape(report)
    assert report["fork"] is None and report["model"]["correct"] and report["critical_path"] > 0
    _, out, _ = run("compare", "--numbers", 8, 7, 3, "--target", 18)
    assert "did not fork" in out and "correct" in out


def test_unsolvable_problem_runs_and_says_so(run: Run) -> None:
    words = ("compare", "--numbers", 1, 1, 1, "--target", 100)
    code, out, _ = run(*words, "--json")
    report = parse(out)
    check_shape(report)
    assert code == 0 and report["problem"]["solvable"] is False and report["problem"]["solution"] is None
    assert not any(joined["correct"] for joined in report["joins"].values())
    code, out, _ = run(*words)
    assert code == 0 and "cannot be solved" in out


@pytest.mark.parametrize("width", [1, 3])
def test_width_limits_the_fork(run: Run, width: int) -> None:
    report = parse(run("compare", "--json", "--width", width)[1])
    assert report["fork"]["width"] == width
    check_shape(report)


# A model that writes nonsense


def test_nonsense_has_a_defined_result(run: Run, nonsense: Path) -> None:
    reports = []
    for seed in range(5):
        words = ("compare", "--model", nonsense, "--temperature", 1, "--seed", seed, "--max-tokens", 25)
        code, out, _ = run(*words, "--blocks", 1024, "--json")
        assert code == 0
        reports.append(parse(out))
        check_shape(reports[-1])
        code, out, _ = run(*words, "--blocks", 1024)
        assert code == 0 and out
    assert any(report["fork"] for report in reports) and not all(report["fork"] for report in reports), "of both kinds"


@pytest.mark.parametrize("context", [10, 40])
def test_context_that_is_too_short_ends_branches_not_the_run(run: Run, tmp_path: Path, context: int) -> None:
    folder = write_nonsense(tmp_path, loudness=1.5, seed=1, context=context)
    left_out = 0
    for seed in range(8):
        words = ("compare", "--model", folder, "--temperature", 1, "--seed", seed, "--max-tokens", 60)
        code, out, err = run(*words)
        assert (code, err) == (0, "")
        left_out += "could not be done" in out
    assert left_out or context < 24, "a re-prefill that did not fit was never met"
    code, _, err = run("compare", "--model", write_nonsense(tmp_path, 1.5, context=7))
    assert code == 2 and "8 tokens" in err and "context of 7" in err


@pytest.mark.parametrize("backend", ["reference", "cpp"])
def test_backends(run: Run, nonsense: Path, backend: str) -> None:
    if backend not in miniapr.ops.available() or miniapr.ops.available()[backend].startswith("missing"):
        pytest.skip(f"the {backend} backend was not built here")
    code, out, _ = run("compare", "--json", "--model", nonsense, "--backend", backend, "--max-tokens", 8)
    assert code == 0 and parse(out)["model"]["backend"] in (backend, "native")


# The other commands, and the process itself


def test_python_m_miniapr() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "miniapr", "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"miniapr {miniapr.__version__}\n"


def test_reader_that_goes_away(endless: Path) -> None:
    """`miniapr compare | head -1` ends quietly."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "miniapr", "compare", "--model", str(endless), "--max-tokens", "3"],
        cwd=ROOT,
        check=False,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    assert done.returncode == 1 and done.stderr == ""


def test_plain_ascii_terminal(run: Run, endless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    code, _, err = run("compare", "--model", endless, "--max-tokens", 3)
    terminal.flush()
    assert code == 0 and err == ""
    assert b"sequential" in terminal.buffer.getvalue()  # type: ignore[attr-defined]


def test_train_and_evaluate_are_wired(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for words, said in (((), "rl"), (("sft",), "--layers"), (("rl",), "--reward"), (("--out=x",), "--layers")):
        code, out, _ = run("train", *words, "--help")
        assert code == 0 and said in out
    code, _, err = run("train", "--out", tmp_path, "--layers", 0)
    assert code == 2 and err.startswith("miniapr: error: ")
    code, _, err = run("evaluate", tmp_path / "nowhere")
    assert code == 2 and err.startswith("miniapr: error: ")
    code, out, _ = run("evaluate", "countdown", "--pairs", 2, "--sets", 2)
    assert code == 0 and parse(out)["pairs"]["problems"] == 2


def test_missing_kernels_are_said_once_in_words(run: Run, endless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "miniapr._native", None)
    code, out, err = run("compare", "--json", "--model", endless, "--max-tokens", 2)
    assert code == 0 and parse(out)["model"]["backend"] == "reference"
    assert err.startswith("miniapr: note: C++ kernels are missing") and err.count("\n") == 1
    code, _, err = run("compare", "--model", endless, "--backend", "cpp")
    assert code == 1 and "missing" in err
