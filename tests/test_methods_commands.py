"""`miniapr methods`, `think` and `race`: what they print and write, what they refuse, and a method of one's own."""

from __future__ import annotations

import inspect
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import Run, parse
from hypothesis import given
from hypothesis import strategies as st
from scripted import Scripted
from test_methods_players import nonsense, talker  # noqa: F401
from test_methods_sampled import player_of, script

from miniapr.cli import parser_for
from miniapr.engine.engine import Engine
from miniapr.methods.budget import Budget
from miniapr.methods.method import Method
from miniapr.methods.outcome import Costs, Outcome, Thought
from miniapr.methods.race import Row, entry, frontier, race, wilson
from miniapr.methods.table import BASELINES, METHODS
from miniapr.model.bundle import Bundle, load
from miniapr.players import game_of
from miniapr.show import race as race_command
from miniapr.show.think import show
from miniapr.stepper import Trace
from miniapr.tasks.states import State

PLAYED = (*BASELINES, "early-cancel", "deepconf", "deepconf-online", "multiverse", "threadweaver", "npr")

DOCS = Path(__file__).parents[1] / "docs"
SOURCE = Path(inspect.getfile(Method)).parent
OWN, PRUNE, *_ = re.findall(r"```python\n(.*?)```", DOCS.joinpath("methods.md").read_text("utf-8"), re.DOTALL)


def test_methods_lists_all_with_what_they_are(run: Run) -> None:
    code, out, _ = run("methods", "--json")
    rows = json.loads(out)
    assert code == 0 and [row["name"] for row in rows] == list(METHODS)
    assert {"name", "needs", "join", "paper", "where", "about", "options"} <= rows[0].keys()
    code, out, _ = run("methods")
    lines = out.splitlines()
    assert code == 0 and len(lines) == 2 * len(METHODS) + 4  # two lines each, at 80 columns
    assert max(map(len, lines)) <= 80 and lines[1].split() == ["published", "positions"]
    for number, method in enumerate(METHODS.values()):
        first, second = lines[2 * number + 2 : 2 * number + 4]
        assert first.startswith(f"{method.name} ") and method.joins in first and method.where in first
        assert second.startswith(f"  {method.paper.partition(',')[0] or 'ours'} ")
        assert second.strip().endswith("-" if method.forks == "never" else method.positions)


def test_the_documentation_has_a_row_for_every_method_and_names_its_page() -> None:
    table = DOCS.joinpath("methods.md").read_text("utf-8").partition("## The methods")[2].partition("**Where")[0]
    pages: dict[str, str] = {}
    for row in re.findall(r"^\| `.*\|$", table, re.MULTILINE):
        first, *_, last = row.strip("|").split("|")
        pages |= dict.fromkeys(re.findall(r"`([^`]*)`", first), last)
    assert pages.keys() == METHODS.keys()
    for name, method in METHODS.items():
        page = Path(method.play.__code__.co_filename).relative_to(SOURCE).with_suffix("").as_posix()
        assert f"`{page}`" in pages[name], name


def test_methods_says_all_of_one(run: Run) -> None:
    code, out, _ = run("methods", "apr")
    assert code == 0
    for said in ("Spawn and join", "parent, child, call, control", "levels=1", "from 0", "arXiv 2504.15466"):
        assert said in out
    assert [row["name"] for row in json.loads(run("methods", "apr", "--json")[1])] == ["apr"]
    said = " ".join(run("methods", "deepconf")[1].split())
    assert "window tokens of a sliding mean" in said and "measure of a whole trace: mean, tail, bottom" in said
    code, _, err = run("methods", "telepathy")
    assert code == 2 and "there are sequential" in err and err.count("\n") == 1
    for words in (("methods", "multivers"), ("think", "multivers:width=2")):
        code, _, err = run(*words)
        assert code == 2 and err.endswith("'multivers'; did you mean multiverse?\n")


