"""Methods whose branches read each other: ParaThinker at the end, Group Think and Hogwild! word by word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from scripted import Script, Scripted, role
from test_methods_players import talker

from miniapr.methods.admission import Admission
from miniapr.methods.budget import Budget
from miniapr.methods.parathinker import parathinker
from miniapr.methods.player import Player, State
from miniapr.methods.table import METHODS
from miniapr.methods.weaves import group_think, hogwild


def team(script: Script, **options: Any) -> tuple[Scripted, Player]:
    engine = Scripted(script, **options)

    def says(name: str, read: Callable[[Any, str], Any], **more: Any) -> Any:
        def ask(problem: Any, *numbers: str) -> str:
            return f"{name}{'.'.join(numbers)}:" if numbers else f"{problem} {name}"

        return role(engine, ask, read, **more)

    def text(problem: Any, said: str) -> str | None:
        return said or None

    def step(problem: Any, said: str) -> State:
        return State(said, "found" in said, said.partition("found ")[2] or None)

    roles = {name: says(name, text) for name in ("path", "thinker", "summary", "nudge", "finish")}
    return engine, Player("a team", {**roles, "teammate": says("teammate", step)})


# ParaThinker


def test_paths_begin_by_a_word_of_their_own_and_a_summary_reads_them_all() -> None:
    def script(words: list[str]) -> str:
        if "summary" in words:
            return "." if words[-1] == "so" else "so"
        return {"path1:": "a", "path2:": "b", "b": "bb"}.get(words[-1], ".")

    engine, player = team(script)
    outcome = engine.play(parathinker, player, problem="p", width=2)
    assert outcome.answer == "so" and not outcome.spent
    assert "p path path2: b bb" in engine.read  # no path sees another
    assert "p path path1: a . path2: b bb . p summary" in engine.read
    (joined,) = [event for event in engine.events if event.kind == "joined"]
    fork = 2
    assert joined.data["how"] == "stitch" and joined.data["recomputed"] == 0
    assert joined.data["position"] == fork + 4  # behind the longest: all paths begin at one position
    assert outcome.costs.decoded == 2 + 3 + 2 and outcome.costs.critical == 3 + 2
    assert "no voices" in outcome.note


def test_paths_have_a_voice_each_where_the_model_has_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, player = team(lambda words: ".")
    voices = type("Config", (), {"voices": 3})
    real = engine.branching.config
    monkeypatch.setattr(voices, "__getattr__", lambda self, name: getattr(real, name), raising=False)
    engine.branching.config = voices()  # type: ignore[assignment]
    outcome = engine.play(parathinker, player, width=3)
    (forked,) = [event for event in engine.events if event.kind == "forked"]
    assert [child["voice"] for child in forked.data["children"]] == [1, 2, 3] and not outcome.note
    (joined,) = [event for event in engine.events if event.kind == "joined"]
    assert "voice" not in joined.data
    assert "4 paths" in engine.play(parathinker, player, width=4).note


def test_tokens_are_kept_for_the_summary() -> None:
    engine, player = team(lambda words: "." if words[-1] == "so" else "so" if "summary" in words else "on")
    outcome = engine.play(parathinker, player, Budget(30), width=3, reserve=6)
    assert outcome.answer == "so" and outcome.costs.decoded == 24 + 2


# Group Think


def test_a_thinker_reads_all_words_up_to_its_own() -> None:
    def script(words: list[str]) -> str:
        own = words[-1]
        if own.startswith("thinker"):
            return {"thinker1:": "a1", "thinker2:": "b1", "thinker3:": "c1"}.get(own, ".")
        return f"{own[0]}{int(own[1:]) + 1}" if own[-1] != "3" else "."

    engine, player = team(script)
    outcome = engine.play(group_think, player, problem="p", width=3)
    assert "p thinker thinker2: b1 thinker3: c1 thinker1: a1" in engine.read
    assert "p thinker thinker1: a1 a2 thinker3: c1 c2 thinker2: b1 b2" in engine.read
    assert [candidate.text for candidate in outcome.candidates] == [
        f"thinker{n + 1}: {c}1 {c}2 {c}3 ." for n, c in enumerate("abc")
    ]
    assert outcome.costs.decoded == 12 and outcome.costs.critical == 4


def test_thinkers_have_slots_of_positions_and_as_many_tokens() -> None:
    engine, player = team(lambda words: "on")
    outcome = engine.play(group_think, player, problem="p", width=3, thoughts=10)
    (woven,) = [event for event in engine.events if event.kind == "woven"]
    assert [member["position"] for member in woven.data["members"]] == [2, 12, 22]
    assert outcome.costs.decoded == 3 * 9 and outcome.spent


def test_the_most_frequent_answer_wins() -> None:
    def script(words: list[str]) -> str:
        return {"thinker1:": "x", "thinker2:": "y", "thinker3:": "y"}.get(words[-1], ".")

    engine, player = team(script)
    answers = engine.play(group_think, player, problem="p", width=3)
    assert answers.answer in {"thinker1: x", "thinker2: y", "thinker3: y"} and answers.judge == "vote"


def test_words_that_are_no_positions_are_refused_before_anything_starts() -> None:
    _, player = team(lambda words: ".")
    with pytest.raises(ValueError, match="positions of group-think is one of slots, shared, contiguous"):
        group_think("p", player, Budget(), positions="anywhere")
    with pytest.raises(ValueError, match="layout of hogwild is one of contiguous, interleaved, combined"):
        hogwild("p", player, Budget(), layout="anywhere")


# Hogwild!


def test_the_first_who_is_done_ends_it_for_all() -> None:
    def script(words: list[str]) -> str:
        me = next((word for word in reversed(words) if word.startswith("teammate")), "")
        if not me.startswith("teammate1"):
            return "b"
        return {"found": "42", "42": "."}.get(words[-1], "found" if words.count("b") == 3 else "a")

    engine, player = team(script)
    outcome = engine.play(hogwild, player, problem="p", width=2)
    assert outcome.answer == "42" and outcome.judge == "none"
    # Three words of the other are seen after three of one's own: they are read as they are written.
    assert outcome.costs.critical == 3 + 3 and outcome.costs.decoded == 2 * 6


def test_between_two_steps_a_worker_is_asked_whether_its_work_is_redundant() -> None:
    engine, player = team(lambda words: "." if words[-1] == "w" else "w")
    outcome = engine.play(hogwild, player, Budget(24), problem="p", width=2, every=4, reserve=0, layout="contiguous")
    for number in (1, 2):
        steps = [f"teammate{number}.{step}: {'p nudge ' if step in (3, 5) else ''}w ." for step in range(1, 7)]
        assert outcome.tree[number].text.startswith(" ".join(steps))
    assert outcome.spent


def test_if_nobody_is_done_the_first_answers_with_all_in_view() -> None:
    def script(words: list[str]) -> str:
        return ("." if words[-1] == "thus" else "thus") if "finish" in words else "w"

    engine, player = team(script)
    outcome = engine.play(hogwild, player, Budget(20), problem="p", width=2, reserve=4)
    assert outcome.answer == "thus"
    before = "teammate2.1: " + "w " * 8 + "teammate1.1: " + "w " * 8
    assert f"p teammate {before}p finish" in engine.read
    assert outcome.costs.decoded == 16 + 2 and outcome.costs.critical == 8 + 2


@pytest.mark.parametrize("name", ["parathinker", "group-think", "hogwild"])
def test_a_chat_model_is_put_to_work_in_words(name: str) -> None:
    engine, game = talker(lambda words: "<|end|>" if words[-1] == "four" else "four")
    outcome = engine.play(METHODS[name], game.player, Budget(200), "What is two and two?", width=2)
    assert outcome.answer is not None and "four" in outcome.answer


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        ("contiguous", "teammate2.1: b . teammate2.2: b teammate1.1: a . teammate1.2: a"),
        ("interleaved", "teammate1.1: a . teammate2.1: b . teammate1.2: a"),
        ("combined", "teammate1.1: a . teammate2.1: b . teammate2.2: b teammate1.2: a"),
    ],
)
def test_what_a_worker_reads_in_each_layout(layout: str, text: str) -> None:
    def script(words: list[str]) -> str:
        me = next(word for word in reversed(words) if word.startswith("teammate"))
        return "." if words[-1] in ("a", "b") else "b" if me.startswith("teammate2") else "a"

    engine, player = team(script)
    engine.play(hogwild, player, Budget(12), problem="p", width=2, reserve=0, layout=layout)
    assert f"p teammate {text}" in engine.read
    moved = [event for event in engine.events if event.kind == "computed" and event.data["start"] == 0]
    assert len(moved) == len({event.data["span"] for event in moved}), "what is shared is not computed again"


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_who_reads_each_other_is_admitted_together(rows: int) -> None:
    """Else one would wait for a row, and the others for its word."""

    def script(words: list[str]) -> str:
        return ("." if words[-1] == "thus" else "thus") if "finish" in words else "w"

    texts = []
    for admission in (None, Admission(rows=rows)):
        engine, player = team(script)
        outcome = engine.play(hogwild, player, Budget(20, admission=admission), problem="p", width=3, reserve=4)
        texts.append([thought.text for thought in outcome.tree])
    assert texts[0] == texts[1]
