"""The lab: an experiment runs from nothing to its table, goes on where it stopped, and says what was not reached."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from command_line import Run as Command

from miniapr.lab import arms, conduct, starts
from miniapr.lab.arms import Reinforced, Size, Taught
from miniapr.lab.examine import Sampled
from miniapr.lab.experiment import Aim, Experiment
from miniapr.lab.games import fallen
from miniapr.lab.report import Report
from miniapr.lab.stable import ARMS, correlation, early
from miniapr.lab.table import EXPERIMENTS
from miniapr.lab.tell import paragraph, table
from miniapr.lab.tricks import HOLES, REWARDS, TRICKS, paid, tricks
from miniapr.model.bundle import Bundle
from miniapr.rl.practice import Practice, practice
from miniapr.rl.rewards import read_reward
from miniapr.tasks.countdown import verify
from miniapr.train.saved import difference, usual

TINY = dataclasses.replace(
    starts.SMALL, hidden_size=16, intermediate_size=24, layers=1, heads=2, batch_tokens=600, chunk_size=32
)
START = Taught("tiny", dataclasses.replace(TINY, roles=starts.COIN.config.roles))
FEW = {"counts": (2,), "prompts": 2, "samples": 2, "tokens": 30, "steps": 1}


def short(bundle: Bundle) -> dict[str, Practice]:
    """Who has learned nothing writes to the limit."""
    return {kind: practice(bundle, counts=(count,), tokens=30) for kind, count in (("easy", 2), ("hard", 3))}


TWO = Experiment(
    "two",
    "Somebody says so.",
    (
        START,
        Reinforced("one", {"reward": "count-threads", **FEW}, START),
        Reinforced("other", {"reward": "correct", **FEW}, Taught("taught", START.config, seeded=True)),
    ),
    Sampled(short),
    (Aim("forks", lambda r: r.mean("one", "easy", "forked"), 2.0), Aim("width", lambda r: math.nan, 0.0)),
    lambda: "Known beforehand.",
)


def figures(right: float, width: float | None, n: int = 400) -> dict[str, Any]:
    share = {"share": right, "low": right - 0.05, "high": right + 0.05, "n": n}
    return {"right": share, "forked": share, "width": width, "critical": 30.0, "tokens": 50.0}


def test_a_report_has_means_over_seeds_their_range_and_the_interval_of_a_single_run() -> None:
    report = Report({"coin": [{"hard": figures(0.5, None)}], "one": [{"hard": figures(r, 8.0)} for r in (0.7, 0.9)]})
    assert report.mean("one", "hard", "right") == pytest.approx(0.8)
    assert math.isnan(report.mean("coin", "hard", "width")) and math.isnan(report.mean("coin", "soft", "right"))
    lines = table(report).splitlines()
    assert lines[0] == "|  | problems | right, % | forked, % | width | critical | tokens | seeds |"
    assert lines[2] == "| coin | hard | 50 (45-55) | 50 (45-55) | - | 30.0 | 50.0 | 1 |"
    assert lines[3] == "| one | hard | 80 (70-90) | 80 (70-90) | 8.00 | 30.0 | 50.0 | 2 |"
    nothing = Aim(
        "part of nothing", lambda r: 1 / (r.mean("one", "hard", "right") - r.mean("one", "hard", "right")), 0.5
    )
    assert paragraph(dataclasses.replace(TWO, aims=(nothing,)), report).endswith(
        "part of nothing: the runs do not tell"
    )
    said = paragraph(dataclasses.replace(TWO, aims=(Aim("it", lambda r: r.mean("one", "hard", "right"), 0.9),)), report)
    assert said.endswith("- it: 80%, aimed at 90% or more: missed")


def test_what_others_begin_with_is_made_first() -> None:
    assert [[arm.name for arm in level] for level in TWO.levels] == [["tiny", "taught"], ["one", "other"]]


def test_an_experiment_runs_to_its_table_and_nothing_is_done_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, said = Size(seeds=2, tokens=1000, count=4), list[str]()
    part = conduct.conduct(TWO, tmp_path / "two", tmp_path / "starts", size, say=said.append, only=("tiny",))
    assert list(part.runs) == ["tiny"] and math.isnan(part.mean("one", "easy", "forked"))
    report = conduct.conduct(TWO, tmp_path / "two", tmp_path / "starts", size, say=said.append)
    text = (tmp_path / "two" / "README.md").read_text()
    assert "aimed at 200% or more: missed" in text and "width: the runs do not tell" in text and table(report) in text
    assert text.endswith("Known beforehand.\n") and "miniapr lab two`, 4 held-out problems" in text
    assert len(report.curves["one"][1]) == 1
    assert (tmp_path / "two" / "curves.png").exists() and (tmp_path / "two" / "figures.png").exists()
    assert {name: len(found) for name, found in report.runs.items()} == {"tiny": 1, "one": 2, "other": 2}
    made = json.loads((tmp_path / "two" / "one-1.json").read_text())
    assert (
        made["found"]["hard"]["right"]["n"] == 4
        and len(made["curve"]) == 1
        and made["machine"]
        and made["torch"]
        and "commit" in made
    )
    monkeypatch.setattr(arms, "reinforce", None)  # whatever is done again fails
    monkeypatch.setattr(conduct, "load", None)
    assert conduct.conduct(TWO, tmp_path / "two", tmp_path / "starts", size, say=said.append) == report
    other = dataclasses.replace(size, count=5)
    with pytest.raises(ValueError, match=r"tiny-0\.json was made with count=4, this one has count=5: move it away"):
        conduct.conduct(TWO, tmp_path / "two", tmp_path / "starts", other, say=said.append)
    longer = dataclasses.replace(size, tokens=2000)  # elsewhere, but from the same starts
    with pytest.raises(ValueError, match="tiny was made with tokens=1000, this one has tokens=2000"):
        conduct.conduct(TWO, tmp_path / "else", tmp_path / "starts", longer, say=said.append)
    changed = Reinforced("one", {**FEW, "rate": 0.1}, START)
    with pytest.raises(ValueError, match="one-1 was made with reward=count-threads, this one has reward=correct"):
        changed.make(1, arms.Room(tmp_path / "starts", tmp_path / "two" / "runs", size), said.append)
    rooms = [arms.Room(tmp_path / "new", tmp_path, size, given=tmp_path / given) for given in ("starts", "none")]
    with pytest.raises(ValueError, match=r"tiny was made with tokens=1000, this one has tokens=6000000"):
        START.make(0, rooms[0], said.append)  # what is given is the whole thing
    whole = dataclasses.replace(START, config=dataclasses.replace(START.config, tokens=1000))
    assert whole.make(0, rooms[0], said.append) == str(tmp_path / "starts" / "tiny") and not (tmp_path / "new").exists()
    assert whole.make(0, rooms[1], said.append) == str(tmp_path / "new" / "tiny")  # not there: made, and not there
    assert not (tmp_path / "none").exists()
    (tmp_path / "starts" / "tiny" / "checkpoint.safetensors").unlink()  # then it is a model that was given
    assert START.make(0, arms.Room(tmp_path / "starts", tmp_path, longer), said.append)


@dataclasses.dataclass(frozen=True)
class Inner:
    c: tuple[int, ...] = (1, 2)
    operators: str = "+-"


@dataclasses.dataclass(frozen=True)
class Options:
    a: int
    b: Inner = Inner()
    steps: int = 3


@pytest.mark.parametrize(
    ("theirs", "ours", "said"),
    [
        ({"a": 1, "b": {"c": (1, 2), "operators": "+-"}, "steps": 4}, Options(1), None),
        ({"a": 1, "b": {"c": (1, 2)}}, Options(1), None),  # from before there were others, and as it was done then
        ({"a": 1}, Options(1, Inner((1,))), "by a version that had no b.c, this one has b.c=[1]"),
        ({"a": 1, "b": {"c": [3]}}, Options(1), "with b.c=[3], this one has b.c=[1, 2]"),
        ({}, Options(1), "by a version that had no a, this one has a=1"),  # what has no default was always said
        ({"a": 1, "old": 2}, Options(1), "with old=2, this one has old=None"),
        ({"a": 1, "stepsize": 1}, Options(1), "with stepsize=1, this one has stepsize=None"),
    ],
)
def test_options_differ_by_name_and_a_later_one_only_if_it_is_not_as_usual(
    theirs: dict[str, Any], ours: Options, said: str | None
) -> None:
    assert difference(theirs, dataclasses.asdict(ours), usual(ours), but=("steps",)) == said


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_sound(name: str) -> None:
    experiment, size = EXPERIMENTS[name], Size(count=1)
    for arm in (arm for level in experiment.levels for arm in level):
        work = conduct.Work(arm, 0, arms.Room(Path(), Path(), size), Path(), experiment.examine)
        assert pickle.loads(pickle.dumps(work)) == work  # what another process is told
        if isinstance(arm, Reinforced):
            assert read_reward(arm.config("", 0, size).reward)
    assert len({arm.name for arm in experiment.arms}) == len(experiment.arms)
    value = {"share": 0.5, "low": 0.4, "high": 0.6, "n": 400}
    curves = {arm.name: [[defaultdict(float)]] for arm in experiment.arms}
    report = Report({arm.name: [defaultdict(lambda: defaultdict(lambda: value))] for arm in experiment.arms}, curves)
    for aim in experiment.aims:
        aim.value(report)  # asks for no arm that there is not


def test_what_early_steps_foretell_is_a_correlation_over_all_runs() -> None:
    runs = {arm.name: [{"hard": figures(i / 10, 8.0)}] for i, arm in enumerate(ARMS)}
    steps = [0, 0, 0, 0, 0, 9, 9]  # only the first five count
    curves = {arm.name: [[{"flat": later - i / 10} for later in steps]] for i, arm in enumerate(ARMS)}
    assert early(Report(runs, curves), "flat") == pytest.approx(-1)
    assert math.isnan(correlation([1, 1], [2, 3]))


def test_tricks_are_paid_by_the_letter_and_cured() -> None:
    padded, easy, spam, wrong, cut = (
        {reward: paid(reward, b, right, n) - paid(reward, a, right, n) for reward in REWARDS}
        for a, b, right, n in TRICKS.values()
    )
    assert padded["ratio"] > 0.3 and padded["relative"] == padded["critical-path"] == 0
    assert easy["ratio"] > 0 > easy["relative"] and spam["count-threads"] > 1 > 0 > spam["relative"]
    assert wrong["thread-weaver-readme"] > 0 == wrong["thread-weaver"] and cut["npr-zero"] < 0 == cut["ratio"]
    assert not any(verify(answer, problem).correct for answer, problem in HOLES)
    assert "stops the run" in tricks()


def test_the_command_lists_and_says_what_is_wrong(run: Command, tmp_path: Path) -> None:
    code, out, _ = run("lab")
    assert code == 0 and all(name in out for name in EXPERIMENTS)
    for words, said in (
        (("nothing",), "no experiment"),
        (("gate", "--seeds=0"), "--seeds"),
        (("gate", "--jobs=0"), "--jobs"),
        (("gate", "--arms", "none"), "no arm none; it has"),
    ):
        code, _, err = run("lab", *words, "--out", tmp_path)
        assert code == 2 and said in err and not list(tmp_path.iterdir())


def test_what_has_fallen_is_seen_in_tens_of_steps() -> None:
    up_and_down = [{"forked": value} for value in [0.2] * 10 + [0.8] * 10 + [0.5] * 10 + [9.0] * 3]  # no whole ten
    report = Report({}, {"one": [up_and_down, [{"forked": 0.5}] * 30]})
    assert fallen(report, "one", "forked") == pytest.approx(0.15)  # 0.3 and nothing
    assert fallen(report, "one", "forked", since=10) == pytest.approx(-0.15)
    assert fallen(report, "none", "forked") is None
