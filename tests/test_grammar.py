"""The grammar of control tokens: whatever a model writes has a defined meaning, and nothing raises out of a step."""

from __future__ import annotations

import pytest
from helpers import JOINS, make_engine
from hypothesis import given
from hypothesis import strategies as st

from miniapr.engine.branch import Limits
from miniapr.engine.engine import Engine
from miniapr.engine.operations import Start
from miniapr.engine.request import Program
from miniapr.engine.sampling import Sampling
from miniapr.methods.adaptive import adaptive, fork_plan
from miniapr.methods.grammar import Control, read_plan

CONTROL = Control(plan=20, item=21, plan_end=22, thread=23, thread_end=24, join=25, eos=26)
PLAN, ITEM, END = CONTROL.plan, CONTROL.item, CONTROL.plan_end
SPECIAL = {20, 21, 22, 23, 24, 25, 26}


def engine(**options: object) -> Engine:
    return make_engine(num_blocks=300, block_size=4, **options)


@given(st.lists(st.integers(0, 28)), st.integers(1, 5))
def test_any_text_has_a_plan_of_distinct_plain_items_within_the_width(tokens: list[int], width: int) -> None:
    plan = read_plan([*tokens, END], CONTROL, width)
    assert len(plan.items) == len(set(plan.items)) <= width
    assert all(item and not SPECIAL & set(item) for item in plan.items)
    if PLAN not in tokens:
        assert not plan.items


@given(st.lists(st.lists(st.integers(0, 19), min_size=1, max_size=3), min_size=1, max_size=5, unique_by=tuple))
def test_a_well_formed_plan_is_read_as_it_was_written(items: list[list[int]]) -> None:
    written = [token for item in items for token in (ITEM, *item)][1:]
    plan = read_plan([7, PLAN, *written, END], CONTROL, width=5)
    assert plan.items == tuple(map(tuple, items)) and not plan.ignored


@pytest.mark.parametrize(
    ("written", "items", "said"),
    [
        ([END], (), "no plan was opened"),
        ([1, 2, END], (), "no plan was opened"),
        ([PLAN, 1], (), "no plan was opened"),  # never closed
        ([PLAN, END], (), "item 1 is empty"),
        ([PLAN, ITEM, ITEM, END], (), "item 3 is empty"),
        ([PLAN, 1, ITEM, 1, END], ((1,),), "item 2 repeats another"),
        ([PLAN, 1, ITEM, 2, CONTROL.join, END], ((1,),), "item 2 holds a control token"),
        ([PLAN, 1, ITEM, 2, ITEM, 3, END], ((1,), (2,)), "item 3 is beyond the width of 2"),
        ([PLAN, 1, PLAN, 2, END], ((2,),), None),  # of two openings the last counts
    ],
)
def test_F49_M4_what_is_wrong_with_a_plan_is_ignored_and_said(
    written: list[int], items: tuple[tuple[int, ...], ...], said: str | None
) -> None:
    plan = read_plan(written, CONTROL, width=2)
    assert plan.items == items
    assert said is None or said in plan.ignored


def test_M7_a_control_token_is_one_id_not_the_words_that_spell_it() -> None:
    assert read_plan([PLAN, 1, END], CONTROL, 4).items
    assert not read_plan([PLAN + 9 - 9 - 1, 1, END], CONTROL, 4).items


def planned(tokens: list[int], depth: int) -> Program:
    """Fork by a plan, and again inside the first thread by the same plan, as deep as asked."""
    branch = yield Start(tokens)
    widths = []
    for _ in range(depth):
        branch.first = 0  # the plan was given, not written
        threads = yield from fork_plan(branch, CONTROL)
        widths.append(len(threads))
        if not threads:
            break
        branch = threads[0]
        branch.span.tokens.extend(tokens)
        branch.row = None
    return widths


def test_a_plan_too_wide_or_too_deep_forks_as_far_as_the_limits_allow() -> None:
    plan = [PLAN, 1, ITEM, 2, ITEM, 3, END]
    assert engine().run(planned(plan, 3), Limits(width=8, depth=2)) == [3, 3, 0]
    assert engine().run(planned(plan, 1), Limits(width=2)) == [2]


@given(st.integers(0, 10_000), st.sampled_from(JOINS), st.sampled_from([0.7, 1.5, 5.0]))
def test_a_model_that_writes_nonsense_ends_and_leaves_nothing_behind(seed: int, how: str, heat: float) -> None:
    runs = engine(reuse_prefixes=False)
    sampling = Sampling(temperature=heat, seed=seed)
    request = runs.submit(adaptive([PLAN, 1, ITEM, 2, END, 3], CONTROL, how, sampling), Limits(80, width=3, depth=2))
    other = runs.submit(adaptive([5, 6], CONTROL, how, Sampling(1.0, seed=seed)), Limits(20))
    while request.state == other.state == "running" or runs.scheduler.requests:
        runs.step()
        runs.check()
    assert request.state == other.state == "finished", (request.error, other.error)
    assert runs.pool.free == len(runs.pool)
    assert request.cost.decoded <= 80 + 3**2  # every live branch may take one more in the last step
