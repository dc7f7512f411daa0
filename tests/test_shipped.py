"""The models that come with the package: what each says of itself, and that it can do it."""

from __future__ import annotations

from pathlib import Path

import pytest

from miniapr.model.bundle import SHIPPED, load, shipped
from miniapr.model.files import read_json
from miniapr.tasks.countdown import Ranges
from miniapr.train.figures import Examined, drawn

ROLES = "countdown-roles"


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
