# %% [markdown]
# # 10 Search
#
# In the last chapter every try began at the prompt, and nobody looked at it before its end. But half a thought can be
# looked at. Where it seems hopeless, stop; where it seems good, fork *there*, and go on with more.
#
# That is search, and this engine seems made for it: going on from a thought is a fork, so no thought is ever computed
# twice. What is left to pay is the looking. So the idea of this chapter is: **a search is worth what its look is
# worth, and a look costs tokens, too.**

# %%
# Where miniapr is not installed yet (on Colab, say), this installs it: from the folder above this notebook, or from
# the place that the environment variable MINIAPR names, such as git+https://... of the repository.
try:
    import miniapr
except ImportError:
    import os
    import subprocess
    import sys

    subprocess.run([sys.executable, "-m", "pip", "install", "-q", os.environ.get("MINIAPR", "..")], check=True)
    import miniapr

import random
from collections import Counter

from miniapr.engine.operations import Decode, Start
from miniapr.methods.budget import Budget
from miniapr.methods.play import play
from miniapr.methods.search.bandit import Node, ask, most_visited, tell, uct
from miniapr.methods.table import METHODS
from miniapr.players import game_of
from miniapr.show import draw
from miniapr.tasks import Problem
from miniapr.tasks.states import State, steps
from miniapr.tasks.states import value as truth

bundle = miniapr.load("countdown")
tokenizer = bundle.tokenizer
game = game_of(bundle)
player = game.player
puzzle = game.put(Problem((8, 7, 3), 29))

# %% [markdown]
# ## A tree by hand
#
# Three roles of the model are needed. As `<chain>` it takes steps; as `<propose>` it names a few steps that one could
# take; as `<value>` it says how good a place is: `sure`, `likely` or `never`. Questions are put in a context of their
# own: whoever is to judge a thought need not be told how it came about.

# %%
engine = miniapr.Engine(bundle.model, tokenizer, reuse_prefixes=False)


def asked(role, text=""):
    """A question about a thought, and what the model says."""
    question = engine.start(player[role].ask(puzzle, text))
    engine.decode([question], until=player[role].ends)
    print(f"{tokenizer.decode(question.history)}")
    return player[role].read(puzzle, question.text)


proposed = asked("propose")
first = list(dict.fromkeys(map(tuple, proposed)))  # each once: it may name a step twice
print(len(first), "different first steps:", [tokenizer.decode(step) for step in first])

# %% [markdown]
# A step names two numbers, its result, and what is left: `b*c 21 8` is 7 * 3 = 21, and 8. These are the first thoughts.
# A fork with a seed for each of them puts them side by side.

# %%
root = engine.start(player["step"].ask(puzzle))
thoughts = engine.fork(root, first)
worth = [asked("value", thought.text) for thought in thoughts]
best = thoughts[worth.index(max(worth))]
print("on with", best.text)
assert best.text.startswith("b*c") and worth.count(max(worth)) == 1

# %% [markdown]
# Four places, one of them is sure. Fork *there*. **Guess first.** The line to that place has 11 tokens by now. How many
# of them are computed again for the next thoughts?

# %%
before = root.request.cost.prefilled
second = list(dict.fromkeys(map(tuple, asked("propose", best.text))))
grown = engine.fork(best, second)
assert len(best.history) == len(player["step"].ask(puzzle)) + 3 == 11
again = root.request.cost.recomputed
print([thought.text for thought in grown], "|", root.request.cost.prefilled - before, "computed,", again, "again")
assert again == 0
assert root.request.cost.prefilled - before == 3  # the seed of the one that was forked from, and for all at once
draw.tree(*[thought for thought in thoughts if thought is not best], *grown, title="A tree of thoughts")

# %% [markdown]
# None *again*. Three tokens were computed, once: those that the thought consists of, since somebody now stands on it.
# A thought that nobody goes on from is never computed at all.
#
# `21 + 8` is 29. Done? The tree says so, because we can calculate. A search lets the line say so: it is written to its
# end, and says `hit` or does not.
#
# ## The bill
#
# Now the published method, Tree-of-Thoughts: propose, judge every thought three times, keep the best five, again. The
# same puzzle.
#
# **Guess first.** What will most of the tokens be spent on: on steps, on proposals, or on values?

