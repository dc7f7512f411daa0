"""Races: who is on the frontier, how wide the baselines are, what is counted, and how it is told."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from command_line import Run
from rich.console import Console
from scripted import Scripted
from test_methods_players import nonsense  # noqa: F401
from test_methods_sampled import player_of, script

from benchmarks import race as published
from miniapr.engine.operations import Decode, Fork, Start
from miniapr.methods.budget import Budget
from miniapr.methods.outcome import Costs, Outcome
from miniapr.methods.play import play
from miniapr.methods.race import FRONTIERS, Row, counted, frontier, reasons, widest
from miniapr.methods.table import BASELINES, METHODS
from miniapr.model.bundle import Bundle, load
from miniapr.players import game_of
from miniapr.show import race as race_command
from miniapr.show.race_page import page
from miniapr.show.race_table import folded, show


def row(name: str, right: int, decoded: int, judge: str = "none", problems: int = 10) -> Row:
    costs = Costs(decoded=decoded, critical=decoded, prefilled=8, resent=64)
    return Row(name, judge, right, [Outcome(None, costs=costs)] * problems)


ROWS = [row("line", 5, 10), row("vote", 9, 50, "vote"), row("told", 9, 40, "exact"), row("told more", 9, 45, "exact")]


# The frontier, in one place


def test_who_was_told_what_is_right_beats_nobody_else() -> None:
    for cost in FRONTIERS:
        assert frontier(ROWS, cost) == {"line", "vote", "told"}
        assert frontier(ROWS[1:], cost) == {"vote", "told"}


def test_all_that_is_shown_of_a_race_has_the_same_frontier() -> None:
    out = Console(record=True, width=100)
    show(ROWS, "numbers by a model", ["That is all."], out)
    lines = out.export_text().splitlines()
    starred = {one.name for one in ROWS if any(line.startswith(f"{one.name} ") and "*" in line for line in lines)}
    found = page(ROWS, {}, "title", "note")
    cells = {one.name: found.partition(f"<th scope=row>{one.name}</th>")[2].partition("</tr>")[0] for one in ROWS}
    assert starred == {name for name, said in cells.items() if " *</td>" in said} == frontier(ROWS, "decoded")


def test_the_published_tables_have_the_frontier_of_every_race() -> None:
    """Their stars are those of the function that draws the pictures."""
    sections = published.PAGE.read_text().split("\n## ")[1:]
    races = json.loads(published.FIGURES.read_text())["races"]
    for section, (name, group) in zip(sections, races.items(), strict=True):
        standing = published.standing(group["rows"])
        cells = {line.split("|")[1].strip(" `"): line.split("|") for line in re.findall(r"^\| `.*", section, re.M)}
        for column, cost in ((5, "decoded"), (6, "critical")):
            assert {who for who, row in cells.items() if "*" in row[column]} == frontier(standing, cost), (name, cost)


# Counts


def test_where_rows_have_run_on_different_problems_it_is_said() -> None:
    assert counted([]) == "0 problems" and counted(ROWS) == "10 problems"
    assert counted([row("a", 1, 1, problems=1)]) == "1 problem"
    assert counted([row("a", 1, 1, problems=2), row("b", 1, 1, problems=1)]) == "1 to 2 problems"


def test_ctrl_c_in_the_second_round_says_how_far_each_came(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Pressed(race_command.Interrupt):
        asked = 0

        def __call__(self) -> bool:
            self.asked += 1
            self.requested = self.asked == len(BASELINES) + 2
            return self.requested

    monkeypatch.setattr(race_command, "Interrupt", Pressed)
    monkeypatch.setattr(race_command, "widest", lambda *_: METHODS["best-of-n"].options["width"])
    file = tmp_path / "race.html"
    code, out, _ = run("race", "--problems", 5, "--budget", 40, "--methods", "sequential", "--html", file)
    assert code == race_command.INTERRUPTED
    for said in (" ".join(out.split()), file.read_text()):
        assert "1 to 2 problems, at most 40 tokens" in said and "Stopped after 5 of 15 runs." in said


def test_what_forks_save_is_what_a_client_sends_less_what_was_computed() -> None:
    engine = Scripted(script)
    player = player_of(engine)
    outcome = engine.play(METHODS["self-consistency"].play, player, width=9)
    assert outcome.costs.saved == 2 * 9 - 2 and Costs(resent=3, prefilled=8).saved == -5
    assert Row("tries", outcomes=[outcome]).as_dict()["saved"] == 16


def test_a_child_that_never_writes_is_reused_but_sent_by_nobody() -> None:
    engine = Scripted(script)

    def silent():  # type: ignore[no-untyped-def]
        root = yield Start(engine.tokenizer.encode("say it"))
        one, *_ = yield Fork(root, 4)
        yield Decode([one], max_tokens=2)
        return Outcome(None)

    outcome = play(engine, silent(), Budget(10))
    assert outcome is not None
    assert (outcome.costs.reused, outcome.costs.resent, outcome.costs.saved) == (2 * 4, 2, 0)


def test_what_was_saved_is_made_of_figures_that_are_older() -> None:
    figures = dict.fromkeys(published.COSTS, 1.0) | {"resent": 64.0, "prefilled": 8.0}
    rows = {"best-of-n": {"judge": "exact", "problems": 10, "right": 5, "lines": 9, **figures}}
    assert "saved" not in rows["best-of-n"] and published.standing(rows)[0].costs["saved"] == 56


# Baselines


@pytest.mark.parametrize(("tokens", "width"), [(0, 1), (2, 1), (20, 6), (191, 63), (192, 64), (1000, 64)])
def test_the_widest_is_the_last_whose_tries_end_within_the_budget(tokens: int, width: int) -> None:
    engine = Scripted(script)  # a try has three words
    assert widest(engine, METHODS["best-of-n"], player_of(engine), [1, 2], Budget(tokens)) == width


def test_a_race_has_baselines_as_wide_as_the_budget_whatever_the_seed(run: Run, tmp_path: Path) -> None:
    told = []
    for seed in (0, 1):
        file = tmp_path / f"{seed}.json"
        words = ("--methods", "sequential", "--problems", 1, "--budget", 100, "--seed", seed, "--json", file)
        assert run("race", *words)[0] == 0
        told.append(json.loads(file.read_text())["rows"])
    names = [[row["method"] for row in rows] for rows in told]
    assert names[0] == names[1]
    wide = [int(name.partition(":width=")[2]) for name in names[0] if ":width=" in name]
    assert names[0] == [*BASELINES, f"self-consistency:width={wide[0]}", f"best-of-n:width={wide[0]}"]
    assert 8 < wide[0] < 25  # tries of countdown have 5 to 9 tokens, and the default is 8 tries
    assert all(row["outcomes"][0]["decoded"] <= 100 for rows in told for row in rows)


def test_a_baseline_that_cannot_be_played_ends_the_race_before_it_begins(run: Run) -> None:
    code, out, err = run("race", "--width", 1000, "--problems", 1)
    assert (code, out) == (2, "") and "self-consistency has width 1000, the budget's limit on width is 64" in err
    assert err.count("\n") == 1


# What is told


PICKY = '''
from miniapr.methods.method import method

def never(problem, player, budget):
    """Never content."""
    raise ValueError("no problem is good enough; think of another one")
    yield

one, two = (method(f"picky-{number}", forks="never", sees="-", joins="-")(never) for number in (1, 2))
'''


def test_what_is_left_out_is_told_with_its_own_reason(run: Run, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(PICKY)
    code, out, _ = run("race", "--file", tmp_path / "own.py", "--problems", 1, "--budget", 10)
    said = " ".join(out.split())
    assert "the budget brought no two tries to their end" in said
    assert code == 0 and "Left out: picky-1, picky-2: no problem is good enough." in said
    assert "Left out: graph-of-thoughts: the model does not play merge, sort, split." in said


def test_reasons_are_grouped_and_short() -> None:
    left = {
        name: f"the model m does not play step, which {name} needs; n does" for name in ("mcts", "tree-of-thoughts")
    }
    assert reasons({**left, "own": "no"}) == {
        "the model does not play step": ["mcts", "tree-of-thoughts"],
        "no": ["own"],
    }


def test_a_race_says_whose_it_is(run: Run, tmp_path: Path, nonsense: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    words = ("race", "--problems", 1, "--budget", 10, "--methods", "sequential")
    assert "countdown by the model countdown" in run(*words)[1].splitlines()[0]
    monkeypatch.setattr("miniapr.show.setting.load", lambda name: nonsense)
    file = tmp_path / "race.json"
    code, out, _ = run(*words, "--task", "sorting", "--levels", 2, "--json", file)
    assert code == 0 and "sorting in 2 levels by the model nonsense" in out.splitlines()[0]
    assert json.loads(file.read_text())["levels"] == 2
    assert game_of(nonsense, task="sorting", levels=1).levels == 1 and game_of(load()).levels is None


def test_a_long_name_is_broken_before_an_option() -> None:
    assert folded("tree-of-thoughts-dfs", 20) == "tree-of-thoughts-dfs"
    assert folded("hogwild:width=4,layout=interleaved", 20) == "hogwild:width=4,\n  layout=interleaved"
    out = Console(record=True, width=80)
    show([row("hogwild:width=4,layout=interleaved", 9, 50), row("vote", 9, 50, "confidence")], "t", [], out)
    lines = [line.rstrip() for line in out.export_text().splitlines()]
    assert lines.count("  layout=interleaved") == 2 and max(map(len, lines)) <= 80
