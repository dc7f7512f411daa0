# %% [markdown]
# # 12 Children with a context of their own
#
# In a fork a child sees all that its parent saw. In a weave it sees its siblings, too. Now the opposite: a child is
# told its part of the problem **and nothing else**. It begins at position 0, on an empty page. What it returns is a
# short message, and what it wrote on its way is thrown away.
#
# That is a function call. Its price is what the child does not know, and what it buys is the idea of this chapter:
# **what nobody sees costs nobody anything. Not the sum of all thoughts has to fit into the context, but the largest
# one.**

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
from dataclasses import replace

from miniapr.engine.joins import message
from miniapr.engine.operations import All, Decode, Fork, Start
from miniapr.methods.budget import Budget, Spend
from miniapr.methods.play import play
from miniapr.methods.table import METHODS
from miniapr.players import game_of
from miniapr.show import draw
from miniapr.stepper import Trace
from miniapr.tasks import Problem

bundle = miniapr.load("countdown")
tokenizer = bundle.tokenizer
game = game_of(bundle)
player = game.player
control = player.control
puzzle = game.put(Problem((8, 7, 3), 29))

# %% [markdown]
# ## Call and return, by hand
#
# As `<parent>` the model writes down the parts that it wants to have looked at, and stops. That is the call.

# %%
engine = miniapr.Engine(bundle.model, tokenizer, reuse_prefixes=False, record=True)
parent = engine.start(player["parent"].ask(puzzle))
engine.decode([parent], until=[control.plan_end])
print(tokenizer.decode(parent.history))
parts = player["call"].read(puzzle, parent.text)
print(len(parts), "parts")

# %% [markdown]
# Each part becomes a child with a prompt of its own. In the engine this is a fork that hands down nothing: `keep=0`.
#
# **Guess first.** At which position does a child begin, and how many tokens does it have before it?

# %%
child = player["child"]
children = engine.fork(parent, [child.ask(part) for part in parts], keep=0)
assert all(one.span.position == 0 and len(one.view) == 0 for one in children)
asked = [len(one.tokens) for one in children]
engine.decode(children, until=child.ends)
for one in children:
    print(tokenizer.decode(one.history))
assert len(set(asked)) == 1

# %%
draw.tree(parent, *children[:4], title="A parent and four of its children: every one begins at 0")

# %% [markdown]
# At 0, and it knows what stands in its prompt. It does not know that it is one of many, or that there is a plan.
#
# Now they return. What they say is read from their text, and it is short: `miss`, or `hit` and the steps. The join is
# called `message`. It drops the children and puts words in their place.

# %%
returned = [child.read(part, one.text) for part, one in zip(parts, children, strict=True)]
print(returned)
said = tokenizer.ids([*" ".join(returned).split(), "<join>"])
joined = engine.join(parent, children, message(said))
engine.decode([joined], until=player["parent"].ends)
answer = player.candidate(puzzle, joined, role="parent").answer
print(tokenizer.decode(joined.history), "  that is", answer)

# %%
written = sum(len(one.tokens) - asked[0] for one in children)
print(f"the children wrote {written} tokens; the parent was told {len(said)}, and has {len(joined.history)} in all")
assert player.check(puzzle, answer)
assert parent.request.cost.recomputed == 0
assert len(said) < written / 3
assert max(len(one.history) for one in children) < len(joined.history)

# %% [markdown]
# Nothing was computed again, and nothing of what the children wrote is in the parent's context. Step to the fork, where
# every child begins at 0, and to the join, where they go and their words come.

# %%
Trace.of(engine, title="call and return")

# %% [markdown]
# Compare the three joins:
#
# | | the reader sees | computed at the join |
# |---|---|---|
# | stitch (7) | all that was written | nothing |
# | re-prefill (6) | all that was written | all of it but the first branch |
# | message | what was returned | what was returned |
#
# ## The largest context
#
# That is what the method `apr` does (Pan et al. 2025, who gave the field its name). Here beside the same puzzle with
# threads that are joined by a stitch.

# %%
rows = {}


def run(name, problem, **options):
    engine = miniapr.Engine(bundle.model, tokenizer, num_blocks=4096)
    return play(engine, METHODS[name](problem, player, Budget(3000), **options), Budget(3000))


def row(outcome):
    costs = outcome.costs
    return [costs.decoded, costs.critical, costs.largest_context, costs.prefilled]


columns = ["decoded", "critical path", "largest context", "prefilled"]
rows["multiverse"] = run("multiverse", puzzle)
rows["apr"] = run("apr", puzzle)
assert all(player.check(puzzle, outcome.answer) for outcome in rows.values())
draw.matrix([row(outcome) for outcome in rows.values()], list(rows), columns, "8 7 3 -> 29")