# %%
outcome = play(miniapr.Engine(bundle.model, tokenizer), METHODS["tree-of-thoughts"](puzzle, player, Budget()), Budget())
born = {thought.branch: thought for thought in outcome.tree}


def kind(thought):
    """What a branch was written for, by the prompt that it stands on."""
    while thought.parent is not None:
        thought = born[thought.parent]
    return {"<chain>": "steps", "<propose>": "proposals", "<value>": "values"}[thought.text.split()[1]]


bill = Counter()
for thought in outcome.tree:
    bill[kind(thought)] += thought.decoded
print(outcome.answer, "|", outcome.costs.decoded, "tokens:", dict(bill), "| critical path", outcome.costs.critical)
assert player.check(puzzle, outcome.answer)
assert sum(bill.values()) == outcome.costs.decoded
assert bill["values"] > bill["proposals"] > bill["steps"] > 0

# %%
costs = outcome.costs
print("sent by a client without an engine:", costs.resent, "tokens")
print("prefilled here:", costs.prefilled, "  taken over by forks:", costs.reused)
assert costs.recomputed == 0
assert costs.prefilled < costs.resent

# %% [markdown]
# On values, by far. The steps themselves cost nothing: the proposal *is* the text of the next thoughts. What is
# counted as steps are the last words of the lines that came to their end. And a client who talks to a server in texts
# would have sent all those beginnings again and again; here they are forks.
#
# But mind what forks do not save. They save *reading* a prefix twice. Every word of a value is *decoded*, one after
# the other, and the next step waits for all of them.
#
# ## What is a value worth?
#
# We know the truth about every place: the numbers are few. So ask the model about places of two numbers and of three,
# and compare.


# %%
def verdicts(states):
    """What the model says of each state, how many tokens that took on average, and how often it is right."""

    def one(state):
        asked = yield Start(player["value"].ask(state))
        yield Decode([asked], until=player["value"].ends, max_tokens=30)
        return next((word for word in reversed(asked.text.split()) if word in ("sure", "likely", "never")), None), asked

    engine = miniapr.Engine(bundle.model, tokenizer, num_blocks=2048)
    requests = [engine.submit(one(state)) for state in states]
    said = [engine.wait(request) for request in requests]
    right = sum(word == truth(state) for state, (word, _) in zip(states, said, strict=True))
    return right / len(states), sum(len(asked.tokens) for _, asked in said) / len(states), said[0][1].text


dice = random.Random(1)
problems = [game.draw(dice, 3) for _ in range(10)]
two = [place for problem in problems[:8] for place in steps(problem).values()]
more = [game.draw(dice, 3) for _ in range(20)]
three = more + [State(problem.numbers, dice.randint(1, 100)) for problem in more]  # half of them with any target
looks = {f"{len(two)} places of two numbers": verdicts(two), f"{len(three)} of three": verdicts(three)}
for name, (right, tokens, example) in looks.items():
    print(f"{name:26} right {100 * right:3.0f} %   {tokens:4.1f} tokens   such as: {example}")

# %%
(sure, dear, _), (guess, cheap, _) = looks.values()
assert sure > 0.95 and guess < sure - 0.1
assert dear > 3 * cheap

# %% [markdown]
# Of two numbers it is practically never wrong. But look at what it says: it *tries* them, all four results, and
# then reads off the verdict. That is no judgement; that is the rest of the search under another name, and it costs
# what the rest of the search costs. Of three numbers it cannot do that in a token or two, so it guesses, and the guess
# is right in two of three cases (68 % of 300 in [the model's figures](../docs/training/roles.md)).
#
# That is the whole trouble of search with language models. **Where a value is right, it has done the work; where it is
# cheap, it knows little.** And a search needs it most at the beginning, where it knows least.
#
# ## Ask and tell
#
# Monte-Carlo tree search makes do with little: it *samples* how good a place is, and shares its attention between the
# place that has been best so far and those that it hardly knows. All that is arithmetic on counts, without a model, so
# let us look at it alone. You **ask** the tree which leaf to look at next, look, and **tell** it what you found.
#
# Three leaves, which are worth 0.2, 0.5 and 0.8. The tree does not know that.


