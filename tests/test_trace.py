"""What is taken for a trace, and what is refused, with the place."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import make_engine, thought

from miniapr.stepper import Trace


@pytest.fixture(scope="module")
def trace() -> Trace:
    engine = make_engine()
    engine.run(thought([1, 2, 3]))
    return Trace.of(engine, "one")


def test_a_file_holds_all_of_it(trace: Trace, tmp_path: Path) -> None:
    trace.save(tmp_path / "run.json")
    assert Trace.load(tmp_path / "run.json").data == trace.data
    both = trace | trace
    assert [run["title"] for run in both.runs] == ["one", "one"] and "one: " in repr(both)


def spoil(change: Callable[[Any], object]) -> Callable[[Any], Any]:
    def spoilt(data: Any) -> Any:
        data = copy.deepcopy(data)
        change(data)
        return data

    return spoilt


@pytest.mark.parametrize(
    "change, place",
    [
        (lambda d: d.update(miniapr_trace=1), "version 1"),
        (lambda d: d.update(runs=[]), "runs"),
        (lambda d: d["runs"][0].pop("title"), r"runs\[0\]"),
        (lambda d: d["runs"][0]["about"].update(block_size=0), r"runs\[0\]\.about\.block_size"),
        (lambda d: d["runs"][0].update(events=[]), "starts no branch"),
        (lambda d: d["runs"][0].update(outcome="29"), r"runs\[0\]\.outcome is '29'"),
        (lambda d: d["runs"][0].update(outcome={"answer": 29}), r"runs\[0\]\.outcome\.answer is '29'"),
        (lambda d: d["runs"][0]["events"][3].update(kind="dreamt"), r"events\[3\] is of kind 'dreamt'"),
        (lambda d: d["runs"][0]["events"][3].update(kind=[]), r"events\[3\] is of kind"),
        (lambda d: d["runs"][0]["events"][3].update(step=-1), r"events\[3\]\.step is -1"),
        (lambda d: d["runs"][0]["events"][1]["data"].update(tokens="no"), r"events\[1\]\.data\.tokens"),
        (lambda d: next(e for e in d["runs"][0]["events"] if e["kind"] == "decoded")["data"].pop("token"), "token"),
        (
            lambda d: next(e for e in d["runs"][0]["events"] if e["kind"] == "decoded")["data"].update(
                logprob=float("-inf")
            ),
            "logprob",
        ),
    ],
)
def test_what_is_not_a_trace_is_refused_with_the_place(trace: Trace, change: Any, place: str) -> None:
    with pytest.raises(ValueError, match=place):
        Trace(spoil(change)(trace.data))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"miniapr_trace": 2}', "\ufffe"])
def test_a_file_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"bad\.json"):
        Trace.load(file)


def test_an_engine_that_keeps_no_events_is_told() -> None:
    with pytest.raises(ValueError, match="record=True"):
        Trace.of(make_engine(record=False))


def test_nothing_in_a_trace_ends_the_script_that_holds_it(trace: Trace) -> None:
    data = json.loads(json.dumps(trace.data))
    data["runs"][0]["title"] = "</script><script>alert(1)</script>"
    page = Trace(data).to_html()
    assert "<script>alert" not in page and page.count("</script>") == 2
