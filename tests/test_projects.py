"""Open tasks: their starting files are scored, the board keeps what was run and says what was beaten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Run

from miniapr.learn import maze
from miniapr.learn.projects import NAMES, START, Project, Score, join, method, project, reward
from miniapr.methods.table import METHODS
from miniapr.model.decoder import Decoder

ONLY_HITS = """
from miniapr.engine.joins import Merge

def join(parent, branches):
    kept = [branch for branch in branches if "hit" in branch.text.split()] or branches
    view = parent.view + (piece for branch in kept for piece in branch.own)
    return Merge(view, max(branch.position for branch in branches))
"""


@pytest.fixture(scope="module")
def start() -> Decoder:
    return maze.taught(steps=2, batch=4)


@pytest.fixture(autouse=True)
def small(start: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two problems each, and a model that was hardly taught."""
    monkeypatch.setattr(join, "PROBLEMS", 2)
    monkeypatch.setattr(method, "PROBLEMS", 2)
    monkeypatch.setattr(reward, "start", lambda: start)
    for name, few in (("STEPS", 1), ("PROMPTS", 1), ("SAMPLES", 2), ("EXAMINED", 2)):
        monkeypatch.setattr(reward, name, few)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_learner_begins_with_is_scored(name: str) -> None:
    chosen = project(name)
    assert chosen.title and len(chosen.text) > 300 and len(chosen.table) >= 3
    score = chosen.score(START / f"{name}.py")
    assert score == chosen.score(START / f"{name}.py"), "the same file has the same score"
    assert score.cost > 0 and "right" in score.says


def test_a_join_that_reads_less_costs_less(tmp_path: Path) -> None:
    file = tmp_path / "join.py"
    file.write_text(ONLY_HITS, encoding="utf-8")
    chosen = project("join")
    mine, stitch, prefill = chosen.score(file), chosen.table["stitch"](), chosen.table["reprefill"]()
    assert mine.cost < stitch.cost < prefill.cost and "2 of 2 right" in mine.says


@pytest.mark.parametrize(
    ("name", "source", "complaint"),
    [
        ("join", "join = 3", "no function 'join'"),
        ("join", "def join(parent, branches):\n    return parent.view", "gives a Merge"),
        ("join", "1 / 0", "ZeroDivisionError"),
        ("reward", "def reward(rollout, step):\n    return float('nan')", "is paid nan"),
        ("method", "x = 1", "defines no method"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(name: str, source: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(source, encoding="utf-8")
    with pytest.raises(ValueError, match=complaint):
        project(name).score(tmp_path / "mine.py")


def test_nobody_asks_the_verifier() -> None:
    with pytest.raises(ValueError, match="exact verifier"):
        method.score(next(entry for entry in METHODS.values() if "exact" in entry.needs))


def test_the_board(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = iter([7.0, 3.0, 5.0])
    table = {"slow": lambda: Score(9.0, "always"), "quick": lambda: Score(4.0, "mostly")}
    fake = Project("join", "A task", "What to do.", "tokens", table, lambda file: Score(next(costs), "so and so"))
    monkeypatch.setattr("miniapr.learn.board.project", lambda name: fake if name == "join" else project(name))
    monkeypatch.chdir(tmp_path)
    run("learn", "init", ".")
    assert "not tried" in run("learn", "project")[1]
    code, out, _ = run("learn", "project", "join")
    file = tmp_path / "projects" / "join.py"
    assert code == 0 and "What to do." in out and file.read_text(encoding="utf-8") == fake.start

    file.write_text('"""A quick one."""\n', encoding="utf-8")
    assert "Beaten: slow." in run("learn", "project", "join")[1]
    _, out, _ = run("learn", "project", "join")
    assert "Beaten: all of the table; your best before was 7." in out
    assert [line.split()[1] for line in out.splitlines() if "(table)" in line or "A quick one" in line] == [
        "3.00", "4.00", "7.00", "9.00",
    ]  # fmt: skip
    assert "<- now" in run("learn", "project", "join")[1]
    assert "your best: 3 tokens" in run("learn", "project")[1]

    runs = json.loads((tmp_path / "projects.json").read_text(encoding="utf-8"))["projects"]["join"]
    assert [entry["own"] for entry in runs] == [False, False, True, True, True], "the table is scored once"
    assert run("learn", "project", "nothing")[0] == 2
    (tmp_path / "projects.json").write_text("{", encoding="utf-8")
    code, _, err = run("learn", "project", "join")
    assert code == 2 and "could not be read" in err