# %%
stitched, called = (outcome.costs for outcome in rows.values())
assert called.largest_context < stitched.largest_context / 3
assert called.prefilled > stitched.prefilled  # every child must be told what it is about

# %% [markdown]
# As many tokens, a quarter of the context. And the price: every child has to be told the problem, so there is more to
# prefill.
#
# With three numbers that is a curiosity. Take four, and let children call children: `levels=2`. **Guess first.** A
# problem of four numbers has twenty times as many lines (chapter 10). What becomes of the two contexts?

# %%
four = game.put(Problem((10, 7, 2, 1), 79))
rows = {"multiverse": run("multiverse", four), "apr, two levels": run("apr", four, levels=2)}
assert all(player.check(four, outcome.answer) for outcome in rows.values())
draw.matrix([row(outcome) for outcome in rows.values()], list(rows), columns, "10 7 2 1 -> 79")

# %%
stitched_4, called_4 = (outcome.costs for outcome in rows.values())
frames = rows["apr, two levels"].tree
print(f"{len(frames)} frames in all; twenty times the tokens, and the largest context {called_4.largest_context}")
assert stitched_4.largest_context > 20 * stitched.largest_context
assert called_4.largest_context < 3 * called.largest_context
assert called_4.decoded > 20 * called.decoded

# %% [markdown]
# The stitched thought has to be read whole at its end: thousands of tokens. The called one grew to twice its size. A
# frame sees its prompt, its plan, and a word or two from each child, **however much was written below it.** Its
# critical path is shorter, too.
#
# That is why recursion is proposed for contexts that would otherwise not hold the problem. Let us take them away: here
# is the same model with a window of 48 positions.

# %%
narrow = miniapr.load("countdown")
narrow.model.config = replace(narrow.model.config, max_position_embeddings=48)


def in_the_window(name):
    engine = miniapr.Engine(narrow.model, tokenizer)
    return play(engine, METHODS[name](puzzle, player, Budget()), Budget())


line_engine = miniapr.Engine(narrow.model, tokenizer)
line = line_engine.start(tokenizer.ids(["<bos>", "<sequential>", "8", "7", "3", "->", "29", ":"]))
(done,) = line_engine.decode([line], until=[control.eos])
print("in one line:", done.finish, "after", len(done.tokens), "tokens")
called = in_the_window("apr")
print("apr:        ", called.answer)
assert done.finish == "context" and "hit" not in done.text
assert player.check(puzzle, called.answer)

# %% [markdown]
# The line runs against the wall; the children do not notice that there is one.
#
# ## One after the other
#
# A **recursive model** calls in the same way, but one child at a time, and waits. Only the frame on top is in use, as
# on the stack of a processor. Same parts, same messages:

# %%
rows = {"apr, two levels": run("apr", puzzle, levels=2), "recursive": run("recursive", puzzle)}
draw.matrix([row(outcome) for outcome in rows.values()], list(rows), columns, "Together, or one after the other")

# %%
together, alone = (outcome.costs for outcome in rows.values())
assert together.decoded == alone.decoded == alone.critical
assert together.largest_context == alone.largest_context
assert together.critical < alone.critical / 4

# %% [markdown]
# The same words in the same contexts. Depth saves context, and only breadth saves time; the two have nothing to do with
# each other.
#
# What is lost? Whoever returns a word has thrown away the rest. On held-out problems of three numbers parents come to
# the right answer in 95.7 % (n = 300), about as often as a plan with threads. With four numbers it is 67 %, though 99
# % of the children are right ([the model's figures](../docs/training/roles.md)): of eighteen children one that is
# wrong is enough, and a parent who was only told `miss` has no way to see it.
#
# ## Think on
#
# A parent who waits is idle. In **AsyncThink** the organizer hands out a question, *thinks on*, and asks for the answer
# when it needs it. In this engine that is nothing new: two programs that run side by side are an `All`. Here the parent
# tries a chain of its own, after the children or meanwhile.


# %%
def search(problem):
    call = yield Start(player["parent"].ask(problem))
    yield Decode([call], until=[control.plan_end])
    parts = player["call"].read(problem, call.text)
    children = yield Fork(call, [child.ask(part) for part in parts], keep=0)
    yield Decode(children, until=child.ends)
    return [child.read(part, one.text) for part, one in zip(parts, children, strict=True)]


def own(problem):
    thought = yield Start(player["chain"].ask(problem))
    yield Decode([thought], until=player["chain"].ends)
    return thought.text


def waits(problem):
    found = yield from search(problem)
    return found, (yield from own(problem))


def goes_on(problem):
    return (yield All([search(problem), own(problem)]))


