# %% [markdown]
# # 11 Thoughts that see each other
#
# Branches of a fork know nothing of each other. That is what made everything simple so far: a view is fixed at the
# fork, what is in it is never written again, and it does not matter who is computed first. But it is also a waste.
# Eight people in a room, who may not listen until everybody has finished?
#
# Group Think and Hogwild! let them listen: several thoughts grow **side by side, and each reads the words of the others
# as they are written**. Then, what does a token see? It cannot be "what happens to be there"; the answer would depend
# on how busy the machine is. The idea of this chapter: **what is seen goes by index; where it is seen goes by
# position.** Neither has anything to do with time.

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

from miniapr import Sampling
from miniapr.methods.budget import Budget
from miniapr.methods.table import METHODS
from miniapr.players import game_of
from miniapr.show import draw
from miniapr.stepper import Trace
from miniapr.tasks import Problem
from miniapr.tasks.states import steps

bundle = miniapr.load("countdown")
tokenizer = bundle.tokenizer
game = game_of(bundle)
player = game.player
puzzle = game.put(Problem((8, 7, 3), 29))
worker = player["thinker"]


def team(size, positions, slot=None, seed=0, **options):
    """A fork whose branches are woven together: they see each other from now on."""
    engine = miniapr.Engine(bundle.model, tokenizer, reuse_prefixes=False, **options)
    root = engine.start(worker.ask(puzzle), Sampling(temperature=1.0, seed=seed))
    branches = engine.fork(root, [worker.ask(puzzle, str(number)) for number in range(1, size + 1)])
    return engine, engine.weave(branches, positions, slot)


# %% [markdown]
# ## Three workers
#
# In the role `<worker>` the model tries one line after the other, and writes `miss` after each that led nowhere. It has
# been trained in company: *take a line that nobody has taken; if somebody has hit, say what he found.* Nobody hands out
# the lines. There is no plan.
#
# `weave` is the new operation. It takes the children of a fork before they have written anything, and ties them
# together; all else is as before. Each worker is told its number, and off they go, a token each in every pass.

# %%
engine, workers = team(3, "slots", 64)
engine.decode(workers, until=worker.ends, max_tokens=100)
words = [branch.text.split()[2:-1] for branch in workers]  # without "<thread> 1" and the end
indices = range(2, 2 + max(map(len, words)))
cells = [row + [None] * (len(indices) - len(row)) for row in words]
fills = [[draw.colour(branch.span)] * len(indices) for branch in workers]
draw.matrix(cells, ["worker 1", "worker 2", "worker 3"], indices, "One column is one pass: who says what", fills=fills)

# %% [markdown]
# Read it from left to right, all three rows at once. Each begins with another line. Then one of them finds it: `b*c 21
# 8`, then `a+b 29 hit`. **Guess first.** What do the other two do when they see that, and how do they know which steps
# it was?

# %%
hits = [row.index("hit") for row in words]
finder = hits.index(min(hits))
for number, row in enumerate(words):
    before = row[: hits[number]]
    print(f"worker {number + 1}: hit at index {2 + hits[number]}; tried b*c itself: {'b*c' in before}")
    assert ("b*c" in before) == (number == finder)
    assert row[hits[number] + 1 :] == ["b*c", "a+b"]
assert sorted(hits)[1] > hits[finder]

# %% [markdown]
# They finish their line, and then say what they have read: `hit`, and the steps of somebody else. Nobody joined
# anything.
#
# The same three, with the same dice, who do *not* see each other (`private`):

# %%
apart, strangers = team(3, "private")
apart.decode(strangers, until=worker.ends, max_tokens=100)
for name, branches in (("see each other", workers), ("do not", strangers)):
    tokens, wait = branches[0].request.cost.decoded, max(branch.critical for branch in branches)
    print(f"{name:15} {tokens:4} tokens, critical path {wait}")
for branch in strangers:
    print(branch.text)
assert workers[0].request.cost.decoded < strangers[0].request.cost.decoded

# %% [markdown]
# ## By index
#
# So what does a token see? Everything before the fork; its own words; and of each other worker **the words up to its
# own index**, its own included: token `i` sees tokens `0..i` of all. In a pass all workers write their keys, and then
# all of them look. Here are two, after four words each.

# %%
engine, pair = team(2, "shared", record=True)
engine.decode(pair, max_tokens=2)
for branch in pair:
    engine.settle(branch)
draw.mask(*pair, title="Who attends to whom", rows=8)

# %% [markdown]
# Two staircases in each half. In a fork (chapter 4) the squares off the diagonal would be empty. Here is how it grew:
# point at a word of one worker, and see which words of the other it attends to.

# %%
Trace.of(engine, title="two workers who read each other")

# %% [markdown]
# A picture shows what was meant. Does the model compute it? Change one word of worker 2 and see whether the logits
# of worker 1 notice.
#
# **Guess first.** The table has a row for each word of worker 1 and a column for the word of worker 2 that is
# changed. Which cells get a dot?

# %%
ONE = ["<thread>", "1", "a+b", "15", "3"]
TWO = ["<thread>", "2", "a+c", "11", "7", ":"]


