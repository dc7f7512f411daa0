"""What is told of a language model that was prompted: what it was asked, what was cut, what it said again and again."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from miniapr.methods.compare import Comparison, Joined, Thread
from miniapr.methods.skeleton import CONCLUDE
from miniapr.show.prompted import Answers, Plain, readable, show

MODEL = {"name": "tiny", "parameters": 1_000_000, "dtype": "float32", "backend": "cpp", "threads": 1}


def test_a_sentence_that_comes_again_is_told_once_and_counted() -> None:
    again = "It is good to have a dog at home. "
    assert readable(3 * again + "Yes. Yes. The end.") == (
        "It is good to have a dog at home. (and so 3 times: the model is weak) Yes. Yes. The end."
    )
    assert readable("") == "" and readable("One two three.") == "One two three."


def test_prompts_and_cuts_are_told() -> None:
    joins = {how: Joined(60, 0, 60, 0, 0, 0.001, "All is well.", 9) for how in ("stitch", "reprefill")}
    threads = [Thread(1, 40, "seed", "Food first.", 5, "length")]
    comparison = Comparison(" Food", 40, threads, joins, {}, 30, 40)
    out = StringIO()
    show(
        Answers("Why?", MODEL, ["Food"], comparison, Plain("Because it", 200, 1.0, "length")),
        Console(file=out, width=100, highlight=False),
    )
    said = " ".join(out.getvalue().split())
    assert CONCLUDE in said and "about point N" in said and "write only an outline" in said
    assert "Because it (cut short after 200 tokens)" in said and "5 tokens, cut short" in said