passes = {}
for program in (waits, goes_on):
    engine = miniapr.Engine(bundle.model, tokenizer)
    request = engine.submit(program(puzzle))
    found, thought = engine.wait(request)
    passes[program.__name__] = request.cost.steps
    print(f"{program.__name__:8} {request.cost.steps} passes   {found[-1]} | {thought}")
assert passes["goes_on"] < passes["waits"]

# %% [markdown]
# The sum of two waits becomes the longer of the two. Whether there *is* something to think about meanwhile is a
# question to the problem, and to who trained the model. (`miniapr/methods/async_think.py` has the whole method, with
# a pool of agents; the shipped model was not trained to organize.)
#
# ## Early cancel
#
# One child has found it. The others go on looking, for something that nobody needs any more. End them: an operation
# that decodes can be asked after every step whom to give up (`Spend(..., cut=)`). Their blocks are free at once.
#
# **Guess first.** Where does this save more: with children who search, or with the eight tries of chapter 9?


# %%
def first_hit(problem, cancel):
    call = yield Start(player["parent"].ask(problem))
    yield Decode([call], until=[control.plan_end])
    parts = player["call"].read(problem, call.text)
    children = yield Fork(call, [child.ask(part) for part in parts], keep=0)

    def cut(running):
        found = any("hit" in one.text for one in children if not one.decoding)
        return [one for one in running if one.decoding] if found and cancel else ()

    yield Spend(children, child, Budget(), cut)
    return any("hit" in one.text for one in children)


def total(programs):
    """Tokens decoded by all programs, and the longest chains added up."""
    engine = miniapr.Engine(bundle.model, tokenizer, num_blocks=2048)
    requests = [engine.submit(program) for program in programs]
    results = [engine.wait(request) for request in requests]
    waits = [max(branch.critical for branch in request.branches) for request in requests]
    return sum(request.cost.decoded for request in requests), sum(waits), results


dice = random.Random(1)
problems = [game.draw(dice, 3) for _ in range(5)]
seeds = list(enumerate(problems))
table = {
    "children": total([first_hit(problem, False) for problem in problems]),
    "children, early cancel": total([first_hit(problem, True) for problem in problems]),
    "eight tries": total([METHODS["best-of-n"](p, player.seeded(n), Budget()) for n, p in seeds]),
    "eight tries, early cancel": total([METHODS["early-cancel"](p, player.seeded(n), Budget()) for n, p in seeds]),
}
draw.matrix([list(row[:2]) for row in table.values()], list(table), ["decoded", "critical paths"], "Five problems")

# %%
all_children, cancelled, all_tries, cut_tries = table.values()
assert cancelled[2] == all_children[2]  # whoever hit, hit
assert cancelled[0] < all_children[0] and cancelled[1] <= all_children[1]
assert cut_tries[0] == all_tries[0]
for problem, one, other in zip(problems, all_tries[2], cut_tries[2], strict=True):
    assert player.check(problem, one.answer) == player.check(problem, other.answer)

# %% [markdown]
# With children a little; with tries **nothing at all**, here as on the 210 problems of [all
# methods](../docs/race.md): 57 tokens with it and without it. A try that fails is done *before* the one that hits.
# There is nobody left to cancel. Early cancel saves what the losers would still have written, so it pays where losers
# take long, and where they are many.
#
# Note who said that it may stop. Of the tries it was the verifier. Of the children it was the child itself, with the
# word `hit`; whoever trusts that word is as right as the child.
#
# ## What to remember
#
# | | a child is given | it returns | largest context | the wait |
# |---|---|---|---|---|
# | fork and stitch | all before it | everything | all that was written | the longest child |
# | APR | its part | a message | the largest frame | the longest child |
# | recursive models | its part | a message | the largest frame | all children, one by one |
# | AsyncThink | its query | a message, when asked for | the organizer's | what was waited for |
# | early cancel | as before | the first who hits | as before | the first who hits |
#
# Four chapters of ways to think, and all played by one small model. How it came to know what a plan is, that it may
# fork, that it should read what came back: somebody [taught it](13_teaching_it.ipynb).
#
# ## Exercises
#
# - **12.1 Return.** Write the join `message`. `miniapr learn check 12.1`
# - **12.2 The children of the dead**. A cancelled search that goes on running. `miniapr learn check 12.2`
# - **12.3 The organizer goes on.** When is it done, with so many agents? `miniapr learn check 12.3`
#
# ## References
#
# - Pan et al. 2025, *Learning Adaptive Parallel Reasoning with Language Models* (APR): spawn and join.
# - *Recursive Models*, arXiv 2603.02112: call and return, trained. *AsyncThink*, arXiv 2510.26658.
# - In this package: `miniapr/methods/calls.py` (APR and recursive models are one program), `async_think.py`,
#   `early_cancel.py`; `message` in `miniapr/engine/joins.py`.
