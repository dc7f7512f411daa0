"""How a model with roles is examined."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from miniapr.cli import main
from miniapr.examine.apart import apart_figures
from miniapr.examine.figures import Examined, drawn, figures
from miniapr.examine.shares import quotient, share
from miniapr.examine.sorting import _row, sorting_figures
from miniapr.methods.outcome import Costs, Outcome
from miniapr.tasks import roles
from miniapr.tasks.countdown import Problem, Ranges, split_of
from miniapr.tasks.states import State
from miniapr.tasks.vocabulary import Vocabulary
from miniapr.tasks.words import build_tokenizer
from miniapr.train.config import TrainConfig
from miniapr.train.export import export
from miniapr.train.roles import Recipe, Roles, Shares
from miniapr.train.sft import train

SIZES = {"hidden_size": 16, "intermediate_size": 24, "layers": 1, "heads": 2}
TINY = TrainConfig(tokens=60_000, batch_tokens=600, chunk_size=8, roles=Recipe(), **SIZES)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("untrained")
    export(train(TINY, folder, say=lambda _: None, stop_after=1), folder, "a test")
    return folder


@pytest.mark.parametrize(
    ("right", "wrong", "low", "high"), [(50, 50, 0.4038, 0.5962), (10, 0, 0.7225, 1.0), (0, 10, 0.0, 0.2775)]
)
def test_an_interval_is_wilsons(right: int, wrong: int, low: float, high: float) -> None:
    found = share([True] * right + [False] * wrong)
    assert found is not None
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=2e-4)
    assert found["n"] == right + wrong and found["share"] == right / (right + wrong)


def test_of_nothing_there_is_no_share() -> None:
    assert share([]) is None


def test_a_quotient_is_of_sums_and_its_interval_of_what_scatters() -> None:
    assert quotient([2, 4, 6], [4, 8, 12]) == {"ratio": 0.5, "low": 0.5, "high": 0.5, "n": 3}
    mean = quotient([0.0, 1.0] * 50, [1] * 100)  # standard error .5 / sqrt(99)
    assert mean is not None and mean["ratio"] == 0.5 and mean["high"] == pytest.approx(0.5 + 1.96 * 0.05025, abs=1e-3)
    assert quotient([1], [2]) is None


def test_problems_are_distinct_held_out_and_seeded() -> None:
    problems = drawn(20, "sets", 1, Ranges())
    assert problems == drawn(20, "sets", 1, Ranges()) != drawn(20, "sets", 2, Ranges())
    assert len(set(problems)) == 20
    assert all(split_of(Problem(problem.numbers, problem.target)) == "sets" for problem in problems)
    with pytest.raises(ValueError, match="pairs"):
        drawn(10, "pairs", 1, Ranges(2, 1, 6, 1, 30))


def test_a_model_that_knows_nothing_gets_figures_in_every_role(untrained: Path) -> None:
    report = figures(untrained, count=2, longest=12)
    assert json.loads(json.dumps(report)) == report
    assert {"adaptive", "chain", "value", "propose", "spawn"} < report.keys()
    assert report["adaptive"]["right"]["stitch"]["share"] == report["chain"]["pass@1"]["ratio"] == 0.0


def test_a_model_that_sorts_gets_figures_by_length_and_level(tmp_path: Path) -> None:
    shares = Shares(**{role: float(role in ("sort", "merge")) for role in asdict(Shares())})
    export(train(replace(TINY, roles=Recipe(shares)), tmp_path, say=lambda _: None, stop_after=1), tmp_path, "a test")
    parts = sorting_figures(tmp_path, count=2, lengths=(8, 16))
    report = {name: make() for name, make in parts.items()}
    assert list(report["8 numbers"]) == ["in line"] and list(report["16 numbers"]) == ["in line", "forked in 1"]
    assert all(row["right"]["share"] == 0 for rows in report.values() for row in rows.values())
    parts = {"asked": lambda: {"lists": 3}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("miniapr.examine.figures.sorting_figures", lambda *asked: parts)
        assert figures(tmp_path, count=3)["asked"] == {"lists": 3}


def test_what_has_no_end_is_wrong_and_counts_in_no_mean() -> None:
    def outcome(answer: str, spent: bool, critical: int) -> Outcome:
        return Outcome(answer, spent=spent, costs=Costs(critical=critical, decoded=60, largest_context=80))

    row = _row([outcome("1 2", False, 40), outcome("2 1", False, 50), outcome("9 " * 99, True, 900)], [(2, 1)] * 3)
    assert row["right"]["share"] == 0.3333 and row["without an end"] == 1
    assert (row["errors"], row["critical path"], row["largest context"], row["tokens"]) == (0.5, 45, 80, 60)
    assert _row([outcome("", True, 9)], [(2, 1)])["critical path"] is None


def test_figures_that_were_cut_short_go_on_where_they_were(untrained: Path, tmp_path: Path) -> None:
    def cut() -> dict[str, int]:
        raise KeyboardInterrupt

    file, made = tmp_path / "figures.json", {"one": lambda: {"n": 1}, "two": cut}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("miniapr.examine.figures._by_role", lambda *asked: made)
        with pytest.raises(KeyboardInterrupt):
            figures(untrained, count=3, kept=file)
        made |= {"one": cut, "two": lambda: {"n": 2}}
        report = figures(untrained, count=3, kept=file)
        assert (report["one"], report["two"]) == ({"n": 1}, {"n": 2})
        assert json.loads(file.read_text()) == report == figures(untrained, count=3, kept=file)
        with pytest.raises(ValueError, match="others than"):
            figures(untrained, count=4, kept=file)


def test_evaluating_a_model_gives_the_figures_of_each_split(
    untrained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[int, str, int]] = []

    def stand_in(folder: Path, count: int, split: str, seed: int) -> dict[str, int]:
        asked.append((count, split, seed))
        return {"problems": count}

    monkeypatch.setattr("miniapr.examine.figures.figures", stand_in)
    assert main(["evaluate", str(untrained), "--pairs", "3", "--sets", "2", "--seed", "4"]) == 0
    assert asked == [(3, "pairs", 4), (2, "sets", 4)]
    told = json.loads(capsys.readouterr().out)
    assert told == {"seed": 4, "pairs": {"problems": 3}, "sets": {"problems": 2}}


class Perfect(Examined):
    """It writes what the demonstrations say, so every figure must be full: the measure's own control."""

    def greedy(self, prompts):  # type: ignore[no-untyped-def]
        vocabulary = Vocabulary(build_tokenizer())
        texts = []
        for prompt in prompts:
            words = vocabulary.decode(prompt).split()
            arrow = words.index("->")
            state = State(tuple(map(int, words[2:arrow])), int(words[arrow + 1]))
            texts.append(self.said(words[1], state))
        return texts

    def said(self, role: str, state: State) -> str:
        make = {"<value>": roles.value, "<propose>": lambda s: roles.propose(s, roles.Teacher(), random.Random(0))}
        return " ".join(make[role](state).written)


