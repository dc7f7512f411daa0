"""The lab: an experiment runs from nothing to its table, goes on where it stopped, and says what was not reached."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
from command_line import Run as Command

from miniapr.lab import conduct, starts
from miniapr.lab.conduct import Size
from miniapr.lab.experiment import Aim, Arm, Experiment
from miniapr.lab.report import Report, paragraph, table
from miniapr.lab.table import EXPERIMENTS
from miniapr.train.rewards import read_reward
from miniapr.train.rl import RLConfig

TINY = dataclasses.replace(
    starts.SMALL, hidden_size=16, intermediate_size=24, layers=1, heads=2, batch_tokens=600, chunk_size=32
)
FEW = {"counts": (2,), "prompts": 2, "samples": 2, "tokens": 30}
TWO = Experiment(
    "two",
    "Somebody says so.",
    (Arm("one", {"reward": "count-threads", **FEW}), Arm("other", {"reward": "correct", **FEW})),
    (Aim("forks", lambda r: r.mean("one", "easy", "forked"), 2.0), Aim("width", lambda r: math.nan, 0.0)),
    steps=1,
)


def figures(right: float, width: float | None, n: int = 400) -> dict[str, Any]:
    share = {"share": right, "low": right - 0.05, "high": right + 0.05, "n": n}
    return {"right": share, "forked": share, "width": width, "critical": 30.0, "tokens": 50.0}


def test_a_report_has_means_over_seeds_their_range_and_the_interval_of_a_single_run() -> None:
    report = Report({"coin": {"hard": figures(0.5, None)}}, {"one": [{"hard": figures(r, 8.0)} for r in (0.7, 0.9)]})
    assert report.mean("one", "hard", "right") == pytest.approx(0.8) and math.isnan(
        report.before("coin", "hard", "width")
    )
    lines = table(report).splitlines()
    assert lines[2] == "| before: coin | hard | 50 (45-55) | 50 (45-55) | - | 30.0 | 50.0 | 1 |"
    assert lines[3] == "| one | hard | 80 (70-90) | 80 (70-90) | 8.0 | 30.0 | 50.0 | 2 |"
    said = paragraph(dataclasses.replace(TWO, aims=(Aim("it", lambda r: r.mean("one", "hard", "right"), 0.9),)), report)
    assert said.endswith("- it: 80%, aimed at 90% or more: missed")


def test_an_experiment_runs_to_its_table_and_nothing_is_done_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starts, "SMALL", TINY)
    size, said = Size(seeds=2, tokens=3000, count=4), list[str]()
    report = conduct.conduct(TWO, tmp_path / "two", tmp_path / "starts", size, say=said.append)
    text = (tmp_path / "two" / "README.md").read_text()
    assert "aimed at 200% or more: missed" in text and "width: the runs do not tell" in text and table(report) in text
    assert (tmp_path / "two" / "curves.png").exists()
    made = json.loads((tmp_path / "two" / "one-1.json").read_text())
    assert made["found"]["hard"]["right"]["n"] == 4 and len(made["curve"]) == 1 and made["machine"] and made["torch"]
    monkeypatch.setattr(conduct, "train", None)  # whatever is done again fails
    assert conduct.conduct(TWO, tmp_path / "two", tmp_path / "starts", size, say=said.append) == report


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_sound(name: str) -> None:
    experiment = EXPERIMENTS[name]
    for arm in experiment.arms:
        work = conduct.Work(arm, 0, 1, Path(), Path(), experiment.kinds, 1)
        assert pickle.loads(pickle.dumps(work)) == work  # what another process is told
        config = RLConfig("", **arm.options)
        assert read_reward(config.reward) and arm.start in starts.TEACHERS
    before, after = ({kind: figures(right, 8.0) for kind in ("easy", "hard", "forced")} for right in (0.5, 0.6))
    report = Report(dict.fromkeys(starts.TEACHERS, before), {arm.name: [after] for arm in experiment.arms})
    assert "do not tell" not in paragraph(experiment, report)


def test_the_command_lists_and_says_what_is_wrong(run: Command, tmp_path: Path) -> None:
    code, out, _ = run("lab")
    assert code == 0 and all(name in out for name in EXPERIMENTS)
    for words, said in (
        (("nothing",), "no experiment"),
        (("gate", "--seeds=0"), "--seeds"),
        (("gate", "--jobs=0"), "--jobs"),
    ):
        code, _, err = run("lab", *words, "--out", tmp_path)
        assert code == 2 and said in err and not list(tmp_path.iterdir())
