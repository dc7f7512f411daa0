"""Every level can be solved, and is not solved by nothing or by what one might try first."""

from __future__ import annotations

import pytest

import miniapr
from miniapr.stepper.level import Level, figure
from miniapr.stepper.levels import LEVELS
from miniapr.stepper.session import Session


@pytest.fixture(scope="module")
def bundle() -> miniapr.Bundle:
    return miniapr.load()


def solved(level: Level, bundle: miniapr.Bundle, *lines: str) -> bool:
    with level.begin(bundle) as session, level.solved(bundle) as goal:
        session.play(*lines)
        conditions = level.check(session, goal)
        assert conditions
        return all(condition.met for condition in conditions)


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.title)
def test_a_level_is_solved_by_its_solution_and_by_nothing_less(level: Level, bundle: miniapr.Bundle) -> None:
    assert solved(level, bundle, *level.solution)
    assert not solved(level, bundle)
    assert level.wrong
    for play in level.wrong:
        assert not solved(level, bundle, *play), play
    assert all(f"`{line.split()[0]}" in " ".join(level.hints) for line in level.solution)


def test_the_same_picture_by_another_way(bundle: miniapr.Bundle) -> None:
    level = next(level for level in LEVELS if level.title == "All in one pass")
    assert solved(level, bundle, "fork 3", "decode 2", "decode 3")
    assert solved(level, bundle, "fork 2", "undo", "fork 3", "decode 5", "undo", "redo")
    assert solved(level, bundle, "fork 3", "branch 1", "decode 5", "undo 2", "decode 5")


def test_figures_tell_joins_apart(bundle: miniapr.Bundle) -> None:
    def joined(how: str) -> object:
        with Session(bundle) as session:
            return figure(session.play("fork 2", "decode 4", f"join {how}"))

    figures = {how: joined(how) for how in ("stitch", "contiguous", "copied", "reprefill")}
    assert figures["contiguous"] == figures["copied"]  # what differs is where the keys lie, not who sees whom
    assert figures["stitch"] != figures["contiguous"] != figures["reprefill"] != figures["stitch"]