@pytest.mark.parametrize("name", PLAYED)
def test_think_runs_what_the_shipped_model_plays(run: Run, name: str) -> None:
    code, out, err = run("think", name, "--json", "--budget", 300)
    told = parse(out)
    assert (code, err) == (0, "")
    assert told["costs"]["decoded"] <= 300 and told["costs"]["critical"] <= told["costs"]["decoded"]
    assert told["problem"] == "8 7 3 -> 29" and told["correct"] in (True, False)
    assert sum(thought["decoded"] for thought in told["tree"]) == told["costs"]["decoded"]
    assert told["spent"] or told["answer"] or name in ("npr", "sequential")  # what they look at is not what hits


def test_think_shows_the_tree_the_answer_and_the_costs(run: Run, tmp_path: Path) -> None:
    trace = tmp_path / "trace.json"
    code, out, _ = run("think", "multiverse", "--trace", trace, "--html", tmp_path / "page.html")
    assert code == 0 and "multiverse: 8 7 3 -&gt; 29" in (tmp_path / "page.html").read_text()
    for words in ("8 7 3 -> 29", "joined 1, 2", "( 7 * 3 ) + 8", "correct", "critical"):
        assert words in " ".join(out.split())
    assert Trace.load(trace).runs[0]["outcome"] == {
        "answer": "( 7 * 3 ) + 8", "verdict": "correct", "right": True, "judge": ""
    }  # fmt: skip
    kinds = [event["kind"] for event in Trace.load(trace).runs[0]["events"]]
    assert kinds.count("joined") == 1


def test_the_tree_names_those_who_were_released_before_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    ends = ("ended", "released", "joined", "ended")
    tree = tuple(Thought(i, 0 if i else None, f"wrote {i}", 3, end) for i, end in enumerate(ends))
    show(entry("best-of-n", METHODS), game_of(load()), State((8, 7, 3), 29), Outcome("( 7 * 3 ) + 8", tree=tree))
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in said if "wrote" in line] == ["0", "released", "2", "3"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["think", "telepathy"], "no method is called 'telepathy'"),
        (["think", "best-of-n:judge"], "is no option=value"),
        (["think", "best-of-n:height=3"], "its options are width, judge"),
        (["think", "best-of-n:width=many"], "width of best-of-n is int"),
        (["think", "graph-of-thoughts"], "countdown does not play merge, sort, split, which graph-of-thoughts needs; "),
        (["think", "graph-of-thoughts"], "the model sorting does: --task sorting"),
        (["race", "--methods", "graph-of-thoughts"], "the model sorting does: --task sorting"),
        (["think", "apar", "--model", "countdown"], "the model organizer does: --model organizer"),
        (["think", "graph-of-thoughts", "--model", "countdown"], "does: --model sorting --task sorting"),
        (["think", "npr", "--task", "sorting", "--target", "4"], "a list that is sorted has no --target"),
        (["think", "npr", "--task", "sorting", "--levels", "9"], "0 to 3 levels above 8, got 9"),
        (["think", "npr", "--task", "sorting", "--numbers", "500", "3"], "no token '500'"),
        (["think", "graph-of-thoughts:improve=1", "--task", "sorting"], "sorting does not play improve"),
        (["think", "multiverse:join=foo"], "join of multiverse is one of stitch, stitch_contiguous"),
        (["think", "deepconf-online", "--width", "60"], "width + more 76, the budget's limit on width is 64"),
        (["think", "group-think:thoughts=100000"], "the model sees 4096"),
        (["think", "hogwild:reserve=2000"], "keep 2000 tokens for its end, the budget has 1000"),
        (["think", "mcts:weight=nan"], "weight of mcts must be at least 0 and finite, is nan"),
        (["think", "sequential", "--width", "5"], "sequential has no width to be set by --width 5"),
        (["think", "best-of-n:width=3", "--width", "5"], "says one width and --width 5 another"),
        (["think", "sequential", "--levels", "2"], "--levels is of sorting, and countdown has none"),
        (["think", "sequential", "--levels", "3", "--model", "countdown"], "--levels is of sorting"),
        (["race", "--levels", "2"], "--levels is of sorting, and countdown has none"),
        (["race", "--numbers", "3", "7", "--target", "21", "--count", "4"], "are drawn: this one is given"),
        (["think", "best-of-n", "--width", "65"], "limit on width is 64"),
        (["think", "sequential", "--budget", "-1"], "must not be negative"),
        (["think", "sequential", "--prompt", "hello"], "plays puzzles"),
        (["think", "sequential", "--numbers", "3", "4"], "--target"),
        (["think", "sequential", "--file", "nowhere.py"], "is no Python file"),
        (["think", "npr", "--task", "sorting", "--model", "countdown"], "not trained for sorting; it was trained for"),
        (["think", "multiverse", "--random", "--count", "5"], "of 2 or 3 or 4 numbers, not of 5"),
        (["think", "multiverse", "--count", "3"], "--random draws one"),
        (["race", "--task", "sorting", "--model", "countdown"], "was not trained for sorting"),
        (["race", "--numbers", "3", "4"], "--target"),
        (["race", "--methods", "apar", "--model", "countdown"], "does not play"),
        (["race", "--problems", "0"], "at least 1"),
        (["race", "--plot", "race.txt"], "a plot's name ends in"),
    ],
)
def test_what_cannot_be_is_said_in_a_line_before_anything_runs(
    run: Run, words: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "advance", lambda self: pytest.fail("it ran"))
    code, out, err = run(*words)
    assert (code, out) == (2, "") and said in err and err.count("\n") == 1


