"""Every reward on trajectories made by hand, each in closed form, and the tricks that some of them pay for."""

from __future__ import annotations

import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miniapr.rl.advantages import ADVANTAGES
from miniapr.rl.rewards import REWARDS, eta, faults, pay, read_reward, threads
from miniapr.rl.rollouts import Rollout, Unit


def text(length: int, *below: Unit, then: Unit | None = None, finish: str = "stop") -> Unit:
    return Unit((), (0,) * length, threads=below, then=then, finish=finish)


def forked(*lengths: int, before: int = 10, after: int = 10) -> Unit:
    return text(before, *map(text, lengths), then=text(after))


def rollout(root: Unit, correct: bool = True) -> Rollout:
    return Rollout("3 4 -> 7", root, correct, serial=80, usual=80.0)


SERIAL = rollout(text(100))  # 20 longer than it had to be
BALANCED = rollout(forked(20, 20, 20, 20))  # 100 tokens, critical path 40
SPAM = rollout(forked(*[1] * 10, after=70))  # 90 tokens, critical path 81
RAGGED = rollout(forked(20, 5, 5, 5))  # 55 tokens, critical path 40
WRONG = rollout(BALANCED.root, correct=False)
CASES = (SERIAL, BALANCED, SPAM, RAGGED, WRONG)

PAID = {  #                          serial   balanced   spam           ragged                      wrong, but parallel
    "correct":                      (1.0,     1.0,       1.0,           1.0,                        0.0),
    "ratio":                        (1.0,     1.6,       1.1,           1 + 15 / 55,                0.0),
    "ratio:rho=0.02":               (1.0,     1.012,     1.002,         1 + 0.3 / 55,               0.0),
    "thread-weaver":                (1.0,     1.2,       1.05,          1 + 7.5 / 55,               0.0),
    "thread-weaver-code":           (1.0,     1.1,       1.05,          1.1,                        0.0),
    "thread-weaver-readme":         (1.0,     1.1,       1 + 4.5 / 81,  1.1,                        0.1),
    "relative":                     (0.875,   1.25,      1 - 0.5 / 80,  1.25,                       0.0),
    "relative-usual":               (0.875,   1.25,      1 - 0.5 / 80,  1.25,                       0.0),
    "critical-path":                (0.5,     0.8,       0.595,         0.8,                        0.0),
    "parallel-r1":                  (1.0,     1.0,       1.0,           1.0,                        -1.0),
    "parallel-r1-blocks":           (1.0,     1 + 0.6 * math.log(2), 1 + 0.6 * math.log(2), 1 + 0.6 * math.log(2), 0.0),
    "parallel-r1-efficiency":       (1.0,     1.24,      1.04,          1 + 6 / 55,                 -0.94),
    "npr-zero":                     (-1.5,    1.0,       1.0,           1.0,                        -1.0),
    "npr":                          (1.0,     1.0,       1.0,           1.0,                        -1.0),
    "parl":                         (1.0,     1.3,       1.4,           1.3,                        0.3),
    "async-think:capacity=20":      (1.025,   1.0625,    1 + 0.025 * 90 / 81, 1 + 0.025 * 55 / 40,  0.0625),
    "async-think:capacity=4":       (1.125,   -1.0,      -1.0,          -1.0,                       -1.0),
    "count-threads":                (0.0,     0.5,       1.25,          0.5,                        0.5),
    "correct-and-threads":          (1.0,     1.25,      1.625,         1.25,                       0.25),
    "used-structure":               (0.0,     1.0,       1.0,           1.0,                        1.0),
}  # fmt: skip


@pytest.mark.parametrize("spec", PAID)
def test_closed_forms(spec: str) -> None:
    assert pay(read_reward(spec), CASES) == pytest.approx(PAID[spec])


def test_every_reward_has_its_closed_form() -> None:
    assert {spec.partition(":")[0] for spec in PAID} == REWARDS.keys()


def test_the_page_has_all_of_them_and_its_example_gives_what_it_says() -> None:
    page = (Path(__file__).parents[1] / "docs" / "training" / "rewards.md").read_text()
    assert set(re.findall(r"^\| `([a-z0-9-]+)`", page, re.MULTILINE)) == REWARDS.keys() | ADVANTAGES.keys()
    code = page.partition("```python\n")[2].partition("```")[0]
    names: dict[str, object] = {}
    exec(code, names)
    values = [eval(line.partition("#")[0], names) for line in code.splitlines() if "# " in line and line[0] in "tp"]
    assert values == [pytest.approx(1.056, abs=5e-4), [pytest.approx(1.067, abs=5e-4)]]