# %%
def searched(at_once, looks=60):
    root = Node()
    tell(*ask(root, 1), 0.0)  # a first look, at the root
    root.children = [Node(root) for _ in range(3)]
    while root.visits <= looks:
        for leaf in ask(root, at_once):
            tell(leaf, (0.2, 0.5, 0.8)[root.children.index(leaf)])
    return root


alone = searched(at_once=1)
print("visits:", [leaf.visits for leaf in alone.children], " mean:", [round(leaf.mean, 2) for leaf in alone.children])
assert most_visited(alone) is alone.children[2]
assert alone.children[0].visits < alone.children[1].visits < alone.children[2].visits

# %% [markdown]
# Most looks went to the best leaf, and none was forgotten. A leaf is chosen for its mean, plus a bonus that grows with
# everybody's visits and shrinks with its own: `Q + w sqrt(ln N / n)`.
#
# But that is one leaf at a time: ask, wait for the model, tell. Our engine would rather decode eight branches in a
# pass. **Guess first.** Ask twice before telling anything. Which two leaves do you get?

# %%
blind = [max(alone.children, key=lambda leaf: uct(leaf, 1.0)) for _ in range(2)]
leaves = ask(alone, 2)
print("by the formula alone:", [alone.children.index(leaf) for leaf in blind])
print("as ask() does it:    ", [alone.children.index(leaf) for leaf in leaves])
assert len(set(map(id, blind))) == 1 and len(set(map(id, leaves))) == len(leaves) == 2
assert [leaf.pending for leaf in leaves] == [1] * len(leaves)
for leaf in leaves:
    tell(leaf, 0.5)

# %% [markdown]
# The same twice, of course: nothing has changed in between. So whoever asks leaves a mark, a **virtual loss**: a
# visit that has brought nothing *so far*. The leaf looks worse, and the next question leads elsewhere. `tell` replaces
# the mark by what was found.
#
# Its price: some looks go where nobody would have gone one by one.

# %%
rows = {f"{k} at once": [leaf.visits for leaf in searched(k).children] for k in (1, 2, 3)}
draw.matrix(list(rows.values()), list(rows), [0.2, 0.5, 0.8], "Visits of the leaves, by what they are worth")

# %%
assert all(visits[2] == max(visits) for visits in rows.values())
assert rows["3 at once"][0] > rows["1 at once"][0]

# %% [markdown]
# A small one: the best leaf still gets most of the looks. `ask` sees to that. Where the next way down leads to a leaf
# that is out already, it returns fewer leaves rather than the same twice. So a tree must be a good deal wider than the
# batch; a search that fills its batch at any price looks at everything equally often.
#
# ## Not a tree
#
# Two lines can come to the same place: 8 + 7 and 7 + 8 is the least of it. How many lines are there, and how many
# places?


# %%
def lines_and_places(numbers):
    lines, level, places = 1, [State(numbers, 0)], 0
    while len(level[0].numbers) > 1:
        level = [after for place in level for after in steps(place).values()]
        lines = len(level)
        level_places = {tuple(sorted(place.numbers)) for place in level}
        places += len(level_places)
    return lines, places


for numbers in ((8, 7, 3), (8, 7, 3, 2)):
    lines, places = lines_and_places(numbers)
    print(f"{numbers}: {lines} lines, through {places} different places")
assert places < lines / 2  # of four numbers

# %% [markdown]
# So it is a **graph**. Tree-of-Thoughts and our MCTS keep the first line that comes to a place and let the others go
# (`State.key` says what the same place is).
#
# Graph-of-Thoughts means more than that by its name: a thought that is *made of* several, an *aggregation*. To most
# systems a thought is a prompt, so they paste the texts together. You know what it is here: a node with two parents is
# a **join**.

# %%
left, right = (thought for thought in thoughts if thought is not best and thought.text[:3] in ("a-c", "a+c"))
both = engine.join(root, [left, right], "stitch", then=[player.control.join], keep=True)
draw.tree(both, title="A thought that stands on two")

# %%
assert len(both.history) == len(root.history) + 3 + 3 + 1 and both.request.cost.recomputed == 0

# %% [markdown]
# ## When plain sampling wins
#
# All of it on ten problems, with 150 tokens each: last chapter's vote over eight tries, Tree-of-Thoughts, and MCTS
# whose leaves grow 3 children, as published, and 8.