def test_a_question_is_no_puzzle_and_has_no_verifier(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, _ = talker(lambda words: "so")
    bundle = Bundle("chatty", None, engine.words, {}, {})  # type: ignore[arg-type]
    monkeypatch.setattr("miniapr.show.setting.load", lambda name: bundle)
    asked = "--model", "chatty", "--prompt", "Why?"
    code, _, err = run("think", "best-of-n:judge=exact", *asked)
    assert code == 2 and "chatty does not play exact, which judge=exact of best-of-n needs; " in err
    assert err.endswith("judge=value or judge=confidence would do\n")
    for words, said in (
        ("--count 3", "not --count"),
        ("--levels 2", "a question has none"),
        ("--target 0", "--target"),
    ):
        code, _, err = run("think", "sequential", *asked, *words.split())
        assert code == 2 and said in err and err.count("\n") == 1
    code, _, err = run("think", "apr", *asked)
    assert code == 2 and "chatty does not play call" in err and "--model" not in err


def test_levels_that_were_not_given_are_the_usual_ones() -> None:
    for words, levels, told in (([], 3, False), (["--levels", "3"], 3, True), (["--levels", "0"], 0, True)):
        args = parser_for("think").parse_args(["think", "npr", *words])
        assert args.levels == levels and ("levels" in getattr(args, "told", ())) == told


def test_where_the_critical_path_ends_it_that_is_said(run: Run) -> None:
    words = "think", "multiverse", "--critical"
    assert "The budget was spent: there was no answer yet." in run(*words, 0)[1]
    assert parse(run(*words, 3, "--json")[1])["spent"] is True
    assert parse(run(*words, 999, "--json")[1])["spent"] is False


def test_one_error_is_one_error() -> None:
    game = game_of(load("sorting"), task="sorting")
    assert game.verdict and game.verdict((2, 1), "2 1") == "1 error" and game.verdict((3, 2, 1), "3 2 1") == "2 errors"


def test_a_problem_outside_of_what_was_trained_says_so(run: Run) -> None:
    words = ("think", "sequential", "--numbers", 30, 40, 7, "--target", 50, "--budget", 9)
    code, out, _ = run(*words)
    assert code == 0 and "was trained for 3 numbers of 1 to 20 with targets of 1 to 100" in " ".join(out.split())
    assert "this problem lies outside" in str(parse(run(*words, "--json")[1])["outside"])
    assert parse(run("think", "sequential", "--json", "--budget", 9)[1])["outside"] is None


def test_a_list_is_sorted_from_the_command_line(run: Run, monkeypatch: pytest.MonkeyPatch, nonsense: Bundle) -> None:  # noqa: F811
    monkeypatch.setattr("miniapr.show.setting.load", lambda name: nonsense)
    code, out, _ = run("think", "graph-of-thoughts", "--task", "sorting", "--numbers", 3, 1, 2, "--json")
    assert code == 0 and parse(out)["problem"] == "3 1 2" and "to sort 4 to 64" in str(parse(out)["outside"])
    code, out, _ = run("think", "multiverse", "--task", "sorting", "--levels", 2, "--random", "--count", 9)
    assert code == 0 and "<sort> 2 ," in out
    for words, said in (("--target 3", "no --target"), ("--numbers 500", "no token '500'"), ("--levels 4", "0 to 3")):
        code, _, err = run("think", "multiverse", "--task", "sorting", *words.split())
        assert code == 2 and said in err and err.count("\n") == 1
    words = ("race", "--task", "sorting", "--methods", "multiverse", "--problems", 1, "--budget", 50, "--count", 9)
    assert run(*words)[0] == 0
    assert (
        run("race", "--numbers", 3, 7, 8, "--target", 29, "--problems", 1, "--budget", 40, "--methods", "mcts")[0] == 0
    )


def test_without_a_name_the_first_shipped_model_is_taken_that_can(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    nonsense: Bundle,  # noqa: F811
) -> None:
    known = load("countdown")
    usual = replace(known, about={**known.about, "roles": ["sequential", "adaptive", "chain"]})
    monkeypatch.setattr("miniapr.show.setting.shipped", lambda: ["another", "countdown"])
    monkeypatch.setattr("miniapr.show.setting.load", lambda name: usual if name == "countdown" else nonsense)
    for words, model in (("multiverse", "countdown"), ("apr", "nonsense"), ("multiverse --task sorting", "nonsense")):
        code, out, _ = run("think", *words.split(), "--budget", 20)
        assert code == 0 and f"the model {model}" in out.splitlines()[0]
    code, _, err = run("think", "apr", "--model", "countdown")
    assert code == 2 and "does not play call, child, parent" in err
    code, _, err = run("think", "graph-of-thoughts")  # none can: the usual one says why
    assert code == 2 and "the model countdown does not play merge" in err
    code, out, _ = run("race", "--methods", "apr", "--problems", 1, "--budget", 20)
    assert code == 0 and "apr" in out


def test_a_method_of_ones_own_runs_and_races(run: Run, tmp_path: Path) -> None:
    file, table = tmp_path / "own.py", tmp_path / "race.json"
    file.write_text(OWN)
    code, out, _ = run("think", "two-tries:width=3", "--file", file, "--json")
    assert code == 0 and len(parse(out)["candidates"]) == 3
    code, out, _ = run("methods", "two-tries", "--file", file)
    assert code == 0 and "Two tries; the first that has an answer." in out and "width=2" in out
    assert [row["name"] for row in json.loads(run("methods", "--json", "--file", file)[1])] == [*METHODS, "two-tries"]
    code, _, _ = run("race", "--file", file, "--methods", "two-tries", "--problems", 1, "--budget", 60, "--json", table)
    methods = [row["method"] for row in json.loads(table.read_text())["rows"]]
    assert code == 0 and (*methods[:3], methods[-1]) == (*BASELINES, "two-tries")


def test_a_file_is_found_from_the_folder_that_it_is_in(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.py").write_text(PRUNE)
    monkeypatch.chdir(tmp_path)
    for name in ("own.py", "./own.py"):
        code, out, err = run("think", "prune:width=4,keep=2", "--file", name, "--random")
        assert code == 0 and "chosen by confidence" in out, err


@pytest.mark.parametrize(
    "text", ["x = 1", "from miniapr.methods.sequential import *", "raise SystemError('no')", "def (:"]
)
def test_a_file_without_a_method_is_told(run: Run, tmp_path: Path, text: str) -> None:
    file = tmp_path / "own.py"
    file.write_text(text)
    code, _, err = run("think", "sequential", "--file", file)
    assert code == 2 and "own.py" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('joins="select", ', "", "own.py' could not be run: @method('two-tries') must say joins"),
        ('needs=("chain",)', 'needs="chain"', "needs is a tuple, such as ('chain',), not 'chain'"),
        ('"two-tries"', '"sequential"', "own.py' defines sequential, and a method of that name is there already"),
    ],
)
def test_what_is_wrong_with_a_row_is_told(run: Run, tmp_path: Path, old: str, new: str, said: str) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN.replace(old, new))
    for words in (("think", "two-tries"), ("methods",), ("race", "--methods", "two-tries")):
        code, out, err = run(*words, "--file", file)
        assert (code, out) == (2, "") and said in err and err.count("\n") == 1
    file.write_text(OWN + OWN)  # the second is what the name means then
    assert run("methods", "two-tries", "--file", file)[0] == 0


