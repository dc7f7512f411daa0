"""Figures that a chapter quotes and does not compute: they are those of the committed results."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).parents[1]


def chapter(name: str) -> str:
    """Its text as one line, without the marks of comments."""
    lines = (ROOT / "tutorials" / f"{name}.py").read_text(encoding="utf-8").splitlines()
    return " ".join(" ".join(line.removeprefix("#") for line in lines).split())


def result(file: str) -> Any:
    return json.loads((ROOT / "docs" / file).read_text(encoding="utf-8"))


def percent(share: float) -> str:
    return f"{100 * share:.0f}"


def measured(share: dict[str, Any]) -> str:
    return f"({percent(share['low'])}-{percent(share['high'])})"


def test_training_for_one_join() -> None:
    table = result("training/table.json")["table"]
    joins = ("stitch", "reprefill", "stitch_contiguous")
    rows = {name: tuple(round(100 * table[name][join]["mean"], 1) for join in joins) for name in table}
    text = chapter("13_teaching_it")
    for name, told in {"stitch": "stitch", "reprefill": "re-prefill", "both": "both in turn"}.items():
        assert f'"{told}": {rows[name]}' in text


def test_a_model_trained_to_the_end_for_the_stitch() -> None:
    found = {arm: result(f"lab/shift/{arm}-0.json")["found"] for arm in ("coin", "coin-then-longer-change")}
    stitch, again = (found["coin"][join]["right"] for join in ("stitch", "reprefill"))
    text = chapter("13_teaching_it")
    told = f"is right in {percent(stitch['share'])} % of {stitch['n']} hard problems {measured(stitch)} after a stitch"
    assert f"{told}, and in {percent(again['share'])} % {measured(again)} after a re-prefill" in text
    regained = found["coin-then-longer-change"]["reprefill"]["right"]["share"] - again["share"]
    assert f"brought back {percent(regained / (stitch['share'] - again['share']))} % of the loss" in text


def test_two_rewards_on_countdown() -> None:
    def forked(arm: str, kind: str, seeds: int = 2) -> str:
        runs = [result(f"lab/gate/{arm}-{seed}.json")["found"][kind]["forked"] for seed in range(seeds)]
        assert {run["n"] for run in runs} == {400}
        return percent(mean(run["share"] for run in runs))

    text = chapter("14_rewarding_it")
    assert f"forked {forked('ratio', 'hard')} % of the hard and {forked('ratio', 'easy')} % of the easy" in text
    assert f"the relative reward {forked('relative', 'hard')} % and {forked('relative', 'easy')} %" in text
    apart = [forked("lean-more-usual", kind, 3) for kind in ("hard", "easy")]
    assert f"three seeds forked {apart[0]} % of the hard and {apart[1]} % of the easy" in text
