"""A plain loop over time, a token of everybody at once, is the judge."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

Actions = list[tuple[Any, ...]]


@st.composite
def plans(draw: st.DrawFn) -> Actions:
    """Joins only of what was handed out; some queries are never joined."""
    actions: Actions = []
    for name in "abcd"[: draw(st.integers(0, 4))]:
        actions.append(("fork", name, draw(st.integers(0, 4))))
        actions += [("think", n) for n in draw(st.lists(st.integers(0, 3), max_size=1))]
    names = [action[1] for action in actions if action[0] == "fork"]
    for name in draw(st.lists(st.sampled_from(names), unique=True)) if names else []:
        actions += [("join", name), ("think", draw(st.integers(0, 2)))]
    return actions


def clock(actions: Actions, agents: int) -> int:
    """When the last action is over."""
    waiting: list[list[Any]] = []
    working: list[list[Any]] = []
    answered: set[str] = set()
    todo, now = [list(action) for action in actions], 0
    while True:
        while True:  # all that takes no time
            for query in [query for query in working if not query[1]]:
                working.remove(query)
                answered.add(query[0])
            while waiting and len(working) < agents:
                working.append(waiting.pop(0))
            if any(not query[1] for query in working):
                continue
            if todo and todo[0][0] == "fork":
                waiting.append(todo.pop(0)[1:])
            elif todo and (todo[0] == ["think", 0] or (todo[0][0] == "join" and todo[0][1] in answered)):
                todo.pop(0)
            else:
                break
        if not todo:
            return now
        now += 1
        if todo[0][0] == "think":
            todo[0][1] -= 1
        for query in working:
            query[1] -= 1


def check(work: Any) -> None:
    @settings(max_examples=20)
    @given(st.lists(st.integers(0, 4), max_size=4))
    def alone(stretches: list[int]) -> None:
        """Who only thinks is done when all is written."""
        found = work.finish([("think", n) for n in stretches], 1)
        assert found == sum(stretches), f"{found} after {stretches}, which is {sum(stretches)} tokens"

    @settings(max_examples=30)
    @given(plans())
    def agents_enough(actions: Actions) -> None:
        """With an agent for every query, none waits for an agent."""
        found, true = work.finish(actions, 9), clock(actions, 9)
        assert found == true, f"done at {found}, not at {true}"

    @settings(max_examples=30)
    @given(plans(), st.integers(1, 2))
    def few_agents(actions: Actions, agents: int) -> None:
        """With few agents queries wait for one that is free, in the order in which they were handed out."""
        found, true = work.finish(actions, agents), clock(actions, agents)
        assert found == true, f"done at {found}, not at {true}"

    alone()
    agents_enough()
    few_agents()
