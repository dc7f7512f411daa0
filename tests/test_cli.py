"""The commands as a user meets them: what they print, write, refuse and how they end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from bundles import write_nonsense

import miniapr
from miniapr.cli import main
from miniapr.engine.engine import Engine
from miniapr.engine.events import read_trace
from miniapr.methods.compare import JOINS
from miniapr.model import bundle
from miniapr.tasks.countdown import Problem, verify
from miniapr.tasks.demonstrations import extract_answer

ROOT = Path(miniapr.__file__).parents[1]
TOP = ["problem", "model", "fork", "joins", "critical_path", "total_tokens", "sequential", "interrupted"]
JOIN = (
    "position tokens_recomputed tokens_reused bytes_moved keys_shifted seconds kl_to_reprefill top1_agrees text correct"
)
LINE = ["text", "correct", "critical_path", "total_tokens", "steps", "seconds"]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit code, standard output and error of a command run in this process."""

    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as leave:
            code = leave.code if isinstance(leave.code, int) else 1
        return (code, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def nonsense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It writes many control tokens, mostly where they make no sense."""
    return write_nonsense(tmp_path_factory.mktemp("nonsense"), loudness=1.5, seed=1)


@pytest.fixture(scope="session")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It never ends by itself."""
    return write_nonsense(tmp_path_factory.mktemp("endless"), loudness=-3.0)


def parse(text: str) -> dict[str, Any]:
    """Strict JSON: NaN and Infinity are no numbers."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} in the output")

    found: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return found


def check_shape(report: dict[str, Any]) -> None:
    """Exactly the promised keys, and numbers that can be true together."""
    assert list(report) == TOP
    assert list(report["problem"]) == ["numbers", "target", "solvable", "solution"]
    assert {"name", "parameters", "backend"} <= report["model"].keys()
    assert set(report["joins"]) <= set(JOINS)
    for joined in report["joins"].values():
        assert list(joined) == JOIN.split()
    fork = report["fork"]
    if fork is None:
        assert not report["joins"]
    else:
        assert list(fork) == ["position", "width", "branches", "before"]
        assert fork["width"] == len(fork["branches"])
        for thread in fork["branches"]:
            assert list(thread) == ["id", "position", "seed", "text", "tokens", "finish"]
            assert thread["position"] == fork["position"]
    if report["sequential"] is not None:
        assert list(report["sequential"]) == LINE
    assert report["critical_path"] <= report["total_tokens"]


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
        assert joined["correct"] == verify(extract_answer(joined["text"]), problem).correct
    assert (
        report["sequential"]["critical_path"] == report["sequential"]["total_tokens"] == report["sequential"]["steps"]
    )
    assert report["critical_path"] < report["sequential"]["critical_path"], "the fork made the path shorter"


def test_main_job_as_tables(run: Run) -> None:
    code, out, err = run("compare")
    assert code == 0 and err == "" and "\x1b" not in out
    for words in ("8 7 3 -> 29", "tokens recomputed", "KL to re-prefill", "sequential", "critical path", "correct"):
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


@pytest.mark.parametrize("seed", range(5))
def test_nonsense_has_a_defined_result(run: Run, nonsense: Path, seed: int) -> None:
    words = ("compare", "--model", nonsense, "--temperature", 1, "--seed", seed, "--max-tokens", 25, "--blocks", 1024)
    code, out, _ = run(*words, "--json")
    assert code == 0
    check_shape(parse(out))
    code, out, _ = run(*words)
    assert code == 0 and out


def test_some_nonsense_forks(run: Run, nonsense: Path) -> None:
    words = ("compare", "--json", "--model", nonsense, "--temperature", 1, "--max-tokens", 25, "--blocks", 1024)
    reports = [parse(run(*words, "--seed", seed)[1]) for seed in range(8)]
    assert any(report["fork"] for report in reports) and not all(report["fork"] for report in reports)


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


# Files


def test_trace_and_plot(run: Run, tmp_path: Path) -> None:
    trace, plot = tmp_path / "trace.jsonl", tmp_path / "plot.png"
    code, out, err = run("compare", "--json", "--trace", trace, "--plot", plot)
    report = parse(out)
    assert code == 0 and str(trace) in err and str(plot) in err
    about, events = read_trace(trace)
    assert about["problem"] == report["problem"] and about["model"]["name"] == "countdown"
    kinds = [event.kind for event in events]
    assert kinds.count("joined") == len(JOINS) and kinds.count("forked") == 1
    decoded = sum(kind == "decoded" for kind in kinds)
    tail = decoded - report["total_tokens"] - report["sequential"]["total_tokens"]
    assert tail > 0, "the conclusions of the other joins"
    assert plot.read_bytes().startswith(b"\x89PNG") and plot.stat().st_size > 10_000


@pytest.mark.parametrize("option", ["--trace", "--plot"])
def test_file_that_cannot_be_written_is_found_out_before_the_run(
    run: Run, tmp_path: Path, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "step", lambda self: pytest.fail("it ran"))
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
    assert any(event.kind == "failed" for event in read_trace(trace)[1])


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
        (no_control, "control token"),
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


def test_other_failures_exit_with_1(run: Run, nonsense: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the machine\nis on fire")

    monkeypatch.setattr("miniapr.show.run.Run.execute", broken)
    code, _, err = run("compare", "--model", nonsense)
    assert (code, err) == (1, "miniapr: error: the machine is on fire\n")


# Ctrl-C


@pytest.fixture(scope="module")
def all_steps() -> int:
    """How many steps the main job takes, warm-up included."""
    with pytest.MonkeyPatch.context() as patch:
        step, steps = Engine.step, 0

        def counting(self: Engine) -> object:
            nonlocal steps
            steps += 1
            return step(self)

        patch.setattr(Engine, "step", counting)
        assert main(["compare", "--json"]) == 0
    return steps


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.99])
@pytest.mark.parametrize("as_json", [True, False])
def test_ctrl_c_shows_what_there_is(
    run: Run, monkeypatch: pytest.MonkeyPatch, share: float, as_json: bool, all_steps: int
) -> None:
    engines: list[Engine] = []
    step, steps, at = Engine.step, 0, int(share * all_steps)

    def stepping(self: Engine) -> object:
        nonlocal steps
        engines.append(self)
        if steps == at:
            signal.raise_signal(signal.SIGINT)
        steps += 1
        return step(self)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(Engine, "step", stepping)
    code, out, err = run("compare", *["--json"] * as_json)
    assert code == 130 and err == ""
    assert steps == at + 1, "the step was ended, and no other begun"
    for engine in set(engines):
        engine.check()
        assert engine.kv.available == len(engine.pool), "nothing is held"
    if as_json:
        report = parse(out)
        check_shape(report)
        assert report["interrupted"]
    else:
        assert "Stopped early" in out
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_keeps_the_text_of_unfinished_branches(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Engine.step

    def stepping(self: Engine) -> object:
        out = step(self)
        kinds = [event.kind for event in self.events]
        if kinds.count("forked") and kinds[kinds.index("forked") :].count("decoded") > 20:
            signal.raise_signal(signal.SIGINT)
        return out

    monkeypatch.setattr(Engine, "step", stepping)
    report = parse(run("compare", "--json")[1])
    threads = report["fork"]["branches"]
    assert report["interrupted"] and not report["joins"] and report["sequential"] is None
    assert "aborted" in {thread["finish"] for thread in threads}
    assert all(thread["tokens"] and thread["text"] for thread in threads)
    assert report["total_tokens"] > sum(thread["tokens"] for thread in threads) > 20


DRIVER = """
import sys, time
from miniapr.engine.engine import Engine
from miniapr.cli import main
step, steps = Engine.step, 0
def stepping(self):
    global steps
    steps += 1
    if steps == 30:
        print("ready", file=sys.stderr, flush=True)
        time.sleep(float(sys.argv[1]))
    return step(self)
Engine.step = stepping
sys.exit(main(sys.argv[2:]))
"""


def start_driver(sleep: float, *words: object) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(sleep), *map(str, words)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stderr is not None and child.stderr.readline() == "ready\n"
    return child


def test_sigint_from_outside(endless: Path) -> None:
    child = start_driver(0.5, "compare", "--json", "--model", endless, "--max-tokens", 4000)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130 and err == ""
    report = parse(out)
    check_shape(report)
    assert report["interrupted"] and report["model"]["wrote"]


def test_second_sigint_kills(endless: Path) -> None:
    child = start_driver(60, "compare", "--model", endless, "--max-tokens", 4000)
    child.send_signal(signal.SIGINT)
    while child.poll() is None:  # until the first one has been noticed, another may melt into it
        child.send_signal(signal.SIGINT)
        try:
            child.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            continue
    assert child.returncode == -signal.SIGINT
    child.communicate()


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


def test_plain_ascii_terminal(endless: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "miniapr", "compare", "--model", str(endless), "--max-tokens", "3"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0 and done.stderr == b""
    assert done.stdout.isascii()


def test_train_and_evaluate_are_wired(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, out, _ = run("train", "--help")
    assert code == 0 and "--out" in out
    code, _, err = run("train", "--out", tmp_path, "--layers", 0)
    assert code == 2 and err.startswith("miniapr: error: ")
    code, _, err = run("evaluate", tmp_path / "nowhere")
    assert code == 2 and err.startswith("miniapr: error: ")
    code, out, _ = run("evaluate", "countdown", "--pairs", 2, "--sets", 2)
    assert code == 0 and parse(out)["pairs"]["adaptive"]["n"] == 2


def test_missing_kernels_are_said_once_in_words(run: Run, endless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "miniapr.ops.native", None)
    code, out, err = run("compare", "--json", "--model", endless, "--max-tokens", 2)
    assert code == 0 and parse(out)["model"]["backend"] == "reference"
    assert err.startswith("miniapr: note: C++ kernels are missing") and err.count("\n") == 1
    code, _, err = run("compare", "--model", endless, "--backend", "cpp")
    assert code == 1 and "missing" in err


@pytest.fixture(autouse=True)
def one_thread_again() -> Any:
    """The command may set the number of threads of the process."""
    yield
    torch.set_num_threads(1)