def test_a_perfect_judge_is_found_to_be_perfect(untrained: Path) -> None:
    model, problems = Perfect(untrained), drawn(30, "pairs", 0, Ranges())
    report = model.value(problems, random.Random(0))
    for row in report.values():
        assert row["right"]["share"] == 1.0 == row["never, of those that cannot"]["share"]
        assert row["never, of those that can"]["share"] == 0.0
    assert model.propose(problems)["one leads to the target"]["share"] > 0.5


def test_roles_whose_parts_are_written_apart_are_measured_by_their_methods(tmp_path: Path) -> None:
    shares = Shares(organizer=0.5, outline=0.5)
    export(train(replace(TINY, roles=Recipe(shares)), tmp_path, say=lambda _: None, stop_after=1), tmp_path, "a test")
    made = {name: make() for name, make in apart_figures(tmp_path, drawn(2, "pairs", 0, Ranges()), tokens=30).items()}
    assert {*made} == {"organizer", "outline"} < {*Roles(Recipe(shares)).about["roles"]}
    for told in made.values():
        assert told["right"]["n"] == 2 and 0 < told["decoded"] <= 30 and told["branches"] >= 1


def test_a_model_without_such_roles_has_no_such_figures(untrained: Path) -> None:
    assert apart_figures(untrained, []) == {}