# %%
def raced(name, **options):
    engine = miniapr.Engine(bundle.model, tokenizer, num_blocks=4096)
    programs = [
        METHODS[name](problem, player.seeded(seed), Budget(150), **options) for seed, problem in enumerate(problems)
    ]
    requests = [engine.submit(program, Budget(150).limits) for program in programs]
    outcomes = [engine.wait(request) for request in requests]
    right = sum(player.check(problem, one.answer) for problem, one in zip(problems, outcomes, strict=True))
    waits = [max(branch.critical for branch in request.branches) for request in requests]
    tokens = [request.cost.decoded for request in requests]
    assert max(tokens) <= 150
    return [right, sum(tokens) / len(tokens), sum(waits) / len(waits)]


table = {
    "eight tries and a vote": raced("self-consistency"),
    "tree of thoughts": raced("tree-of-thoughts"),
    "MCTS, 3 children": raced("mcts"),
    "MCTS, 8 children": raced("mcts", children=8),
}
columns = ["solved", "tokens", "critical path"]
draw.matrix(list(table.values()), list(table), columns, "Ten problems, at most 150 tokens each", ".0f")

# %%
vote, tree, narrow, wide = table.values()
assert tree[0] < vote[0] and tree[1] > 1.5 * vote[1]
assert vote[2] < min(tree[2], narrow[2], wide[2]) / 2
assert narrow[1] < wide[1]

# %% [markdown]
# The tree solves fewer, for more than twice the tokens and four times the wait. It is not a matter of ten problems.
# On 210, at this budget ([all methods](../docs/race.md)): a vote over eight 90 % (85-93) with 57 tokens, MCTS 76 %
# (70-81) with 51, Tree-of-Thoughts 40 % (33-46) with 128; and others have found the same with large models on school
# mathematics. Three reasons, and none of them is a fault in the search:
#
# 1. **The look is dear and weak.** The tree spends its budget on values, and the ones that would matter most are the
#    guesses.
# 2. **It commits.** MCTS with 3 children samples three first steps. Is the right one not among them, no number of
#    iterations helps: with 64 of them, *and with the exact verifier as its judge*, it stays at 76 % (70-81). With 8
#    children and 100 simulations it comes to 88 %, for 140 tokens; a vote over twenty, which draws anew each time, has
#    97 % for as many.
# 3. **It waits.** Every level needs the values of the one before. Tries need nobody.
#
# Search pays where these are turned round: where a look is cheap and right (the rules of chess, a compiler, a proof
# checker), where a wrong step shows at once, and where a try is so long that what is good in it should not be thrown
# away. Our puzzle has two steps. A proof of two hundred nobody finds by sampling it whole.
#
# ## What to remember
#
# | | grows by | looks by | chooses | waits for |
# |---|---|---|---|---|
# | tries (chapter 9) | whole lines | nothing | a vote, a judge | the longest |
# | Tree-of-Thoughts | all of a level | values, three each | the best b | every level's values |
# | MCTS | the most promising leaf | a try to the end, or a value | mean and bonus | k leaves at a time |
# | Graph-of-Thoughts | parts, and joins of them | scores | the best of each part | its parts |
#
# The branches of a search are compared from above, by somebody who looks at all of them. They themselves still know
# nothing of each other. What if they could read each other *while they write*?
# [Chapter 11](11_thoughts_that_see_each_other.ipynb).
#
# ## Exercises
#
# - **10.1 Ask.** Select leaves by UCT, several at once. `miniapr learn check 10.1`
# - **10.2 One level deep**. A tree search that never gets anywhere. `miniapr learn check 10.2`
# - **10.3 What does a client send?** A search tree, told to a server in texts. `miniapr learn check 10.3`
#
# ## References
#
# - Yao et al. 2023, *Tree of Thoughts: Deliberate Problem Solving with Large Language Models*.
# - Besta et al. 2023, *Graph of Thoughts: Solving Elaborate Problems with Large Language Models*.
# - Hao et al. 2023, *Reasoning with Language Model is Planning with World Model* (RAP): MCTS over steps of thought.
# - Kocsis & Szepesvari 2006, *Bandit Based Monte-Carlo Planning*: UCT. Chaslot et al. 2008, *Parallel Monte-Carlo Tree
#   Search*: virtual loss.
# - In this package: `miniapr/methods/search/`; `bandit.py` is ask and tell, and knows nothing of models.
