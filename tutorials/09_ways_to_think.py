# %% [markdown]
# # 9 Ways to think
#
# So far somebody read what the branches wrote: a join makes one thought of them. Now leave the join away. Fork, let
# every branch think by itself, and **nobody reads the others**. What is such a fork good for?
#
# For having more than one try. All that is left to do in the end is to *choose*, and so the idea of this chapter is:
# **where nobody reads, the judge is everything.** Self-consistency, best-of-N, DeepConf and Skeleton-of-Thought are
# one fork, and differ in who chooses.

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
from functools import cache
from itertools import combinations, pairwise

from miniapr import Sampling
from miniapr.engine.operations import Decode, Fork, Start
from miniapr.methods.budget import Budget
from miniapr.methods.judges import likelihood, vote
from miniapr.methods.table import METHODS
from miniapr.players import game_of
from miniapr.show import draw
from miniapr.tasks import Problem

bundle = miniapr.load("countdown")
tokenizer = bundle.tokenizer
game = game_of(bundle)
player = game.player

# %% [markdown]
# ## A model with many roles
#
# This model can be asked in different ways, each with a control token of its own. Here it is `<chain>`: *take one
# step after the other, any sensible one, and stop*. Its words are those of chapter 0: `b*c 21 8` reads,
# multiply the second number that is left by the third, which gives 21, and 8 is left.
#
# The **player** knows how the task is put to this model and how its words are read back; the methods below know
# neither the task nor the model.

# %%
puzzle = game.put(Problem((8, 7, 3), 29))
chain = player["chain"]
prompt = chain.ask(puzzle)
print(tokenizer.decode(prompt))

engine = miniapr.Engine(bundle.model, tokenizer)
greedy = engine.start(prompt)
engine.decode([greedy], until=chain.ends)
print(greedy.text)
print("answer:", player.candidate(puzzle, greedy).answer)
assert player.candidate(puzzle, greedy).answer is None

# %% [markdown]
# `a*c 24 7`, then `a+b 31`. That is not 29, so it stops without an answer. (With one it would have gone on: `hit`, and
# the steps once more.) A few tokens, and nothing came of them. A greedy line says the same each time it is asked. A
# **sampled** one does not: it draws each token by the model's own probabilities.
#
# ## Eight tries
#
# Fork after the prompt, and let eight branches draw. Each has dice of its own, made from the seed and from its place
# in the tree.
#
# **Guess first.** The prompt has 8 tokens. How many are computed before the branches can begin: 8 or 64?

# %%
engine = miniapr.Engine(bundle.model, tokenizer, reuse_prefixes=False)
root = engine.start(prompt, Sampling(temperature=1.0, seed=2))
tries = engine.fork(root, 8)
engine.decode(tries, until=chain.ends)
candidates = [player.candidate(puzzle, branch, likelihood(branch.generated)) for branch in tries]
for branch, one in zip(tries, candidates, strict=True):
    print(f"{branch.text:40} answer {one.answer!s:14} confidence {one.score:.2f}")
cost = root.request.cost
print(f"\n{cost.prefilled} tokens prefilled, {cost.decoded} decoded in {cost.steps} passes")
assert cost.prefilled == len(prompt) == 8
assert cost.decoded == sum(len(branch.tokens) for branch in tries)
assert cost.steps == max(len(branch.tokens) for branch in tries)

# %%
draw.tree(*tries, title="Eight tries: one prompt, nobody sees anybody")

# %% [markdown]
# Eight tokens for all of them, and as many passes as the longest try is long. Of eight tries one has found it.
#
# ## Who chooses?
#
# Now somebody must say which of the eight it is. Three judges:
#
# - **a vote** (self-consistency): the most frequent answer. A try without an answer has no vote;
# - **confidence**: the try whose words were the likeliest, to the model itself. Above it is the mean log-probability of
#   a token; 0 would be certainty;
# - **the verifier**: whoever can check an answer exactly, here the rules of arithmetic.
#
# **Guess first.** Seven tries failed, one is right. Which judges find it?