def test_race_prints_and_writes_a_row_a_method(run: Run, tmp_path: Path) -> None:
    table, plot = tmp_path / "race.json", tmp_path / "race.png"
    words = ("--methods", "multiverse", "best-of-n:judge=confidence", "--problems", 2, "--budget", 100, "--width", 2)
    page = tmp_path / "race.html"
    code, out, _ = run("race", *words, "--json", table, "--plot", plot, "--html", page)
    told = json.loads(table.read_text())
    assert code == 0 and "multiverse" in out
    methods = [row["method"] for row in told["rows"]]
    assert (*methods[:3], *methods[-2:]) == (*BASELINES, "multiverse", "best-of-n:judge=confidence")
    for row in told["rows"]:
        assert row["problems"] == 2 and row["decoded"] <= 100 and 0 <= row["low"] <= row["accuracy"] <= row["high"] <= 1
    assert plot.read_bytes().startswith(b"\x89PNG")
    # The page has the same rows, and of the first problem the very run that was counted.
    found = page.read_text()
    traces = json.loads(re.findall(r'id="traces">(.*?)</script>', found)[0])
    for row, trace in zip(told["rows"], traces, strict=True):
        assert f"<th scope=row>{row['method']}</th>" in found and f"<option>{row['method']}</option>" in found
        decoded = sum(event["kind"] == "decoded" for event in trace["runs"][0]["events"])
        assert decoded == row["outcomes"][0]["decoded"]