def test_the_three_formulas_of_one_system_differ() -> None:
    paid = {name: REWARDS[name](RAGGED) for name in REWARDS if name.startswith("thread-weaver")}
    assert len(paid) == 3 and max(paid, key=lambda name: paid[name]) == "thread-weaver"
    most = rollout(forked(*[20] * 60, before=0, after=0))
    assert [round(REWARDS[name](most), 9) for name in paid] == [1.2, 1.1, 1.1]


def nested() -> Unit:
    inner = text(2, text(3), text(4), then=text(1))  # 10 tokens, 7 in a row
    return text(5, inner, text(6), then=text(2, text(1), text(1), then=text(1)))


def test_the_critical_path_goes_through_nested_and_through_later_forks() -> None:
    tree = rollout(nested())
    assert (tree.total, tree.critical, threads(tree), tree.width) == (26, 5 + 7 + 4, 6, 2)
    assert eta(tree) == pytest.approx(1 - 16 / 26)


def test_padding_the_short_siblings_is_paid_by_the_ratio_and_by_no_measure_of_the_path() -> None:
    padded = BALANCED  # is RAGGED with its short threads filled up to the longest
    assert padded.critical == RAGGED.critical
    for spec in ("ratio", "thread-weaver", "parallel-r1-efficiency", "async-think:capacity=20"):
        assert read_reward(spec)(padded, 0) > read_reward(spec)(RAGGED, 0), spec
    for spec in ("relative", "critical-path", "correct"):
        assert read_reward(spec)(padded, 0) == read_reward(spec)(RAGGED, 0), spec


def test_a_wrong_answer_is_paid_for_its_form_by_exactly_those_that_are_not_gated() -> None:
    line = rollout(SERIAL.root, correct=False)
    wide = {"async-think": read_reward("async-think:capacity=20")}
    rewards = {**{name: read_reward(name) for name in REWARDS}, **wide}
    assert {name for name, reward in rewards.items() if reward(WRONG, 0) > reward(line, 0)} == {
        *("thread-weaver-readme", "parallel-r1-efficiency", "npr-zero", "parl", "async-think"),
        *("count-threads", "correct-and-threads", "used-structure"),
    }


def test_one_that_forks_where_a_line_is_shorter_is_paid_by_the_ratio_and_charged_by_the_relative_reward() -> None:
    easy = Rollout("3 4 -> 7", text(8), True, serial=8)
    spawned = Rollout("3 4 -> 7", text(4, text(5), text(5), then=text(3)), True, serial=8)
    assert REWARDS["ratio"](spawned) > REWARDS["ratio"](easy)
    assert REWARDS["relative"](spawned) < REWARDS["relative"](easy) == 1
    endless = Rollout("3 4 -> 7", text(1000), True, serial=8)
    assert REWARDS["relative"](endless) == 0.5  # right is never worth less than 1 - rho


def test_what_nobody_knows_before_is_paid_by_what_is_usual() -> None:
    fork, lines = forked(5, 5, 5, before=10, after=10), (10, 20, 105)  # in line at once, soon, late: 45 on average
    alike = [Rollout("", fork, True, serial=n, usual=45.0) for n in lines]
    usual, own = (sum(REWARDS[name](one) for one in alike) / 3 for name in ("relative-usual", "relative"))
    assert usual == pytest.approx(1 + 0.5 * (1 - 25 / 45)) and own < 1  # the ratio of the means, the mean of the ratios
    with pytest.raises(ValueError, match="length in line"):
        REWARDS["relative-usual"](Rollout("", fork, True))


def test_schedules_are_functions_of_the_step() -> None:
    stages = [REWARDS["parallel-r1"](BALANCED, step) for step in range(20)]
    assert stages == ([1.0] * 8 + [1.2] * 2) * 2
    assert [REWARDS["parallel-r1"](SERIAL, step) for step in range(10)] == [1.0] * 10
    ended = read_reward("parallel-r1:until=200")
    assert ended(BALANCED, 199) == 1.2 and ended(BALANCED, 208) == 1.0
    annealed = [REWARDS["parl"](BALANCED, step) for step in (0, 50, 100, 500)]
    assert annealed == pytest.approx([1.3, 1.15, 1.0, 1.0])