# %%
by_vote = vote(candidates)
by_confidence = max(candidates, key=lambda one: one.score)
by_verifier = max(candidates, key=lambda one: player.check(puzzle, one.answer))
print("vote:      ", by_vote)
print("confidence:", by_confidence.answer, "  from", by_confidence.text)
print("verifier:  ", by_verifier.answer)
assert player.check(puzzle, by_vote) and player.check(puzzle, by_verifier.answer)
assert by_confidence.answer is None  # it is surest of a try that failed

# %% [markdown]
# The vote finds it, with one vote against nobody's. Confidence does not: the model is surest of `a*c`, which is what
# the greedy line did, and where it leads is beside the point. **Being sure is not being right.** So miniapr's
# best-of-N lets a try with an answer go before one without, whatever the scores.
#
# Why is a mere vote so good here? Because of a habit of this model: *a try that fails says so.* It adds up what it has
# got, sees that it is not the target, and stops. Wrong answers hardly ever come to the vote. Where a model cannot
# check itself (and for most questions nobody can, that cheaply), wrong answers vote too, and a popular mistake wins.
# A vote measures agreement; that this is truth is a property of the task.
#
# ## With the verifier: pass@k
#
# The exact judge is a special one. Best-of-N with it is right exactly when *any* try is. That has a name of its own:
# **pass@N**. It says how good the tries are, and nothing about how to choose.
#
# Let us measure it. Twenty problems that the model has never seen, 16 tries each. All of them in one engine: a program
# for each problem, and every forward pass serves all 320 branches.

# %%
TRIES = 16


def sixteen(problem, seed):
    root = yield Start(chain.ask(problem), Sampling(temperature=1.0, seed=seed))
    branches = yield Fork(root, TRIES)
    yield Decode(branches, until=chain.ends)
    return [player.candidate(problem, branch, likelihood(branch.generated)) for branch in branches]


dice = random.Random(1)
problems = [game.draw(dice, 3) for _ in range(20)]
engine = miniapr.Engine(bundle.model, tokenizer, num_blocks=2048)
requests = [engine.submit(sixteen(problem, seed)) for seed, problem in enumerate(problems)]
tried = [engine.wait(request) for request in requests]
right = [[player.check(problem, one.answer) for one in found] for problem, found in zip(problems, tried, strict=True)]
counts = [sum(row) for row in right]
print("right of 16:", counts)

# %%
answered = [one.answer is not None for found in tried for one in found]
print(f"{sum(answered)} of {len(answered)} tries have an answer, {sum(counts)} are right")
assert sum(answered) - sum(counts) <= 3  # a try that fails says so
solved = [player.check(problem, vote(found)) for problem, found in zip(problems, tried, strict=True)]
assert abs(sum(solved) - sum(map(any, right))) <= 1  # so the vote is as good as the verifier

# %% [markdown]
# Of 16 tries one can take any `k`, so `pass@k` is the share of all these choices that hold at least one right try.
# (Exercise 9.1 does it without trying them out.) Beside it the curve that one might expect from the mean: if a try is
# right with probability p, then k tries all fail with probability (1 - p)^k.
#
# **Guess first.** Is the real curve above or below?


# %%
@cache
def passes(right, k):
    """The share of all choices of k tries, of 16 with so many right ones, that hold a right one."""
    chosen = list(combinations([True] * right + [False] * (TRIES - right), k))
    return sum(map(any, chosen)) / len(chosen)


def chosen(judge, k):
    """The share of problems whose best of the first k tries, to this judge, is right."""
    firsts = [max(range(k), key=lambda number: judge(found[number])) for found in tried]
    return sum(row[number] for row, number in zip(right, firsts, strict=True)) / len(right)


ks = (1, 2, 4, 8, 16)
p = sum(counts) / TRIES / len(counts)
alike = [1 - (1 - p) ** k for k in ks]
verifier = [sum(passes(count, k) for count in counts) / len(counts) for k in ks]
surest = [chosen(lambda one: one.score, k) for k in ks]
shortest = [chosen(lambda one: -len(one.text.split()), k) for k in ks]
picture, plot = draw.axes("Twenty problems, 16 tries each: who chooses?")
for values, name, style in (
    (alike, "if all problems were alike: 1 - (1 - p)^k", ":"),
    (verifier, "the verifier: pass@k", "-"),
    (surest, "confidence", "--"),
    (shortest, "whoever is done first", "-."),
):
    plot.plot(ks, [100 * value for value in values], style, marker="o", label=name)
