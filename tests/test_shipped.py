"""The models that come with the package: what each says of itself, and that it can do it."""

from __future__ import annotations

from pathlib import Path

import pytest

from miniapr.engine.engine import Engine
from miniapr.examine.figures import Examined, drawn
from miniapr.examine.sorting import sorting_figures
from miniapr.methods.budget import Budget
from miniapr.methods.play import play
from miniapr.methods.table import METHODS
from miniapr.model.bundle import SHIPPED, load, shipped
from miniapr.model.files import read_json
from miniapr.players import game_of
from miniapr.stepper.engine import for_runs, speaker, words
from miniapr.tasks.countdown import Ranges

ROLES = "countdown"


def test_they_are_small_together() -> None:
    assert sum(file.stat().st_size for file in SHIPPED.rglob("*") if file.is_file()) <= 8e6


@pytest.mark.parametrize("name", shipped())
def test_each_says_what_it_was_trained_for_and_by_which_command(name: str) -> None:
    about = load(name).about
    command = about["provenance"]["command"].split()
    assert command[:2] == ["miniapr", "train"] and not Path(command[command.index("--out") + 1]).is_absolute()
    assert about["task"] in ("countdown", "sorting") and set(about["provenance"]) >= {"seed", "tokens", "torch"}


def test_the_model_with_roles_does_on_a_few_problems_what_its_figures_say_of_many() -> None:
    """Loose bounds on 24 problems: a model that lost a role, or a format that changed under it, is far below."""
    model = Examined(SHIPPED / ROLES)
    problems = drawn(24, "pairs", 5, Ranges(**read_json(SHIPPED / ROLES / "miniapr.json")["ranges"]))
    found = model.adaptive(problems)
    for how in ("stitch", "reprefill"):
        assert found["right"][how]["share"] > 0.8, how
    assert model.chain(problems)["pass@16"]["share"] > 0.6
    assert model.spawn(problems)["children right"]["share"] > 0.9


def test_the_model_that_sorts_does_on_a_few_lists_what_its_figures_say_of_many() -> None:
    found = sorting_figures(SHIPPED / "sorting", 16, seed=5, lengths=(16,))["16 numbers"]()
    for how in ("in line", "forked in 1"):
        assert found[how]["errors"] < 1, how
    assert found["forked in 1"]["critical path"] < 0.85 * found["in line"]["critical path"]


@pytest.mark.parametrize("name", ["asyncthink", "apar", "skeleton-of-thought", "skeleton-joined"])
def test_the_organizer_does_on_a_few_problems_what_its_figures_say_of_many(name: str) -> None:
    bundle = load("organizer")
    player, engine = game_of(bundle).player, Engine(bundle.model, bundle.tokenizer, num_blocks=2000, record=False)
    problems = drawn(6, "pairs", 5, Ranges(**bundle.about["ranges"]))
    outcomes = [play(engine, METHODS[name](problem, player, Budget(600)), Budget(600)) for problem in problems]
    assert player.check and all(len(outcome.tree) > 1 for outcome in outcomes if outcome)
    right = [
        player.check(problem, outcome and outcome.answer) for problem, outcome in zip(problems, outcomes, strict=True)
    ]
    assert sum(right) >= 4


def test_a_run_is_by_the_model_that_was_taught_the_role() -> None:
    texts = {
        name: {str(id): text for id, text in enumerate(words(ROLES)) if text == f"<{name}>"}
        for name in ("sort", "chain")
    }
    told = {name: speaker([{"about": {"texts": text}}]) for name, text in texts.items()}
    assert told == {"sort": "sorting", "chain": ROLES}
    assert for_runs([{"about": {"texts": texts["sort"]}}]) == ""  # its lists are no puzzle of the pages
