"""What is drawn, told and found: from events, programs and installations."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.colors
import matplotlib.image
import pytest
from bundles import write_nonsense
from rich.console import Console

import miniapr
from miniapr.cli import main
from miniapr.interrupt import Interrupt
from miniapr.model import bundle
from miniapr.players import game_of
from miniapr.show import plot
from miniapr.show.report import Report, spent_until_first_answer
from miniapr.show.run import Options, Run
from miniapr.show.stepper import Stepper, ranges
from miniapr.show.text import print_report
from miniapr.show.words import see_cost, see_joins
from miniapr.tasks.countdown import Problem

PROBLEM = Problem((3, 7, 8), 29)


@pytest.fixture(scope="module")
def shipped() -> bundle.Bundle:
    return bundle.load()


@pytest.fixture(scope="module")
def report(shipped: bundle.Bundle) -> Report:
    return Run(shipped, game_of(shipped), PROBLEM, Options()).execute()


def printed(report: Report, width: int, **options: Any) -> str:
    out = StringIO()
    print_report(report, Console(file=out, width=width, highlight=False, **options))
    return out.getvalue()


# Tables and sentences


@pytest.mark.parametrize("width", [80, 100, 140, 200])
def test_tables_fit_and_say_everything(report: Report, width: int) -> None:
    text = printed(report, width)
    assert max(map(len, text.splitlines())) <= width
    words = text.split()
    for joined in report.comparison.joins.values():
        for number in (joined.position, joined.tokens_recomputed, joined.tokens_reused, joined.keys_shifted):
            assert str(number) in words
    for thread in report.comparison.threads:
        label = thread.seed.removeprefix("<thread> ")
        gloss = report.gloss(label)
        assert gloss is not None and f"{label} ({gloss.short})" in text, "a step stands beside what it does"
    assert "(a+b 15 3: the sum of the first and the second number left, 8 + 7 = 15; 3 is left)" in " ".join(words)


def test_colours_only_where_they_are_wanted(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" not in printed(report, 80)
    assert "\x1b[1;32m" in printed(report, 80, force_terminal=True, color_system="standard")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[1;32m" not in printed(report, 80, force_terminal=True, color_system="standard")


def test_sentences_follow_the_numbers(report: Report) -> None:
    said = " ".join(see_joins(report))
    again = report.comparison.joins["reprefill"]
    assert f"recomputed {again.tokens_recomputed} " in said and "All 4 joins" in said
    changed = dataclasses.replace(again, tokens_recomputed=12345, text="miss <eos>")
    joins = {**report.comparison.joins, "reprefill": changed}
    other = dataclasses.replace(report, comparison=dataclasses.replace(report.comparison, joins=joins))
    said = " ".join(see_joins(other))
    assert "12345" in said and "3 of 4" in said
    assert report.sequential is not None
    spent = spent_until_first_answer(report.events)
    assert (
        str(report.sequential.critical_path) in see_cost(report, spent)[0]
        and str(spent.steps) in see_cost(report, spent)[0]
    )


def test_nothing_is_claimed_of_wrong_answers(report: Report) -> None:
    assert report.sequential is not None
    line = dataclasses.replace(report.sequential, text="hit a+b a+b <eos>")
    said = " ".join(see_cost(dataclasses.replace(report, sequential=line), spent_until_first_answer(report.events)))
    assert "times" not in said and "Only the fork led to a correct answer" in said


def test_numbers_that_are_not_finite_become_null(report: Report) -> None:
    joins = {**report.comparison.joins}
    joins["stitch"] = dataclasses.replace(joins["stitch"], kl_to_reprefill=float("nan"), seconds=float("inf"))
    other = dataclasses.replace(report, comparison=dataclasses.replace(report.comparison, joins=joins))
    found = json.loads(other.as_json())["joins"]["stitch"]
    assert found["kl_to_reprefill"] is None and found["seconds"] is None


def test_first_answer_is_cheaper_than_the_whole(report: Report) -> None:
    spent = spent_until_first_answer(report.events)
    passes = sum(event.kind == "step" for event in report.events)
    assert report.comparison.critical_path <= spent.steps < passes
    assert spent.seconds > 0


# The picture


def test_timeline_is_what_happened(report: Report) -> None:
    made = plot.timeline(report.events)
    lanes = {lane.branch: lane for lane in made.lanes}
    (fork,) = made.forks
    assert list(fork[2]) == [thread.id for thread in report.comparison.threads]
    for thread in report.comparison.threads:
        bars = lanes[thread.id].bars
        assert sum(bar.tokens for bar in bars if bar.kind == "decode") == thread.tokens
        assert min(bar.step for bar in bars) >= fork[0]
    joins = [(how, lane) for lane in made.lanes for _, how, _ in lane.joins]
    assert [how for how, _ in joins] == list(report.comparison.joins)
    for how, lane in joins:
        again = sum(bar.tokens for bar in lane.bars if bar.kind == "again")
        assert again == report.comparison.joins[how].tokens_recomputed
    assert made.passes == sum(event.kind == "step" for event in report.events)


def test_timeline_makes_nobody_wait_for_what_he_does_not_depend_on(report: Report) -> None:
    """The joins begin side by side, and so do the two thoughts: or forking looks slow."""
    made = plot.timeline(report.events)
    joined = {lane.joins[0][0] - lane.wait for lane in made.lanes if lane.joins}
    roots = [lane for lane in made.lanes if lane.parent is None and not lane.joins]
    assert len(joined) == 1 and [lane.bars[0].step - lane.wait for lane in roots] == [0, 0]
    assert sum(lane.wait > 0 for lane in made.lanes) == len(report.comparison.joins)  # all joins but one, and the line


def test_picture_shows_bars(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    plot.plot(report.events, path, title="a [title] with $signs")
    image = matplotlib.image.imread(path)
    assert image.shape[0] > 300 and image.shape[1] > 800
    for colour in plot.COLOURS.values():
        wanted = matplotlib.colors.to_rgb(colour)
        near = (abs(image[..., :3] - wanted) < 0.02).all(-1).sum()
        assert near > 50, f"nothing drawn in {colour}"


def test_picture_of_nothing(tmp_path: Path) -> None:
    plot.plot([], tmp_path / "empty.png")
    assert (tmp_path / "empty.png").read_bytes().startswith(b"\x89PNG")


def test_runs() -> None:
    assert plot.runs([]) == []
    assert plot.runs([3, 4, 5, 9]) == [(3, 3), (9, 1)]


# One operation at a time


def stepped(shipped: bundle.Bundle, ask: Callable[[str], str]) -> tuple[Report, str, Run]:
    out = StringIO()
    guide = Stepper(Interrupt(), Console(file=out, width=100, highlight=False), ask)
    run = Run(shipped, game_of(shipped), PROBLEM, Options())
    return run.execute(guide=guide), out.getvalue(), run


def untimed(report: Report) -> dict[str, Any]:
    found = report.as_dict()
    for part in (*found["joins"].values(), found["sequential"]):
        del part["seconds"]
    return found


def test_stepping_changes_nothing_and_tells_everything(shipped: bundle.Bundle, report: Report) -> None:
    asked = []
    other, text, _ = stepped(shipped, lambda question: asked.append(question) or "")
    assert untimed(other) == untimed(report)
    assert len(asked) > 15
    for words in ("Start", "Fork branch 0 into", "All: ", "stitch_contiguous", "readers", "s0[0:"):
        assert words in text
    moved = [piece for piece in text.split() if piece.startswith("s") and "]+" in piece]
    assert moved, "the shifts of contiguous positions are shown"


def test_problems_beyond_what_was_trained_are_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--numbers", "3", "7", "40", "--target", "50"]) == 0
    assert "was trained for 3 numbers of 1 to 20" in capsys.readouterr().err


def test_what_is_no_answer_executes_no_step(shipped: bundle.Bundle) -> None:
    answers = iter(["?", "help", "?", "q"])
    other, text, _ = stepped(shipped, lambda _: next(answers))
    assert other.interrupted and other.comparison.before == "" and text.count("c goes on to the end without") == 3


def test_quitting_and_going_on(shipped: bundle.Bundle, report: Report) -> None:
    answers = iter(["", "", "", "q"])
    other, _, run = stepped(shipped, lambda _: next(answers))
    assert other.interrupted and other.comparison.fork_position is not None and not other.comparison.joins
    run.engine.check()
    assert run.engine.kv.available == len(run.engine.pool)
    answers = iter(["", "c"])
    other, _, _ = stepped(shipped, lambda _: next(answers))
    assert untimed(other) == untimed(report)


@pytest.mark.parametrize("error", [KeyboardInterrupt, EOFError])
def test_ctrl_c_at_the_question_quits(shipped: bundle.Bundle, error: type[BaseException]) -> None:
    def ask(_: str) -> str:
        raise error

    other, _, run = stepped(shipped, ask)
    assert other.interrupted
    run.engine.check()


def test_waiting_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("miniapr.show.stepper.time", SimpleNamespace(perf_counter=lambda: now[0]))

    def ask(_: str) -> str:
        now[0] += 100
        return ""

    guide = Stepper(Interrupt(), Console(file=StringIO()), ask)
    pause = guide._at(None)
    monkeypatch.setattr(guide, "_show", lambda *_: bool(ask("")))
    guide.follow(None, None, lambda: False)()  # type: ignore[arg-type]
    assert pause.passed and guide.clock() == 0 and now == [100.0]


def test_step_without_a_terminal_just_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO("q\n"))
    assert main(["compare", "--step"]) == 0
    out = capsys.readouterr().out
    assert "The program is over" in out and "sequential" in out


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are of Unix")
def test_step_on_a_terminal(tmp_path: Path) -> None:
    import pty

    folder = write_nonsense(tmp_path, loudness=-3.0)
    master, slave = pty.openpty()
    words = ["compare", "--step", "--model", str(folder), "--max-tokens", "3"]
    child = subprocess.Popen(
        [sys.executable, "-m", "miniapr", *words],
        cwd=Path(miniapr.__file__).parents[1],
        stdin=slave,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(slave)
    os.write(master, b"\nq\n")
    out, err = child.communicate()
    os.close(master)
    assert child.returncode == 0 and err == ""
    assert "2. Decode branch 0" in out and "3. " not in out and "Stopped early" in out


def test_ranges_in_words() -> None:
    assert ranges([5, 3, 4, 9]) == "3-5 9"