plot.set_xscale("log", base=2)
plot.set_xticks(ks, ks)
plot.set_ylim(-3, 105)
plot.set_xlabel("tries k")
plot.set_ylabel("solved, %")
plot.legend(fontsize=8)
picture

# %%
assert abs(verifier[0] - p) < 1e-9
assert all(a <= b for a, b in pairwise(verifier))  # more tries never hurt it
assert all(real < bound for real, bound in zip(verifier[1:], alike[1:], strict=True))
assert surest[-1] <= verifier[-1]
assert shortest[-1] < shortest[0]

# %% [markdown]
# Below. Problems are not alike: on some most tries are right, on some hardly one, and a problem of the second kind is
# still open when all of the first kind are long solved. So a sentence such as "p is a third, eight tries make it 96 %"
# is always too good.
#
# Confidence, wrong as it was above, does well on the whole: a try that hits ends by repeating its steps, and words that
# repeat are easy to be sure of. That is luck of the format. And the last curve falls. A try that fails is shorter here,
# so **whoever takes the first that is done gets worse with every try**. The right ones were there; the judge threw them
# away. More tries are worth what the judge is worth.
#
# The same as methods, with a row each in `miniapr methods`. Best-of-N with the exact judge is pass@N, problem by
# problem:


# %%
def played(name, budget, **options):
    """Every problem by a method: outcomes, and the tokens that they took together."""
    engine = miniapr.Engine(bundle.model, tokenizer, num_blocks=2048)
    programs = [METHODS[name](problem, player.seeded(seed), budget, **options) for seed, problem in enumerate(problems)]
    requests = [engine.submit(program, budget.limits) for program in programs]
    outcomes = [engine.wait(request) for request in requests]
    return outcomes, sum(request.cost.decoded for request in requests)


def share(outcomes):
    return sum(player.check(problem, one.answer) for problem, one in zip(problems, outcomes, strict=True))


outcomes, tokens = played("best-of-n", Budget(), width=TRIES)
for problem, outcome, row in zip(problems, outcomes, right, strict=True):
    assert player.check(problem, outcome.answer) == any(row)
print(f"best-of-16: {share(outcomes)} of 20 right with {tokens} tokens; any of 16 right: {sum(map(any, right))}")

# %% [markdown]
# A method that is judged by the verifier has been told what is right. Never put it in one table with one that has
# not: compare it with the others that were told. In [the table of all methods](../docs/race.md) they are marked.
#
# ## The same budget for everybody
#
# More tries cost more tokens, so a comparison needs a **budget**: tokens decoded in all branches together, for
# whatever purpose. Here 40 for a problem. A try takes 6 if it fails, and 9 if it hits.
#
# - one line, greedy;
# - eight tries and a vote, all at once: 5 tokens for each;
# - the same, but **no wider than the budget can bring to an end** (`budget-aware`): the others wait.
#
# **Guess first.** Which one is the worst?

# %%
table = {}
for name, options in (
    ("sequential", {}),
    ("self-consistency", {"width": 8}),
    ("budget-aware", {"width": 8, "length": 9}),
):
    outcomes, tokens = played(name, Budget(tokens=40), **options)
    table[name] = [share(outcomes), tokens / len(problems)]
    assert tokens <= 40 * len(problems)
draw.matrix(list(table.values()), list(table), ["solved of 20", "tokens each"], "At most 40 tokens a problem", ".0f")

# %%
assert table["self-consistency"][0] < table["sequential"][0] < table["budget-aware"][0]

