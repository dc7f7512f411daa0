"""Bad input, damaged models and files that cannot be written: one clear line, and nothing is lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Run, parse

from miniapr.engine.engine import Engine
from miniapr.methods.compare import JOINS
from miniapr.stepper import Trace

# Files


def test_trace_and_plot(run: Run, tmp_path: Path) -> None:
    trace, plot = tmp_path / "trace.jsonl", tmp_path / "plot.png"
    code, out, err = run("compare", "--json", "--trace", trace, "--plot", plot)
    report = parse(out)
    assert code == 0 and str(trace) in err and str(plot) in err
    written = Trace.load(trace).runs[0]
    assert "countdown" in written["title"]
    kinds = [event["kind"] for event in written["events"]]
    assert kinds.count("joined") == len(JOINS) and kinds.count("forked") == 1
    decoded = sum(kind == "decoded" for kind in kinds)
    tail = decoded - report["total_tokens"] - report["sequential"]["total_tokens"]
    assert tail > 0, "the conclusions of the other joins"
    assert plot.read_bytes().startswith(b"\x89PNG") and plot.stat().st_size > 10_000


@pytest.mark.parametrize("option", ["--trace", "--plot"])
def test_file_that_cannot_be_written_is_found_out_before_the_run(
    run: Run, tmp_path: Path, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "advance", lambda self: pytest.fail("it ran"))
    code, out, err = run("compare", option, tmp_path / "nowhere" / "file.png")
    assert (code, out) == (2, "") and "cannot write" in err and err.count("\n") == 1
    code, _, err = run("compare", option, tmp_path)
    assert code == 2 and err.startswith("miniapr: error: ")


def test_bad_input_leaves_existing_files_alone(run: Run, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_text("precious")
    assert run("compare", "--trace", trace, "--model", "nobody")[0] == 2
    assert trace.read_text() == "precious"
    fresh = tmp_path / "fresh.jsonl"
    assert run("compare", "--trace", fresh, "--model", "nobody")[0] == 2
    assert not fresh.exists()


def test_trace_of_a_run_that_failed_is_kept(run: Run, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    code, _, err = run("compare", "--blocks", 6, "--trace", trace)
    assert code == 2 and "does not fit" in err
    assert any(event["kind"] == "failed" for event in Trace.load(trace).runs[0]["events"])


# Bad input


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--numbers", 3, "--target", 5], "2 to 6 numbers, got 1"),
        (["--numbers", 1, 2, 3, 4, 5, 6, 7, "--target", 5], "2 to 6 numbers, got 7"),
        (["--numbers", 0, 7, 8, "--target", 5], "got 0"),
        (["--numbers", 3, 7, -8, "--target", 5], "got -8"),
        (["--numbers", 3, 7, 99999, "--target", 5], "got 99999"),
        (["--numbers", 3, 7, 401, "--target", 5], "401"),
        (["--numbers", 3, 7, 8, "--target", 99999], "got 99999"),
        (["--numbers", 3, 7, 8, "--target", -1], "got -1"),
        (["--numbers", 3, 7, 8], "--target"),
        (["--target", 29], "--numbers"),
        (["--numbers", 3, "x", "--target", 5], "'x'"),
        (["--random", "--target", 29], "--random"),
        (["--model", "nobody"], "no model 'nobody'"),
        (["--temperature", -1], "temperature must be in 0..100, is -1"),
        (["--temperature", "nan"], "temperature"),
        (["--temperature", 1000], "1000"),
        (["--top-p", 0], "top_p"),
        (["--top-k", -1], "top_k"),
        (["--min-p", 2], "min_p"),
        (["--width", 0], "width must be at least 1, is 0"),
        (["--max-tokens", 0], "max-tokens must be at least 1, is 0"),
        (["--blocks", 0], "blocks must be at least 1, is 0"),
        (["--block-size", -3], "block-size must be at least 1, is -3"),
        (["--blocks", 2, "--block-size", 2], "4 blocks"),
        (["--blocks", 5], "0 of 5 available"),
        (["--threads", 0], "threads must be in 1..1024, is 0"),
        (["--backend", "gpu"], "gpu"),
        (["--plot", "picture.txt"], "picture.txt"),
        (["--json", "--step"], "--json and --step"),
        (["--what"], "--what"),
    ],
)
def test_bad_input_is_one_clear_line(run: Run, words: list[object], said: str) -> None:
    code, out, err = run("compare", *words)
    assert (code, out) == (2, "")
    assert err.startswith("miniapr: error: ") and err.count("\n") == 1
    assert said in err


def damage_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def damage_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def foreign_shape(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 25}))


def no_control(folder: Path) -> None:
    (folder / "miniapr.json").unlink()


def damage_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("[]")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (damage_weights, "model.safetensors"),
        (damage_config, "config.json"),
        (foreign_shape, "tensor 'model.layers.0.mlp"),
        (no_control, "trained for no task"),
        (damage_tokenizer, "tokenizer.json"),
    ],
)
def test_damaged_model_is_one_clear_line(
    run: Run, nonsense: Path, tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(nonsense, folder)
    damage(folder)
    code, out, err = run("compare", "--model", folder)
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert said in err


def test_no_command_and_unknown_command(run: Run) -> None:
    for words in ((), ("fly",)):
        code, _, err = run(*words)
        assert code == 2 and err.startswith("miniapr: error: ")


@pytest.mark.parametrize("words", [("compare", "--prompt"), ("play", "--prompt"), ("compare", "--trace"), ()])
def test_an_argument_that_is_no_utf_8_is_one_clear_line(run: Run, words: tuple[str, ...]) -> None:
    code, out, err = run(*words, b"\xff\x1b[2J".decode("utf-8", "surrogateescape"))
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert r"'\udcff\x1b[2J' is no text" in err


def test_what_an_error_quotes_does_not_command_the_terminal(run: Run) -> None:
    code, _, err = run("\x1b[2J")
    assert code == 2 and "\x1b" not in err


def test_other_failures_exit_with_1(run: Run, nonsense: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the machine\nis on fire")

    monkeypatch.setattr("miniapr.show.run.Run.execute", broken)
    code, _, err = run("compare", "--model", nonsense)
    assert (code, err) == (1, "miniapr: error: the machine is on fire\n")
