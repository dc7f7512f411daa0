"""Tree-of-Thoughts, MCTS and Graph-of-Thoughts against brute force, on trees small enough to be told by hand."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import END, Scripted, role

from miniapr.engine.operations import Start
from miniapr.engine.sampling import Sampling
from miniapr.methods.budget import Budget
from miniapr.methods.outcome import Outcome
from miniapr.methods.player import Player, Role, State
from miniapr.methods.search.bandit import POLICIES, Node, ask, merged, most_visited, tell
from miniapr.methods.search.graph_of_thoughts import graph_of_thoughts
from miniapr.methods.search.mcts import _Search, mcts
from miniapr.methods.search.thoughts import Growing
from miniapr.methods.search.tree_of_thoughts import tree_of_thoughts, tree_of_thoughts_dfs

STEPS = 3
Line = tuple[str, ...]


class Tree:
    """Lines of three letters. ``worth``: a hundredth for each line and beginning of a line."""

    def __init__(self, worth: dict[Line, int], letters: str = "abc", seed: int = 0, right: str = "") -> None:
        self.worth, self.letters = worth, letters
        self.engine = Scripted(self._script)
        words = self.engine.words
        step = Role(lambda problem: words.encode("go"), self._state, frozenset([words.id(";"), words.id(END)]))
        chain = Role(step.ask, lambda problem, text: self._state(problem, text).answer, frozenset([words.id(END)]))
        roles = {
            "step": step,
            "chain": chain,
            "propose": role(self.engine, lambda p, text: f"propose {text}", self._proposals),
            "value": role(self.engine, lambda p, text: f"value {text}", lambda p, text: int(text or 0) / 100),
            "vote": role(
                self.engine,
                lambda p, *texts: "vote " + " | ".join(texts),
                lambda p, text: int(text) if text.isdigit() else None,
            ),
        }
        sampling = Sampling(temperature=1.0, seed=seed)
        self.player = Player("a tree", roles, lambda problem, answer: answer == right, sampling)

    def _script(self, words: list[str]) -> str | dict[str, float]:
        if words[0] == "go":
            said = words[1:]
            if len(said) % 2:
                return ";" if len(said) < 2 * STEPS - 1 else END
            return dict.fromkeys(self.letters, 1 / len(self.letters))
        if words[-1] in self.worth_words or (words[0] == "propose" and words[-1] == self.letters[-1].upper()):
            return END
        if words[0] == "value":
            return str(self.worth[_line(" ".join(words[1:]))])
        if words[0] == "vote":
            options = [_line(text) for text in " ".join(words[1:]).split("|")]
            return str(max(range(len(options)), key=lambda i: self.worth[options[i]]))
        spoken = [word for word in words if word.isupper()]
        return self.letters[len(spoken)].upper()

    worth_words = frozenset(map(str, range(101)))

    def _proposals(self, problem: Any, text: str) -> list[list[int]]:
        end = self.engine.words
        return [[end.id(word.lower()), end.id(";")] for word in text.split() if word.isupper()]

    @staticmethod
    def _state(problem: Any, text: str) -> State:
        line = _line(text)
        return State(line, len(line) == STEPS, "".join(line) if len(line) == STEPS else None)


def _line(text: str) -> Line:
    return tuple(word for word in text.replace(END, " ").split() if word.isalpha())


def lines(letters: str = "abc") -> list[Line]:
    return [line for n in range(STEPS + 1) for line in itertools.product(letters, repeat=n)]


worths = st.randoms(use_true_random=False).map(
    lambda dice: dict(zip(lines(), dice.sample(range(1, 101), len(lines())), strict=True))
)


def beam(worth: dict[Line, int], width: int) -> Line:
    """What breadth first search with a beam finds, the plain way."""
    frontier: list[Line] = [()]
    for _ in range(STEPS):
        frontier = sorted(((*line, letter) for line in frontier for letter in "abc"), key=lambda line: -worth[line])
        frontier = frontier[:width]
    return frontier[0]


@settings(max_examples=10)
@given(worths, st.integers(1, 4))
def test_tree_of_thoughts_is_beam_search(worth: dict[Line, int], width: int) -> None:
    tree = Tree(worth)
    outcome = tree.engine.play(tree_of_thoughts, tree.player, width=width, times=1)
    assert outcome.answer == "".join(beam(worth, width))
    inner = 1 + sum(min(width, 3**n) for n in range(1, STEPS))  # thoughts that were asked for proposals
    assert outcome.costs.decoded == inner * 4 + inner * 3 * 2  # three proposals and an end; a value and an end each
    assert outcome.costs.critical == STEPS * (4 + 2)
    asked = [text for text in tree.engine.read if text.startswith("value") and text.split()[-1] not in tree.worth_words]
    assert len(asked) == inner * 3


def test_going_on_from_a_thought_prefills_nothing_again() -> None:
    tree = Tree(dict.fromkeys(lines(), 50))
    outcome = tree.engine.play(tree_of_thoughts, tree.player, generate="sample", children=6, width=2, times=1)
    prompts = [len(t.text.split()) - t.decoded for t in outcome.tree if t.parent is None]  # "go", and the questions
    thoughts = [t for t in outcome.tree if not t.text.startswith("value")]
    assert len(thoughts) > 7 and outcome.costs.recomputed == 0
    assert outcome.costs.prefilled <= sum(prompts)
    assert outcome.costs.resent > sum(prompts)  # what a client would have sent for each thought, from its beginning


@settings(max_examples=10)
@given(worths)
def test_votes_choose_side_by_side(worth: dict[Line, int]) -> None:
    """Every vote goes to the best of a step: the same as a beam of one."""
    tree = Tree(worth)
    outcome = tree.engine.play(tree_of_thoughts, tree.player, width=1, evaluate="vote", times=3)
    assert outcome.answer == "".join(beam(worth, 1)) and outcome.judge == "vote"
    assert outcome.candidates[0].score is not None and max(c.score for c in outcome.candidates) == 3.0


def test_duplicates_in_a_step_are_kept_once() -> None:
    tree = Tree({line: 50 for line in lines()}, letters="a")
    outcome = tree.engine.play(tree_of_thoughts, tree.player, generate="sample", width=3, children=4, times=1)
    assert outcome.answer == "aaa" and len(outcome.candidates) == 1
    grown = [thought for thought in outcome.tree if thought.parent is not None]
    assert len(grown) == 3 * 4  # four tries a step, from one thought


@settings(max_examples=10)
@given(worths, st.integers(0, 60))
def test_depth_first_goes_to_the_best_child_and_back(worth: dict[Line, int], bar: int) -> None:
    tree = Tree(worth)

    def visit(line: Line) -> Line | None:
        if len(line) == STEPS:
            return line
        children = sorted(((*line, letter) for letter in "abc"), key=lambda child: -worth[child])
        return next((found for child in children if worth[child] > bar and (found := visit(child))), None)

    outcome = tree.engine.play(tree_of_thoughts_dfs, tree.player, times=1, bar=bar / 100)
    expected = visit(())
    assert outcome.answer == ("".join(expected) if expected else None)
    # Everything is decided one after the other: each thought's proposals, then its children's values.
    visited = sum(text.startswith("propose") and text.split()[-1] == "C" for text in tree.engine.read)
    assert outcome.costs.critical == visited * (4 + 2)


@pytest.mark.parametrize("method", [tree_of_thoughts_dfs, mcts])
def test_a_place_that_was_judged_is_not_asked_about_again(method: Any) -> None:
    """The order of the letters does not matter, so lines that are grown one after the other come to one place."""
    tree = Tree(dict.fromkeys(lines(), 50))
    step = tree.player.roles["step"]

    def state(problem: Any, text: str) -> State:
        line = step.read(problem, text)
        return replace(line, key=tuple(sorted(line.key)), final=False)

    player = replace(tree.player, roles={**tree.player.roles, "step": replace(step, read=state)})
    options = {"bar": 0.0, "times": 1, "steps": STEPS} if method is tree_of_thoughts_dfs else {}
    if method is mcts:
        options = {"evaluate": "value", "iterations": 60, "children": 12, "depth": STEPS}
    outcome = tree.engine.play(method, player, **options)
    asked = [t.text.split()[1:-1] for t in outcome.tree if t.text.startswith("value")]
    asked = [" ".join(sorted(word for word in words if word in "abc")) for words in asked]
    assert len(asked) > 6 and len(asked) == len(set(asked))


def test_sampled_selection_follows_the_scores() -> None:
    worth = {line: 15 if line and line[-1] != "a" else 70 for line in lines()}
    found = [
        (tree := Tree(worth, seed=seed))
        .engine.play(tree_of_thoughts, tree.player, width=1, times=1, select="sample")
        .answer
        for seed in range(12)
    ]
    assert found.count("aaa") >= 2 and len(set(found)) > 1


# The statistics alone


def bandit(chances: list[float], rounds: int, k: int, policy: str, seed: int) -> Node:
    dice, root = random.Random(seed), Node()
    root.children = [Node(root, 1 / len(chances), chance) for chance in chances]
    told = 0
    while told < rounds:
        leaves = ask(root, k, POLICIES[policy], 1.0)
        dice.shuffle(leaves)  # in any order
        for leaf in leaves:
            tell(leaf, float(dice.random() < leaf.what))
        told += len(leaves)
    return root


@pytest.mark.parametrize("policy", ["uct", "puct"])
@pytest.mark.parametrize("k", [1, 3])
def test_the_best_arm_of_a_bandit_is_pulled_most(policy: str, k: int) -> None:
    for seed in range(5):
        root = bandit([0.2, 0.8, 0.4, 0.1], 300, k, policy, seed)
        assert most_visited(root).what == 0.8
        assert root.visits == sum(child.visits for child in root.children) >= 300
        assert not any(node.pending for node in (root, *root.children))


@given(st.integers(1, 6), st.integers(1, 6))
def test_k_leaves_at_once_are_different_ones(arms: int, k: int) -> None:
    """Virtual loss; without it all would be the first."""
    root = Node()
    root.children = [Node(root, 1 / arms, i) for i in range(arms)]
    leaves = ask(root, k)
    assert len(set(leaves)) == len(leaves) == min(k, arms)


def test_the_policies_in_closed_form() -> None:
    root = Node(visits=9, total=5.0)
    visited, fresh = Node(root, 0.25, visits=4, total=3.0), Node(root, 0.5)
    assert POLICIES["uct"](visited, 2.0) == pytest.approx(0.75 + 2 * (2.1972245773 / 4) ** 0.5)
    assert POLICIES["uct"](fresh, 2.0) == pytest.approx(0.5 + 2 * 2.1972245773**0.5)
    assert POLICIES["puct"](visited, 2.0) == pytest.approx(0.75 + 2 * 0.25 * 3 / 5)
    assert POLICIES["puct"](fresh, 2.0) == pytest.approx(2 * 0.5 * 3)
    with pytest.raises(ValueError, match="lies in"):
        tell(visited, 1.5)


def test_merged_searches_add_up() -> None:
    roots = [bandit([0.2, 0.8], 20, 1, "uct", seed) for seed in range(3)]
    whole = merged(roots, lambda node: node.what)
    assert whole.visits == sum(root.visits for root in roots)
    assert [c.visits for c in whole.children] == [sum(r.children[i].visits for r in roots) for i in range(2)]


# The search


@pytest.mark.parametrize("options", [{}, {"width": 1}, {"policy": "puct"}, {"trees": 2}, {"rollouts": 2}])
def test_mcts_finds_the_one_line_that_is_right(options: dict[str, Any]) -> None:
    tree = Tree(dict.fromkeys(lines(), 0), seed=1, right="cab")
    outcome = tree.engine.play(
        mcts, tree.player, judge="exact", children=8, iterations=60, output="visited", weight=0.3, **options
    )
    assert outcome.answer == "cab" and outcome.judge == "exact"
    assert max(candidate.score for candidate in outcome.candidates) == 1.0


@settings(max_examples=3)
@given(worths)
def test_mcts_by_value_finds_the_best_end(worth: dict[Line, int]) -> None:
    """With time enough for the whole tree, whatever the inner values say."""
    tree = Tree(worth)
    outcome = tree.engine.play(mcts, tree.player, evaluate="value", children=12, iterations=40, width=8, weight=2.0)
    ends = {line: worth[line] for line in lines() if len(line) == STEPS}
    seen = {candidate.answer for candidate in outcome.candidates}
    assert outcome.answer == "".join(max((line for line in ends if "".join(line) in seen), key=lambda line: ends[line]))
    assert len(seen) > 15


@pytest.mark.parametrize("evaluate", ["rollout", "value"])
def test_as_many_simulations_however_many_at_once(evaluate: str) -> None:
    for width in (1, 3, 4):
        tree = Tree(dict.fromkeys(lines(), 50), right="cab")
        searches: list[_Search] = []

        def program(problem: Any, player: Player, budget: Budget, width: int, searches: Any) -> Any:
            root = yield Start(player["step"].ask(problem), player.sampling)
            searches.append(_Search(Growing(problem, player, budget, "sample", 3), root, evaluate, "exact"))
            yield from searches[0].run(10, width, POLICIES["uct"], 1.0)
            return Outcome(None)

        tree.engine.play(program, tree.player, width=width, searches=searches)
        assert searches[0].root.visits == 10 and searches[0].root.pending == 0


def test_no_leaf_is_deeper_than_the_depth() -> None:
    tree = Tree(dict.fromkeys(lines(), 50))
    outcome = tree.engine.play(mcts, tree.player, evaluate="value", iterations=30, children=8, depth=2)
    written = [_line(thought.text) for thought in outcome.tree if not thought.text.startswith("value")]
    assert outcome.answer is None and max(len(line) for line in written) == 1  # of its own; the others are its parents'
    parents = {thought.branch: thought.parent for thought in outcome.tree}
    depths = [len([*_above(parents, t.branch)]) for t in outcome.tree if not t.text.startswith("value")]
    assert max(depths) == 2


def _above(parents: dict[int, int | None], branch: int) -> Iterator[int]:
    while (above := parents[branch]) is not None:
        yield above
        branch = above


def test_mcts_prefills_a_line_once() -> None:
    tree = Tree(dict.fromkeys(lines(), 0), right="cab")
    outcome = tree.engine.play(mcts, tree.player, judge="exact", iterations=5)
    assert outcome.costs.prefilled == 1 and outcome.costs.recomputed == 0  # "go"; every fork goes on from there
    assert outcome.costs.resent > outcome.costs.decoded


SEARCHES = (tree_of_thoughts, tree_of_thoughts_dfs, mcts)


@settings(max_examples=15)
@given(st.sampled_from(SEARCHES), st.integers(0, 80), st.sampled_from(["propose", "sample"]), worths)
def test_no_search_exceeds_its_budget(method: Any, tokens: int, generate: str, worth: dict[Line, int]) -> None:
    tree = Tree(worth)
    options = {"generate": generate} if "generate" in method.options else {}
    outcome = tree.engine.play(method, tree.player, Budget(tokens), **options)  # which checks it
    assert outcome.answer is not None or outcome.spent


@pytest.mark.parametrize("method", SEARCHES)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=5)
def test_hostile_words_have_a_defined_result(method: Any, seed: int) -> None:
    tree, dice = Tree(dict.fromkeys(lines(), 50)), random.Random(seed)
    tree.engine.script = lambda words: dice.choice(["a", "b", ";", END, "propose", "go", "A", "B", "7", "|"])
    read = tree.player.roles["value"].read
    careful = {**tree.player.roles, "value": Role(tree.player.roles["value"].ask, lambda p, t: _or_zero(read, t))}
    player = Player("hostile", careful, tree.player.check, tree.player.sampling)
    outcome = tree.engine.play(method, player, Budget(100))
    assert outcome.answer is None or isinstance(outcome.answer, str)


def _or_zero(read: Any, text: str) -> float:
    try:
        return min(1.0, read(None, text))
    except ValueError:
        return 0.0


# Graph-of-Thoughts: sorting


class Sorting:
    """A model that splits in the middle, sorts (or swaps two numbers, half of the time) and merges what it has read."""

    def __init__(self, slip: float = 0.5, seed: int = 0) -> None:
        self.slip = slip
        self.engine = Scripted(self._script)
        roles = {
            "split": role(self.engine, lambda part, depth: f"split {_said(part)} :", self._parts),
            "sort": role(self.engine, lambda part: f"sort {_said(part)} =", lambda part, text: text or None),
            "merge": role(self.engine, lambda part: "merge =", lambda part, text: text or None),
            "improve": role(
                self.engine, lambda part, text: f"improve {text.replace(END, '')} =", lambda p, t: t or None
            ),
        }
        sampling = Sampling(temperature=1.0, seed=seed)
        self.player = Player("sorting", roles, lambda part, answer: answer == _said(sorted(part)), sampling)

    @staticmethod
    def _parts(part: list[int], text: str) -> list[list[int]]:
        return [[int(word) for word in half.split() if word.isdigit()] for half in text.split("|")]

    def _script(self, words: list[str]) -> str | dict[str, float]:
        try:
            return self._next(words)
        except (IndexError, ValueError):  # a text that was cut, or that has come to its end
            return END

    def _next(self, words: list[str]) -> str | dict[str, float]:
        """Reads the whole text from the left: a stack of results, as a merge needs them."""
        stack: list[list[str]] = []
        at = 0
        while True:
            kind = words[at]
            begin = words.index(":" if kind == "split" else "=", at) + 1
            given, rest = words[at + 1 : begin - 1], words[begin:]
            if kind == "split":
                half = (len(given) + 1) // 2
                want = [*given[:half], "|", *given[half:], END]
                maybe = want
            else:
                numbers = [stack.pop(-2), stack.pop()] if kind == "merge" else [given]
                want = sorted(itertools.chain(*numbers), key=int)
                maybe = [*want[1::-1], *want[2:]] if kind == "sort" else want
                want, maybe = [*want, END], [*maybe, END]
            done = next((n for n, word in enumerate(rest) if word == END), None)
            if done is None:
                n = len(rest)
                if n and rest[0] != want[0]:
                    want = maybe
                return want[n] if n or want == maybe else {want[0]: 1 - self.slip, maybe[0]: self.slip}
            if kind != "split":
                stack.append(rest[:done])
            at = begin + done + 1


def _said(numbers: list[int]) -> str:
    return " ".join(map(str, numbers))


LIST = [7, 3, 9, 1, 8, 2, 6, 4]


@pytest.mark.parametrize("join", ["stitch", "reprefill"])
@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_graph_of_thoughts_sorts_by_merging_branches(depth: int, join: str) -> None:
    task = Sorting(slip=0.2)
    outcome = task.engine.play(graph_of_thoughts, task.player, problem=LIST, depth=depth, join=join, width=5)
    assert outcome.answer == _said(sorted(LIST))
    kinds = [event.data["how"] for event in task.engine.events if event.kind == "joined"]
    aggregations = 2**depth - 1
    assert kinds.count(join) == aggregations
    assert kinds.count("select") == aggregations + 2**depth  # the best of every merge, and of every part
    assert (outcome.costs.recomputed == 0) == (join == "stitch" or depth == 0)


def test_a_deeper_graph_has_a_shorter_critical_path_per_part_but_writes_more() -> None:
    costs = []
    for depth in (0, 1):
        task = Sorting(slip=0.0)
        costs.append(task.engine.play(graph_of_thoughts, task.player, problem=LIST, depth=depth, width=1).costs)
    assert costs[0].critical == 9
    assert costs[1].critical == (8 + 2) + 5 + 9  # the split, the longer part, the merge
    assert costs[1].decoded == (8 + 2) + 2 * 5 + 9


def test_the_best_try_is_kept_and_a_wrong_one_improved() -> None:
    task = Sorting(slip=1.0)  # every try is wrong
    plain = task.engine.play(graph_of_thoughts, task.player, problem=LIST, depth=0)
    assert plain.answer == "2 1 3 4 6 7 8 9"
    again = Sorting(slip=1.0)
    better = again.engine.play(graph_of_thoughts, again.player, problem=LIST, depth=0, improve=1)
    assert better.answer == _said(sorted(LIST))


def test_what_the_model_does_not_split_is_sorted_as_it_is() -> None:
    task = Sorting(slip=0.0)
    roles = {**task.player.roles, "split": Role(task.player.roles["split"].ask, lambda part, text: [], most=1)}
    player = Player("stubborn", roles, task.player.check, task.player.sampling)
    task.engine.script = lambda words: task._script(words[words.index("sort") :]) if "sort" in words else "no"
    outcome = task.engine.play(graph_of_thoughts, player, problem=LIST)
    assert outcome.answer == _said(sorted(LIST))


@settings(max_examples=15)
@given(st.integers(0, 60), st.integers(0, 2), st.sampled_from(["stitch", "reprefill"]))
def test_the_graph_keeps_to_its_budget(tokens: int, depth: int, join: str) -> None:
    task = Sorting()
    outcome = task.engine.play(graph_of_thoughts, task.player, Budget(tokens), LIST, depth=depth, join=join)
    assert outcome.costs.decoded <= tokens
