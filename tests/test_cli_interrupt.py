"""Ctrl-C at any moment: the pool is consistent, and what there is is shown."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import ROOT, Run, check_shape, parse

from miniapr.cli import main
from miniapr.engine.engine import Engine

# Ctrl-C


@pytest.fixture(scope="module")
def all_steps() -> int:
    """How many steps the main job takes, warm-up included."""
    with pytest.MonkeyPatch.context() as patch:
        step, steps = Engine.advance, 0

        def counting(self: Engine) -> object:
            nonlocal steps
            steps += 1
            return step(self)

        patch.setattr(Engine, "advance", counting)
        assert main(["compare", "--json"]) == 0
    return steps


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.99])
@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_shows_what_there_is(
    run: Run, monkeypatch: pytest.MonkeyPatch, share: float, as_json: bool, number: signal.Signals, all_steps: int
) -> None:
    engines: list[Engine] = []
    step, steps, at = Engine.advance, 0, int(share * all_steps)

    def stepping(self: Engine) -> object:
        nonlocal steps
        engines.append(self)
        if steps == at:
            signal.raise_signal(number)
        steps += 1
        return step(self)

    before = signal.getsignal(number)
    monkeypatch.setattr(Engine, "advance", stepping)
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
    assert signal.getsignal(number) is before


def test_ctrl_c_keeps_the_text_of_unfinished_branches(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Engine.advance

    def stepping(self: Engine) -> object:
        out = step(self)
        kinds = [event.kind for event in self.events]
        if kinds.count("forked") and kinds[kinds.index("forked") :].count("decoded") > 20:
            signal.raise_signal(signal.SIGINT)
        return out

    monkeypatch.setattr(Engine, "advance", stepping)
    report = parse(run("compare", "--json")[1])
    threads = report["fork"]["branches"]
    assert report["interrupted"] and not report["joins"] and report["sequential"] is None
    assert "aborted" in {thread["finish"] for thread in threads}
    assert all(thread["tokens"] and thread["text"] for thread in threads)
    assert report["total_tokens"] > sum(thread["tokens"] for thread in threads) > 20


# Stops in the middle of a run until it is told to go on: the signal is then there before the next step begins.
DRIVER = """
import sys
from miniapr.engine.engine import Engine
from miniapr.cli import main
step, steps = Engine.advance, 0
def stepping(self):
    global steps
    steps += 1
    if steps == 30:
        print("ready", file=sys.stderr, flush=True)
        sys.stdin.readline()
    return step(self)
Engine.advance = stepping
sys.exit(main(sys.argv[1:]))
"""


def start_driver(*words: object) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", DRIVER, *map(str, words)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stderr is not None and child.stderr.readline() == "ready\n"
    return child


def test_sigint_from_outside(endless: Path) -> None:
    child = start_driver("compare", "--json", "--model", endless, "--max-tokens", 4000)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate("go on\n")
    assert child.returncode == 130 and err == ""
    report = parse(out)
    check_shape(report)
    assert report["interrupted"] and report["model"]["wrote"]


def test_second_sigint_kills(endless: Path) -> None:
    child = start_driver("compare", "--model", endless, "--max-tokens", 4000)
    while child.poll() is None:  # until the first one has been noticed, another may melt into it
        child.send_signal(signal.SIGINT)
        try:
            child.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            continue
    assert child.returncode == -signal.SIGINT
    child.communicate()