# %% [markdown]
# Eight tries that are all cut short are worth nothing; four that come to an end are worth a lot. And the line could
# not use its budget at all: after a few tokens it was done. That is the true reason for all these methods. **A line of
# thought ends when it ends; a fork turns a budget into more thoughts.**
#
# How does it compare with a model that searches on in its line, until it hits? This one can do that as well (`<bos>
# <sequential>`). From the tables in [measured](../docs/measured.md) and [race](../docs/race.md), on about 200 held-out
# problems each:
#
# | | right, % | tokens in all | the wait: tokens one after the other |
# |---|---|---|---|
# | one chain, greedy | 59 (52-65) | 8 | 8 |
# | eight chains and a vote | 90 (85-93) | 57 | 9 |
# | 64 chains and a vote | 99.5 (97-100) | 453 | 9 |
# | searching in one line | 97.5 | 52 | 52 |
# | plan, threads, join | 98.5 | 90 | 32 |
#
# Tries are the fastest of all. But they know nothing of each other, so the last few problems cost the most: one chain
# in three is right, so of 64 some twenty say the same. A plan says *who tries what*. That is what a plan is for.
#
# ## And if nobody chooses?
#
# Skeleton-of-Thought goes one step further: there is no choice, either. The model writes an outline, each point is
# written out by itself, all at the same time, and the answer is their **concatenation**. Our model writes an outline
# when it is asked to be `<adaptive>`: its plan. Let us expand the points, and stop there.

# %%
adaptive, control = player["adaptive"], player.control
engine = miniapr.Engine(bundle.model, tokenizer, reuse_prefixes=False)
outline = engine.start(adaptive.ask(puzzle))
engine.decode([outline], until=adaptive.ends)
plan = miniapr.read_plan(outline.tokens, control, width=24)
points = engine.fork(outline, [(control.thread, *item) for item in plan.items])
engine.decode(points, until=adaptive.ends)
print(outline.text, *(point.text for point in points), sep="\n")

# %%
hits = [point for point in points if "hit" in point.text]
assert 0 < len(hits) < len(points)

# %% [markdown]
# There it stands, in one line of many: `hit`. For advice in ten points that is fine, and it is what
# Skeleton-of-Thought was made for: *you* read it. But as an answer to a question it is none. Somebody has to read all
# of it and say what follows, and that is a join (chapters 6 and 7):

# %%
before = outline.request.cost.decoded
joined = engine.join(outline, points, "stitch", then=[control.join])
engine.decode([joined], until=adaptive.ends)
reading = outline.request.cost.decoded - before
print(joined.completion.text, "  that is", player.candidate(puzzle, joined, role="adaptive").answer)
print(f"{reading} tokens to conclude, after {before} that were there to read")
assert player.check(puzzle, player.candidate(puzzle, joined, role="adaptive").answer)
assert reading < 5 < before

# %% [markdown]
# A few tokens. Between a list of thoughts and a thought lies only a reader, and it is cheap. Its price was paid before:
# a model must have *learned* to read branches (chapter 13).
#
# ## What to remember
#
# | | a fork's branches | who decides | needs | in miniapr |
# |---|---|---|---|---|
# | self-consistency | tries | the most frequent answer | answers that can be compared | `self-consistency` |
# | DeepConf | tries | the same, weighted by confidence | log-probabilities | `deepconf` |
# | best-of-N | tries | a judge; the exact one makes it pass@N | a judge | `best-of-n` |
# | Skeleton-of-Thought | points | nobody: you read them | a model that outlines | `skeleton-of-thought` |
# | fork and join | parts | who reads them all | a model that was trained to | `multiverse`, `threadweaver` |
#
# `miniapr think self-consistency` runs one of them, `miniapr race` all on the same problems.
#
# Here every try began at the same place, the prompt, and none learned that a sibling had failed. What if one could
# look at half a thought, judge it, and go on from the best? Then a fork may stand anywhere: [search](10_search.ipynb).
#
# ## Exercises
#
# - **9.1 Any of k.** pass@k from n tries, exactly. `miniapr learn check 9.1`
# - **9.2 Nobody wins the election**. A vote that is won by those who say nothing. `miniapr learn check 9.2`
# - **9.3 The judge that could be fooled**. An exact verifier that gave full marks for `2**3`.
#   `miniapr learn check 9.3`
#
# ## References
#
# - Wang et al. 2022, *Self-Consistency Improves Chain of Thought Reasoning in Language Models*.
# - Cobbe et al. 2021, *Training Verifiers to Solve Math Word Problems*: best-of-N with a trained judge.
# - Chen et al. 2021, *Evaluating Large Language Models Trained on Code*: pass@k, and how to estimate it.
# - Fu et al. 2025, *Deep Think with Confidence*. Ning et al. 2023, *Skeleton-of-Thought*.
# - In this package: `miniapr/methods/judges.py`, `self_consistency.py`, `best_of_n.py`, `skeleton_of_thought.py`.
