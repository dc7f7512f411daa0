"""Sequential, self-consistency, best-of-N, DeepConf: what is forked, seen, chosen and counted."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import END, Scripted, role

from miniapr.engine.sampling import Sampling, Token
from miniapr.methods.best_of_n import best_of_n
from miniapr.methods.budget import Budget
from miniapr.methods.deepconf import deepconf, deepconf_online
from miniapr.methods.early_cancel import early_cancel
from miniapr.methods.judges import best, confidences, groups, likelihood, percentile, trace_confidence, vote
from miniapr.methods.outcome import Candidate, Outcome
from miniapr.methods.player import Player
from miniapr.methods.search.tree_of_thoughts import tree_of_thoughts
from miniapr.methods.self_consistency import self_consistency
from miniapr.methods.sequential import sequential

CHANCES = {"one": 0.2, "two": 0.5, "none": 0.3}


def script(words: list[str]) -> str | dict[str, float]:
    """Asked for a number it says a few words and then one; asked for a value, how good the number is."""
    if words[0] == "value":
        return END if len(words) > 2 else {"one": "low", "two": "high"}.get(words[1], "low")
    said = words[2:]
    if not said:
        return "thus"
    return CHANCES if len(said) == 1 else END


def answer(problem: Any, text: str) -> str | None:
    last = text.split()[-1:]
    return last[0] if last and last[0] in ("one", "two") else None


def player_of(engine: Scripted, seed: int = 0, right: str = "one") -> Player:
    roles = {
        "chain": role(engine, lambda problem: "say it", answer),
        "value": role(
            engine,
            lambda problem, text: f"value {(text.split() + ['nothing'])[-2 if text.endswith(END) else -1]}",
            lambda problem, text: {"high": 1.0, "low": 0.0}.get(text.split()[0] if text else "", 0.0),
        ),
    }
    return Player("a script", roles, lambda problem, found: found == right, Sampling(temperature=1.0, seed=seed))


def test_sequential_is_one_line_that_ends() -> None:
    engine = Scripted(script)
    outcome = engine.play(sequential, player_of(engine))
    assert (outcome.answer, outcome.judge, outcome.spent) == ("two", "none", False)
    assert [thought.text for thought in outcome.tree] == ["say it thus two ."]
    assert (outcome.costs.decoded, outcome.costs.critical, outcome.costs.prefilled) == (3, 3, 2)
    assert (outcome.costs.largest_context, outcome.costs.resent) == (4, 2)


def test_self_consistency_forks_once_after_the_prompt_and_votes() -> None:
    engine = Scripted(script)
    outcome = engine.play(self_consistency, player_of(engine, seed=2), width=9)
    root, *branches = outcome.tree
    assert [thought.parent for thought in branches] == [root.branch] * 9
    said = Counter(candidate.answer for candidate in outcome.candidates)
    assert said[None] and said["one"] and said["two"]  # all three came up, so that the vote had something to do
    assert outcome.answer == max(("one", "two"), key=lambda word: said[word])
    costs = outcome.costs
    assert (costs.decoded, costs.critical) == (27, 3)
    assert (costs.prefilled, costs.reused, costs.resent) == (2, 2 * 9, 2 * 9)  # the prompt is computed once


@pytest.mark.parametrize("right", ["one", "two"])
def test_best_of_n_with_the_exact_judge_is_pass_at_n(right: str) -> None:
    engine = Scripted(script)
    outcome = engine.play(best_of_n, player_of(engine, seed=3, right=right), width=9)
    assert any(candidate.answer == right for candidate in outcome.candidates)
    assert outcome.answer == right and outcome.judge == "exact"


def test_best_of_n_asks_for_values_within_the_same_budget() -> None:
    engine = Scripted(script)
    outcome = engine.play(best_of_n, player_of(engine, seed=2), width=6, judge="value")
    assert outcome.answer == "two" and outcome.judge == "value"
    assert outcome.costs.decoded == 6 * 3 + 6 * 2
    assert outcome.costs.critical == 3 + 2  # all values are asked for at the same time, after the tries


def test_best_of_n_by_confidence_takes_the_likeliest_words() -> None:
    engine = Scripted(script)
    outcome = engine.play(best_of_n, player_of(engine), width=6, judge="confidence")
    assert outcome.answer == "two"
    top = max(candidate.score for candidate in outcome.candidates)
    assert top == pytest.approx(math.log(0.5) / 3, abs=1e-6)


@pytest.mark.parametrize("options", [{"judge": "taste"}, {"width": 0}, {"width": 65}, {"samples": 3}])
def test_what_cannot_be_is_said_before_it_starts(options: dict[str, Any]) -> None:
    engine = Scripted(script)
    with pytest.raises(ValueError, match=r"judge|width|option"):
        engine.play(best_of_n, player_of(engine), **options)
    assert not engine.read


def test_a_role_that_is_missing_is_named_before_it_starts() -> None:
    engine = Scripted(script)
    player = player_of(engine)
    lame = Player("a lame one", {"chain": player["chain"]})
    for options, named in (({}, "exact"), ({"judge": "value"}, "value")):
        with pytest.raises(ValueError, match=f"a lame one does not play {named}, .* needs; judge=confidence would do"):
            engine.play(best_of_n, lame, **options)
    with pytest.raises(ValueError, match="a lame one does not play step, which tree-of-thoughts needs"):
        engine.play(tree_of_thoughts, lame)


METHODS = (sequential, self_consistency, best_of_n, deepconf, deepconf_online)


@given(
    st.sampled_from(METHODS), st.integers(0, 60), st.integers(1, 9), st.integers(0, 3), st.none() | st.integers(0, 6)
)
def test_no_budget_is_exceeded_by_one_token(
    method: Any, tokens: int, width: int, seed: int, critical: int | None
) -> None:
    engine = Scripted(script)
    options = {"width": width} if "width" in method.options else {}
    outcome = engine.play(method, player_of(engine, seed), Budget(tokens, critical), **options)  # which checks it
    assert critical is None or outcome.costs.critical <= critical
    assert outcome.spent or outcome.costs.decoded >= 3


def test_the_engine_alone_would_exceed_it() -> None:
    """What Spend is for: branches that decode in the same step, one token left."""
    engine = Scripted(script)
    outcome = engine.play(self_consistency, player_of(engine), Budget(13), width=8)
    assert outcome.costs.decoded == 13 and outcome.spent


# Votes and weights against closed forms


def candidates_of(answers: list[str | None]) -> list[Candidate]:
    return [Candidate(answer, "", score=float(i)) for i, answer in enumerate(answers)]


@given(st.lists(st.sampled_from(["a", "b", "c", None])), st.data())
def test_a_vote_is_the_largest_sum_of_weights_and_none_never_wins(answers: list[str | None], data: Any) -> None:
    weights = [data.draw(st.integers(0, 5)) for _ in answers]
    sums = {a: sum(w for b, w in zip(answers, weights, strict=True) if a == b) for a in dict.fromkeys(answers) if a}
    won = vote(candidates_of(answers), weights)
    assert won is None if not sums else sums[won] == max(sums.values())
    if sums:  # of equals the one that was seen first
        assert won == next(a for a in sums if sums[a] == max(sums.values()))


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_a_vote_refuses_weights_that_are_none(weight: float) -> None:
    with pytest.raises(ValueError, match="weighs"):
        vote(candidates_of(["a"]), [weight])


def test_the_best_has_an_answer_if_any_has() -> None:
    assert best(candidates_of(["a", "b", None]), "value").answer == "b"
    assert best([Candidate("a", "", None), Candidate(None, "", 9.0)], "value").answer == "a"
    assert best([], "value") == Outcome(None, (), "value")


@given(st.lists(st.floats(0, 50), max_size=12), st.integers(1, 14))
def test_sliding_means_are_means_of_windows(values: list[float], window: int) -> None:
    w = min(window, len(values))
    expected = [math.fsum(values[i : i + w]) / w for i in range(len(values) - w + 1)] if values else []
    assert groups(values, window) == pytest.approx(expected, abs=1e-9)


def test_measures_of_a_trace_in_closed_form() -> None:
    values = [float(n) for n in range(20, 0, -1)]  # 20, 19, ... 1
    assert trace_confidence(values, "mean", 2) == 10.5
    assert trace_confidence(values, "tail", 2) == 1.5
    assert trace_confidence(values, "lowest", 2) == 1.5
    assert trace_confidence(values, "bottom", 1) == 1.5  # the lowest tenth of 20 windows: 1 and 2
    assert trace_confidence([], "mean") == 0.0
    with pytest.raises(ValueError, match="no measure"):
        trace_confidence(values, "median")


def test_a_certain_place_is_worth_more_than_an_open_one() -> None:
    certain = Token(0, -0.01, ((0, -0.01), (1, -8.0)))
    open_ = Token(0, -0.7, ((0, -0.7), (1, -0.7)))
    assert confidences([certain, open_], 2) == pytest.approx([4.005, 0.7])
    assert confidences([Token(0, 0.0, ((0, 0.0), (1, -math.inf)))], 2) == [25.0]  # finite, whatever was forbidden
    for tokens in ([Token(0, -0.1)], [Token(0, math.nan)]):
        with pytest.raises(ValueError, match="does not tell"):
            confidences(tokens) if tokens[0].logprob == -0.1 else likelihood(tokens)


@given(st.lists(st.floats(-9, 9), min_size=1), st.floats(0, 100))
def test_a_percentile_lies_between_its_neighbours(values: list[float], percent: float) -> None:
    found = percentile(values, percent)
    assert min(values) <= found <= max(values)
    below = sum(value < found - 1e-9 for value in values)
    assert below <= math.ceil((len(values) - 1) * percent / 100)


# Early cancel


LENGTHS = {"wrong": 2, "soon": 4, "late": 9, "endless": 30}  # words after the first; two of them come to what is right


def of_lengths(words: list[str]) -> str | dict[str, float]:
    said = words[2:]
    if not said:
        return dict.fromkeys(LENGTHS, 0.25)
    if len(said) <= LENGTHS[said[0]]:
        return "hm"
    return END if said[-1] in ("one", "two") else "one" if said[0] in ("soon", "late") else "two"


def test_early_cancel_lets_all_others_go_in_the_step_of_the_first_verified_success() -> None:
    firsts = set()
    for seed in range(12):
        engine = Scripted(of_lengths)
        outcome = engine.play(early_cancel, player_of(engine, seed), width=6)
        kinds = {thought.branch: thought.text.split()[0] for thought in outcome.tree[1:]}
        lengths = {branch: LENGTHS[kind] + 3 for branch, kind in kinds.items()}
        hits = [lengths[branch] for branch, kind in kinds.items() if kind in ("soon", "late")]
        first = min(hits, default=max(lengths.values()))
        firsts.add(first)
        assert outcome.answer == ("one" if hits else "two") and outcome.judge == "exact"
        # Nobody wrote a word more after it, and those that ended before, wrongly, were no reason to stop.
        assert {t.branch: t.decoded for t in outcome.tree[1:]} == {b: min(n, first) for b, n in lengths.items()}
        assert outcome.costs.critical == first
        stopped = [e for e in engine.events if e.kind == "stopped" and e.data["reason"] == "stop"]
        won = [e.step for e in stopped if kinds[e.branch or 0] in ("soon", "late")]
        gone = [e for e in engine.events if e.kind == "released" and e.branch and lengths[e.branch] > first]
        assert all(event.step == won[0] for event in gone)
        again = Scripted(of_lengths)
        patient = again.play(best_of_n, player_of(again, seed), width=6)
        saved = sum(max(0, n - first) for n in lengths.values())
        assert patient.costs.decoded - outcome.costs.decoded == saved and patient.answer == outcome.answer
    assert {LENGTHS["soon"] + 3, LENGTHS["late"] + 3} <= firsts  # both came first at some time


def test_early_cancel_waits_for_what_is_right_and_not_for_what_ends() -> None:
    """With a verifier that accepts nothing it is best-of-N, to the last token."""
    engine = Scripted(of_lengths)
    outcome = engine.play(early_cancel, player_of(engine, seed=1, right="three"), width=6)
    again = Scripted(of_lengths)
    assert outcome.costs.decoded == again.play(best_of_n, player_of(again, seed=1), width=6).costs.decoded
    gone = [event for event in engine.events if event.kind == "stopped" and event.data["reason"] == "cut"]
    assert not gone


# DeepConf


def wavering(words: list[str]) -> str | dict[str, float]:
    """Sure of "one" or wavering for four words before "two"."""
    said = words[2:]
    if not said:
        return {"sure": 0.5, "well": 0.5}
    if len(said) < 5:
        return said[-1] if said[0] == "sure" else {"well": 0.25, "hm": 0.25, "er": 0.25, "oh": 0.25}
    return ("one" if said[0] == "sure" else "two") if len(said) == 5 else END


def test_deepconf_weighs_votes_by_confidence() -> None:
    seeds = {}
    for seed in range(30):
        engine = Scripted(wavering)
        outcome = engine.play(deepconf, player_of(engine, seed), width=4, window=2)
        said = [candidate.answer for candidate in outcome.candidates]
        seeds[said.count("one")] = outcome
        weights: Counter[str] = Counter()
        for candidate in outcome.candidates:
            weights[candidate.answer] += candidate.score
        assert outcome.answer == max(weights, key=lambda word: weights[word])
    assert seeds[4].answer == "one" and seeds[0].answer == "two"
    assert seeds[2].answer == "one"  # a tie of heads, not of weights


def test_deepconf_online_cuts_what_falls_below_the_bar_and_lets_it_go() -> None:
    engine = Scripted(wavering)
    outcome = engine.play(deepconf_online, player_of(engine, seed=1), width=8, more=8, keep=30.0, window=2)
    warm, late = outcome.tree[1:9], outcome.tree[9:]
    assert {thought.decoded for thought in warm} == {7}
    cut = [thought for thought in late if "well" in thought.text]
    assert cut and len(cut) < len(late)
    assert all(thought.decoded == 2 for thought in cut)  # as soon as a window is full
    gone = [i for i, e in enumerate(engine.events) if e.kind == "released" and e.branch in {t.branch for t in cut}]
    assert max(gone) < max(i for i, e in enumerate(engine.events) if e.kind == "decoded")  # while others go on
    assert all(thought.decoded == 7 for thought in late if thought not in cut)
    assert [thought.end == "released" for thought in late] == [thought in cut for thought in late]
    assert {thought.end for thought in warm} == {"ended"}
    assert len(outcome.candidates) == 16 - len(cut)
    assert outcome.costs.decoded == 7 * 16 - 5 * len(cut)
    assert outcome.costs.critical == 14  # the bar is known when the warm-up has ended