def logits(one, two, **options):
    """After the last word of worker 1, if both have written just this."""
    engine = miniapr.Engine(bundle.model, tokenizer, reuse_prefixes=False, **options)
    root = engine.start(worker.ask(puzzle))
    both = engine.weave(engine.fork(root, [tokenizer.ids(one), tokenizer.ids(two)]), "shared")
    for branch in both:
        engine.settle(branch)
    return both[0].logits


def notices(i, j):
    """Whether word i of worker 1 depends on word j of worker 2."""
    changed = [*TWO[:j], "miss", *TWO[j + 1 :]]
    return float((logits(ONE[: i + 1], changed) - logits(ONE[: i + 1], TWO)).abs().max()) > 1e-5


grid = [[notices(i, j) for j in range(len(TWO))] for i in range(len(ONE))]
draw.matrix(grid, ONE, TWO, "Does this word (row) notice when that one (column) is changed?")

# %%
assert grid == [[j <= i for j in range(len(TWO))] for i in range(len(ONE))]

# %% [markdown]
# Exactly `j <= i`. Worker 2 had written more than that, and it made no difference: **the index decides, and not what
# happens to be there.** Systems that append to a shared cache and look at what they find give another text on a busy
# day.
#
# Three consequences, which the engine takes care of:
#
# - the tokens of one index are computed in one pass, all keys before anybody looks. A small batch cannot separate them;
# - one that stands still while the others go on is *overtaken*: what it says later stands at the index where the others
#   are by then. They have gone on without it, and cannot have heard what it had not said;
# - one that leaves stays in sight. The others have read it; its blocks are kept until the last of them is done.

# %%
again, same = team(3, "slots", 64, max_batch_tokens=2)
again.decode(same, until=worker.ends, max_tokens=100)
assert [branch.text for branch in same] == [branch.text for branch in workers]
print("two rows a pass at most, in", again.steps, "steps: the same words")


# %%
def seen(branch):
    """All that its last word saw, in order."""
    span = branch.span
    return tokenizer.decode([t for piece in span.weave.sees(span, len(span.tokens)) for t in piece.tokens])


late, (first, second) = team(2, "shared")
late.decode([first], max_tokens=5)  # the second stands still
late.decode([second], max_tokens=1)
late.settle(second)
print("the first has said", first.text, "| the second", second.text)
print("and the last word of the second has seen", seen(second))
assert len(second.tokens) == 3 and " ".join(first.text.split()[:6]) in seen(second)

# %% [markdown]
# ## By position
#
# Everybody's words are in sight. *Where*, though? Worker 1 and worker 2 write at the same time: has the third word of
# worker 2 the position of the third word of worker 1, or another one? Nothing in the mathematics says so. There are
# several answers, and each is somebody's:
#
# | | where a worker writes | where it sees the others | used by |
# |---|---|---|---|
# | `slots` | from its own slot on | where they wrote: ahead of it or behind | Group Think |
# | `shared` | all count on from the fork | at the very same positions as its own words | a stitch (chapter 7) |
# | `contiguous` | as `shared` | as one text: the others first, then its own | Hogwild! |
# | `private` | as `shared` | not at all, before it is shared | Hogwild!, between paragraphs |
#
# `contiguous` is remarkable. To worker 1 the text reads: *prompt, worker 2, worker 1*; to worker 2: *prompt, worker 1,
# worker 2*. Each is the last one in its own world, and both worlds grow in the middle. Nothing is moved in memory: the
# query is turned instead (chapter 7), by more and more, as the others write.

# %%
engine, pair = team(2, "contiguous")
engine.decode(pair, max_tokens=2)
for branch in pair:
    engine.settle(branch)
draw.mask(*pair, title="contiguous: all that is not one's own counts as moved", rows=8)

# %% [markdown]
# Is that a matter of taste? Ask a model that was trained with `slots`. Here is the same team at other positions, and a
# test that is easy to make: behind the first step of a line stand its result and what is left. Are they right?


# %%
def lines(text):
    """The lines that a worker tried: each its first step, and the two numbers that it says are left."""
    words = text.split()
    starts = [2, *(i + 1 for i, word in enumerate(words) if word == "miss")]
    return [words[i : i + 3] for i in starts if i + 2 < len(words) and words[i] in steps(puzzle)]


def sound(branches):
    """How many lines begin with true numbers, of how many."""
    tried = [line for branch in branches for line in lines(branch.text)]
    true = [line for line in tried if line[1:] == [str(number) for number in steps(puzzle)[line[0]].numbers]]
    return len(true), len(tried)


mixed, confused = team(3, "shared", seed=1)
mixed.decode(confused, until=worker.ends, max_tokens=30)
for name, branches in (("slots", workers), ("private", strangers), ("shared", confused)):
    print(f"{name:8} {sound(branches)[0]} of {sound(branches)[1]} lines begin with true numbers")
print(*(branch.text for branch in confused), sep="\n")

# %%
assert sound(workers)[0] == sound(workers)[1] and sound(strangers)[0] == sound(strangers)[1]
assert sound(confused)[0] < sound(confused)[1]