MALFORMED = {
    "empty": text(0, finish=""),
    "cut": text(10, text(20), text(20, finish="length"), then=text(10)),
    "no join": text(10, text(20), text(20)),
    "no threads": text(10, then=text(10)),
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_what_is_malformed_is_found_and_charged_although_it_is_right(fault: str) -> None:
    bad = rollout(MALFORMED[fault])
    assert faults(bad) == [fault]
    assert REWARDS["parallel-r1"](bad, 0) == 1 and REWARDS["parallel-r1"](bad, 8) == -1
    assert REWARDS["npr"](bad) == -1 and REWARDS["async-think"](bad) == -1 and REWARDS["parallel-r1-blocks"](bad) == 0
    expected = {"empty": -2.0, "cut": -0.5, "no join": -1.0, "no threads": -2.0}
    assert REWARDS["npr-zero"](bad) == expected[fault]


def test_what_is_well_formed_has_no_fault() -> None:
    closed = text(20, finish="length"), Unit((7,), ())  # a thread cut short and closed by the engine: still cut
    assert faults(rollout(nested())) == [] == faults(SERIAL)
    thread = Unit((), closed[0].written, then=closed[1], finish="length")
    assert faults(rollout(text(1, thread, text(2), then=text(3)))) == ["cut"]


def test_parl_pays_for_threads_that_end_by_themselves() -> None:
    assert REWARDS["parl"](rollout(MALFORMED["cut"])) == pytest.approx(1 + 0.2 * 2 / 8 + 0.2 / 2)


UNITS = st.recursive(
    st.integers(0, 9).map(text),
    lambda below: st.tuples(st.integers(1, 9), st.lists(below, min_size=1, max_size=4), below).map(
        lambda made: text(made[0], *made[1], then=made[2])
    ),
    max_leaves=12,
)


@given(root=UNITS, right=st.booleans(), step=st.integers(0, 300))
@settings(deadline=None, max_examples=60)
def test_every_reward_of_every_tree_is_finite_and_does_not_read_what_was_written(
    root: Unit, right: bool, step: int
) -> None:
    made = rollout(root, right)
    assert 0 <= eta(made) < 1 and made.critical <= made.total
    said = SimpleNamespace(  # only what the documentation says is looked at
        **{
            name: getattr(made, name)
            for name in ("root", "correct", "serial", "usual", "critical", "total", "width", "forked")
        }
    )
    for reward in REWARDS.values():
        value = reward(made, step)
        assert math.isfinite(value) and value >= -2 and value == reward(said, step)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_reward_that_is_no_number_names_its_rollout(bad: float) -> None:
    with pytest.raises(ValueError, match=rf"rollout 4 of step 7 \(3 4 -> 7, 100 tokens, wrong\) is paid {bad}"):
        pay(lambda one, step: 1.0 if one.correct else bad, CASES, 7)


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (lambda one, step: one.lenght, r"rollout 0 of step 7 \(.*\) cannot be paid: AttributeError: .*lenght"),
        (lambda one: 1.0, "cannot be paid: TypeError: "),
        (lambda one, step: "good", "is paid 'good', which is no finite number"),
        (lambda one, step: None, "is paid None, which is no finite number"),
    ],
)
def test_ones_own_reward_that_fails_says_where(own: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        pay(own, CASES, 7)


def test_relative_needs_the_length_in_line() -> None:
    with pytest.raises(ValueError, match="not known"):
        REWARDS["relative"](Rollout("", text(1), True))


def test_a_reward_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from math import sqrt\ndef mine(rollout, step):\n    return rollout.correct * sqrt(step)\nx = 1\n")
    assert pay(read_reward(f"{file}:mine"), CASES, 4) == [2, 2, 2, 2, 0]
    for name in ("other", "x", ""):
        with pytest.raises(ValueError, match="no function"):
            read_reward(f"{file}:{name}")
    with pytest.raises(ValueError, match="there is no file"):
        read_reward(f"{tmp_path / 'none.py'}:mine")


@pytest.mark.parametrize(
    ("spec", "named"),
    [("speed", "correct, ratio"), ("ratio:tau=1", "its options are rho"), ("ratio:rho=much", "float .* not 'much'")],
)
def test_unknown_rewards_and_options_are_named(spec: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        read_reward(spec)