def test_ctrl_c_leaves_the_rows_that_there_are(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pressed(race_command.Interrupt):
        def __call__(self) -> bool:
            self.requested = True
            return True

    monkeypatch.setattr(race_command, "Interrupt", Pressed)
    code, out, _ = run("race", "--problems", 5, "--budget", 40)
    assert code == race_command.INTERRUPTED and "sequential" in out and "\n1 problem," in out


# Races alone


def test_a_race_gives_all_the_same_problems_and_dice() -> None:
    engine = Scripted(script)
    entries = [entry(words, METHODS) for words in ("self-consistency:width=3", "best-of-n:width=3", "sequential")]
    rows = {row.name: row for row in race(engine, entries, player_of(engine), [1, 2, 3, 4], 0, Budget(50))}
    said = [[c.text for o in rows[name].outcomes for c in o.candidates] for name in rows if name != "sequential"]
    assert said[0] == said[1] and len(set(said[0])) > 1
    assert {row.problems for row in rows.values()} == {4}
    assert rows["best-of-n:width=3"].judge == "exact" and rows["sequential"].judge == "none"
    assert all(o.costs.prefilled == 2 for row in rows.values() for o in row.outcomes)  # nobody finds another's prompt


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_interval_holds_the_share(right: int, wrong: int) -> None:
    low, high = wilson(right, right + wrong)
    assert 0 <= low <= high <= 1
    if right + wrong:
        assert low - 1e-9 <= right / (right + wrong) <= high + 1e-9
    assert wilson(0, 0) == (0.0, 1.0)


def test_the_interval_in_closed_form() -> None:
    assert wilson(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)


def test_the_frontier_is_whoever_nobody_beats() -> None:
    def row(name: str, right: int, decoded: int) -> Row:
        return Row(name, "-", right, [Outcome(None, costs=Costs(decoded=decoded))] * 10)

    rows = [
        row("cheap", 5, 10),
        row("good", 9, 50),
        row("beaten", 4, 20),
        row("also beaten", 9, 60),
        row("never", 0, 1),
    ]
    assert frontier(rows, "decoded") == {"cheap", "good"}
    assert math.isnan(Row("none").accuracy)