# %% [markdown]
# Look at the `shared` team. One takes `a+c`, gets 11 right, and then says what is left *by another worker's line*. It
# looks for "the number that I put aside, so and so many words back", and at that place stand three words. Chapter 7 had
# this effect in a toy; here it is in the wild. **Positions are how a model tells its own thoughts from the others'.**
# What they are is up to you, and what the model was trained with is what works.
#
# ## Paragraphs
#
# To read every word at once may be too much: half a sentence of somebody else is rarely news. Hogwild! also has layouts
# in which a **finished paragraph** moves into a history that all have in common, and unfinished work is one's own
# affair. That is the operation `share`. What is moved? Not a key: the views are put together anew.

# %%
engine, pair = team(2, "private")
miss = tokenizer.id("miss")

engine.decode(pair, until=[miss], max_tokens=30)
before = seen(pair[1])
computed = pair[0].request.cost.prefilled
engine.share(pair[0])
engine.decode(pair, max_tokens=1)
print("before:", before, "\nafter: ", seen(pair[1]))
print("computed for it:", pair[0].request.cost.prefilled - computed)
assert "<thread> 1" not in before and "<thread> 1" in seen(pair[1])
assert pair[0].request.cost.recomputed == 0

# %% [markdown]
# ## What it is good for
#
# Less work done twice. Count, on a few problems: all lines that a team of four tries, and how many of these had been
# tried by then by somebody.


# %%
def tried_twice(positions):
    """Teams of four on every problem: lines, how many of them twice, tokens, critical paths."""
    engine = miniapr.Engine(bundle.model, tokenizer, num_blocks=2048)
    programs = [
        METHODS["group-think"](problem, player.seeded(seed), Budget(), positions=positions)
        for seed, problem in enumerate(problems)
    ]
    requests = [engine.submit(program) for program in programs]
    outcomes = [engine.wait(request) for request in requests]
    count = twice = 0
    for problem, outcome in zip(problems, outcomes, strict=True):
        begun = [
            words[i]
            for words in (one.text.split() for one in outcome.candidates)
            for i in [2, *(n + 1 for n, word in enumerate(words) if word == "miss")]
            if i < len(words) and words[i] in steps(problem)
        ]
        count, twice = count + len(begun), twice + len(begun) - len(set(begun))
    waits = [max(branch.critical for branch in request.branches) for request in requests]
    return [count, twice, sum(request.cost.decoded for request in requests), sum(waits)]


dice = random.Random(1)
problems = [game.draw(dice, 3) for _ in range(6)]
table = {"see each other": tried_twice("slots"), "do not": tried_twice("private")}
columns = ["lines", "of them twice", "tokens", "critical paths"]
draw.matrix(list(table.values()), list(table), columns, "Six problems, teams of four")

# %%
seeing, blind = table.values()
assert seeing[1] / seeing[0] < blind[1] / blind[0]
assert seeing[2] < blind[2] and seeing[3] < blind[3]

# %% [markdown]
# On 300 problems ([measured](../docs/measured.md), `python -m benchmarks.redundancy`):
#
# | four workers | right, % | lines tried | of them twice, % | tokens | critical path |
# |---|---|---|---|---|---|
# | read each other | 87 (83-90) | 7.6 | 17 (16-19) | 95 | 29 |
# | do not | 89 (85-92) | 11.7 | 36 (35-38) | 134 | 51 |
#
# Sight halves what is done twice and takes four tenths off the wait. It buys **no right answers**: readers take a line
# for tried now and then that nobody has tried, and stop too early. And it does not do away with everything twice:
# workers who choose at the same index cannot have read each other's choice. A plan has neither trouble, since one mind
# hands out the lines (98.5 % right, wait 32; chapter 9). But a plan has to be made before anybody begins.
#
# ## What to remember
#
# | | fork and join | weave |
# |---|---|---|
# | a branch sees | what was before the fork | also the others, word by word, up to its own index |
# | work is divided by | a plan, beforehand | whoever reads that a line is taken |
# | the result | a join reads all | each has read all; a vote, or the first who is done |
# | computed again | nothing, or all but the first | nothing |
# | positions | after the prefix | a choice; the model must know it |
# | on a server that knows texts | yes (re-prefill) | no: it needs the keys |
#
# Everybody who sees everything has a long text to look at. The opposite is next: children who are told a line, and
# nothing else, in [chapter 12](12_children.ipynb).
#
# ## Exercises
#
# - **11.1 Who sees whom?** The mask of a weave. `miniapr learn check 11.1`
# - **11.2 Whoever is faster**. Workers whose text depends on the weather. `miniapr learn check 11.2`
# - **11.3 Everybody comes last**. By how much do the others count as moved? `miniapr learn check 11.3`
#
# ## References
#
# - Hsu et al. 2025, *Group Think: Multiple Concurrent Reasoning Agents Collaborating at Token Level Granularity*. (The
#   exact rule of its positions cannot be checked from what is public.)
# - Rodionov et al. 2025, *Hogwild! Inference: Parallel LLM Generation via Concurrent Attention*.
# - In this package: `miniapr/kv/weave.py` (the idea), `miniapr/methods/weaves.py` (both methods).
