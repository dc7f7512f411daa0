"""How often a team does the same twice, counted."""

from __future__ import annotations

from benchmarks.redundancy import counted, lines, measure
from miniapr.methods.outcome import Candidate, Costs, Outcome


def test_a_line_begins_behind_the_number_or_a_miss() -> None:
    assert lines("<thread> 1 a+b 15 3 : a+b 18 a-b 12 miss b*c 21 8 : a+b 29 hit b*c a+b </thread>") == ["a+b", "b*c"]
    assert lines("<thread> 2 a+b 15 3 : a+b 18 miss hit b*c a+b </thread>") == ["a+b"]  # an answer that was read
    assert lines("<thread> 2 a+b 15 3 : a+b 18 miss </thread>") == ["a+b"]
    assert lines("<thread> 3") == lines("") == []


def test_twice_is_what_somebody_else_tried_too() -> None:
    texts = ["<thread> 1 a+b 15 3 : a-b 12 miss a*c 24 7 : miss", "<thread> 2 a*c 24 7 : miss", "<thread> 3 b*c 21 8 :"]
    team = tuple(Candidate(None, text) for text in texts)
    alone = Outcome(None, (Candidate(None, texts[0]),), costs=Costs(decoded=10, critical=5))
    found = counted([Outcome(None, team, costs=Costs(decoded=30, critical=7)), alone])
    assert (found["lines"]["ratio"], found["twice"]["ratio"]) == (3.0, round(1 / 6, 4))
    assert (found["tokens"]["ratio"], found["critical path"]["ratio"]) == (20.0, 6.0)


def test_the_shipped_model_does_less_twice_when_it_reads() -> None:
    """Loosely, on a few problems: that sight reaches the workers at all."""
    found = measure("countdown", 12, width=4)
    assert found["read each other"]["twice"]["ratio"] < found["do not"]["twice"]["ratio"] - 0.1
    assert found["read each other"]["tokens"]["ratio"] < found["do not"]["tokens"]["ratio"]
