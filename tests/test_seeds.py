"""Models of one recipe put together."""

from __future__ import annotations

import json

from benchmarks.seeds import KEPT, PAGE, SHIPPED, SPLITS, cell, page, recipes, shown
from miniapr.model.files import read_json


def model(command: str, share: float) -> dict[str, object]:
    found = {"share": share, "low": 0.0, "high": 1.0, "n": 10}
    return {"provenance": {"command": command}, **{split: {"adaptive": {"forked hard": found}} for split in SPLITS}}


def test_a_recipe_is_what_differs_by_its_seed_alone() -> None:
    kept = {
        "a": model("train sft --out runs/a --seed 1 --tokens 3", 0.1),
        "b": model("train sft --out runs/b --seed 2 --tokens 3", 0.2),
        "c": model("train sft --out runs/c --seed 1 --tokens 4", 0.3),
    }
    assert list(recipes(kept).values()) == [["a", "b"], ["c"]]


def test_of_several_models_the_mean_stands_with_the_least_and_the_most() -> None:
    row = "over 95 % of hard ones forked"
    one, other = model("", 0.5), model("", 0.75)
    assert cell([one], row) == "50.0 / 50.0"
    assert cell([one, other], row) == "62.5 / 62.5 (50.0-75.0)"


def test_runs_that_went_on_are_laid_end_to_end() -> None:
    assert shown([{"tokens": n} for n in (5, 9, 4, 7, 2)]) == [5, 9, 13, 16, 18]


def test_the_page_is_what_the_figures_say() -> None:
    assert PAGE.read_text() == page(json.loads(KEPT.read_text()), read_json(SHIPPED))
