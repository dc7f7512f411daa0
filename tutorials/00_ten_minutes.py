# %% [markdown]
# # 0 Ten minutes
#
# A language model writes one token after the other, and each token waits for the one before it. But thoughts do not
# always depend on each other. When you try eight ways out of a maze, the second try does not need the result of the
# first: eight people could try at once.
#
# In this chapter a model does that. It **forks** its thought into eight branches, the branches are decoded side by
# side, and then they are **joined** into one thought again. You will run it, look at it, and count what it cost.
# Everything that is not explained yet has its own chapter later.
#
# You need Python and a little PyTorch. No GPU, no download.

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

from miniapr.show import draw
from miniapr.tasks import Problem, extract_answer, prompt_text, verify
from miniapr.tasks.countdown import operations
from miniapr.tasks.states import State, in_words

# %% [markdown]
# ## The puzzle
#
# Countdown: make 29 out of 3, 7 and 8. Each number is used exactly once, with `+ - * /`. Try it before you read on.
#
# You have to try: combine two of the numbers, then see whether the third one leads to 29. If not, begin with
# another pair. There are nine first moves (three pairs, each with `+ - *`; no division comes out even), and **no
# try needs another one's result**.

# %%
problem = Problem((3, 7, 8), 29)
moves = [move for pair in ((8, 7), (8, 3), (7, 3)) for move in operations(*pair)]
assert len(moves) == 9
assert verify("( 7 * 3 ) + 8", problem).correct
assert not verify("8 + 7 + 3", problem).correct  # 18
assert not verify("7 * 3 + 7 + 1", problem).correct  # 29, but not with these numbers

# %% [markdown]
# ## The model
#
# A small GPT comes with the package. It knows nothing but this puzzle, and it is a real decoder all the same: four
# layers of attention, trained like its large relatives. Its words are the numbers from 0 to 400, a word for each
# step that one can take, and a few **control tokens** such as `<plan>`. One word is one token.

# %%
bundle = miniapr.load()
tokenizer = bundle.tokenizer
control = miniapr.Control.of(tokenizer, bundle.control)  # the ids of the control tokens

prompt = tokenizer.ids(prompt_text(problem).split())
print(f"{bundle.model.parameter_count:,} parameters, {len(tokenizer)} tokens")
draw.matrix([prompt], ["token id"], tokenizer.decode(prompt).split(), "The prompt, as the model gets it")

# %%
assert bundle.model.parameter_count < 1_000_000
assert len(prompt) == 8

# %% [markdown]
# Its steps are terse, since every token is time. `a`, `b` and `c` are the numbers that are left, in the order in which
# they stand. Behind a step comes its result, then what else is left:

# %%
print(in_words("b*c", State.of(problem)))
print(in_words("a+b", State((21, 8), 29)))

# %% [markdown]
# ## One long line of thought
#
# First the ordinary way. The control token `<sequential>` in the prompt asks the model to think in one line. The
# engine runs the model: `start` puts in a prompt, `decode` lets the model write until it says that it is done.
#
# A line such as `a-b 1 3 : a+b 4 a-b 2 a*b 3 a/b 3 miss` reads: take 8 - 7 = 1, which leaves 1 and 3; their sum is 4,
# their difference 2, their product 3, their quotient 3; none of it is 29.

# %%
engine = miniapr.Engine(bundle.model, tokenizer)
line = engine.start(tokenizer.ids(prompt_text(problem, "sequential").split()))
engine.decode([line], until=control.ends)
print(line.text.replace("miss ", "miss\n"))

# %%
steps = line.request.cost.steps
print(f"{len(line.tokens)} tokens, written in {steps} forward passes of the model")
print("the answer, as an expression:", extract_answer(line.text, problem))
assert len(line.tokens) == steps
assert verify(extract_answer(line.text, problem), problem).correct

# %% [markdown]
# A right answer, after a long line: `hit`, and behind it the steps that led there. Each token took one run through all
# of the model's weights, a **forward pass**, and none could begin before the one before it had ended. How long you wait
# is the number of passes times the time of one.
#
# ## A plan
#
# Now with the token `<adaptive>`: the model may decide for itself. It gets the same puzzle.

# %%
root = engine.start(prompt)
engine.decode([root], until=control.ends)
print(root.text)

# %% [markdown]
# It made one try, saw that it missed, and wrote a **plan**: eight things to try, between `<plan>` and `</plan>`.
# The engine does not decide this; the model was trained to (chapter 7 comes back to that). All that the engine has
# to do is to read the plan.

# %%
plan = miniapr.read_plan(root.tokens, control, width=16)
for number, item in enumerate(plan.items, 1):
    print(number, in_words(tokenizer.decode(item), State.of(problem)))
assert len(plan.items) == len(moves) - 1 == 8  # all first moves but the one that it has tried

# %% [markdown]
# ## Fork
#
# `fork` makes one **branch** for each item. Each branch begins with its own item, its **seed**, and goes on from
# there. All of them stand on the same tokens: the prompt and the plan.
#
# **Guess first.** How many of these tokens does the engine compute again for the eight branches: none, all of them
# once, or all of them eight times?

# %%
before = root.request.cost.prefilled
threads = engine.fork(root, [(control.thread, *item) for item in plan.items])
assert all(thread.born_at == root.position for thread in threads)
again = root.request.cost.prefilled - before
print(f"{len(threads)} branches from position {root.position}, {again} tokens computed again")
assert again == 0

# %% [markdown]
# None. The branches *look at* what the root wrote, and nobody writes there any more, so one copy is enough for all.
# That copy is the **KV cache** (chapter 2), and how it is shared is chapter 4.
#
# ## Decode side by side
#
# Now every branch thinks its own thought. In each forward pass **every branch gets one token**.
#
# **Guess first.** How many forward passes will it take: as many as all of them write together, or as many as the
# longest one writes?

# %%
before = root.request.cost.steps
engine.decode(threads, until=control.ends)
passes = root.request.cost.steps - before
written = [len(thread.completion.tokens) for thread in threads]
for thread in threads:
    print(thread.text)
print(f"\n{sum(written)} tokens in {passes} forward passes; the longest branch wrote {max(written)}")
(winner,) = [number for number, thread in enumerate(threads, 1) if "hit" in thread.text]
print(f"branch {winner} has hit")

# %%
assert passes == max(written) < sum(written) / 4
draw.tree(*threads, title="Who wrote what, and at which position")

# %% [markdown]
# As many passes as the longest branch has tokens. Seven branches missed, one hit. In the picture each bar
# is a **span**: a run of tokens written by one branch. All eight begin at the same position, because all of them
# are *the text after the plan*: none knows of the others.
#
# Is a pass with eight branches as fast as a pass with one? Nearly, on most machines, and chapter 1 says why.
#
# ## Join
#
# The branches have to become one thought again: someone must read all eight and write the answer. There are two
# published ways to do that, and most of this course is about the difference.
#
# - **Re-prefill** (ThreadWeaver). Write the eight texts one after the other and let the model read them as ordinary
#   text. What it had computed of seven branches is thrown away and computed again.
# - **Stitch** (Multiverse). Let the model attend to what the branches left in the cache, as it is. Nothing is
#   computed again. But no ordinary text looks like this: eight passages that stand at the *same* positions.
#
# `keep=True` joins a copy, so the same branches can be joined both ways.
#
# **Guess first.** Which one computes more, and do the two lead to the same answer?

# %%
joined = {}
for how in ("stitch", "reprefill"):
    joined[how] = engine.join(root, threads, how, then=[control.join], keep=True)
    engine.decode([joined[how]], until=control.ends)
    cost = joined[how].join_cost
    print(f"{how:10} next position {joined[how].joined_at:3}   computed again {cost['recomputed']:3}", end="   ")
    print(joined[how].completion.text)

# %%
tokens = [len(thread.tokens) for thread in threads]
stitch, reprefill = joined["stitch"], joined["reprefill"]
assert stitch.joined_at == root.position + max(tokens)
assert reprefill.joined_at == root.position + sum(tokens)
assert stitch.join_cost["recomputed"] == 0
assert reprefill.join_cost["recomputed"] == sum(tokens[1:])  # all but the first branch's
for branch in joined.values():
    assert verify(extract_answer(branch.text, problem), problem).correct
draw.tree(joined["stitch"], title="stitch")

# %%
draw.tree(joined["reprefill"], title="re-prefill")

# %% [markdown]
# Both answers are right, and the cost differs: stitch computed nothing again, re-prefill all that seven branches had
# written. Compare the two pictures. Stitched, the conclusion goes on after the *longest* branch. Prefilled again, it
# stands where it would stand in one long text, much further on, and everything but the first branch has become a new
# span: the same words, computed anew, this time seeing the branches before them.
#
# This model was trained for both joins. A model that was not fails at the one it does not know: chapter 7 measures
# it.
#
# ## What did it cost?
#
# Three numbers, and they are three different things:
#
# - **total tokens**: how much was decoded in all. It is what you pay for.
# - **critical path**: how many tokens had to be decoded one after the other. It is how long you wait.
# - **position**: where the next token stands. It is what the model's context length limits.

# %%
conclusion = len(joined["stitch"].completion.tokens)
total = len(root.tokens) + sum(written) + conclusion
path = joined["stitch"].critical
print(f"in one line: critical path {line.critical}, total {line.request.cost.decoded}, position {line.position}")
print(f"forked:      critical path {path}, total {total}, position {joined['stitch'].position}")

# %%
print(
    f"the wait is {line.critical / path:.1f} times shorter, at {total / line.request.cost.decoded:.2f} times the tokens"
)
assert line.critical == line.request.cost.decoded == len(line.tokens)
assert path == len(root.tokens) + max(written) + conclusion
assert path < 0.6 * line.critical
assert joined["stitch"].position < line.position

# %% [markdown]
# Much less to wait for. Not because less was written: all that was tried was written, but at the same time. This
# puzzle is one of those where it pays most, since the line finds its hit last; where the first try hits there is
# nothing to win, and the model does not fork. The plot at the top of the README shows 200 puzzles, the lucky and the
# unlucky ones, and exercise 0.1 lets you work it out for any tree.
#
# ## Step through it
#
# What you saw is the end. The engine recorded every step, and a **trace** plays it back. Both joins run side by
# side below. Press play, or step with the arrow keys; the marks under the slider are the fork and the join. Point at
# a token to see what it attends to.
#
# Stop at the join. Which counters differ between left and right, and where does the next token stand?

# %%
from miniapr.stepper import Trace


def run(how):
    """The same calls as above, on an engine that records: its trace."""
    engine = miniapr.Engine(bundle.model, tokenizer, num_blocks=64, record=True)
    root = engine.start(prompt)
    engine.decode([root], until=control.ends)
    plan = miniapr.read_plan(root.tokens, control, width=16)
    threads = engine.fork(root, [(control.thread, *item) for item in plan.items])
    engine.decode(threads, until=control.ends)
    engine.perform(
        root, miniapr.Settle(threads)
    )  # compute their last tokens too: above, the first join did it for both
    joined = engine.join(root, threads, how, then=[control.join])
    engine.decode([joined], until=control.ends)
    assert root.request.cost.recomputed == (sum(tokens[1:]) if how == "reprefill" else 0)
    return Trace.of(engine, title=how)


run("stitch") | run("reprefill")

# %% [markdown]
# ## What the chapters are about
#
# | | you will know | the words |
# |---|---|---|
# | 1 | what a decoder computes, and why writing one token takes as long as writing eight | roofline |
# | 2 | how the past is kept instead of computed again | KV cache, block, slot |
# | 3 | how attention reads that memory, in Python, C++ and CUDA | paged attention |
# | 4 | how eight branches share one past | fork, span, view |
# | 5 | how they are computed in one pass, and when it stops being free | batching, log-sum-exp |
# | 6 | joining by reading again | re-prefill |
# | 7 | joining without reading again | stitch, positions, shifted keys |
# | 8 | what went wrong in real engines, and tests that find it | properties |
# | 9 | what a fork buys when nobody reads the branches | vote, best-of-N, pass@k |
# | 10 | going on from where it looks good, and what the looking costs | value, UCT, virtual loss |
# | 11 | branches that read each other while they write | weave, index, layout |
# | 12 | children who are told their part and nothing else | call, message, largest context |
# | 13 | how a model learns to plan, to fork and to read its branches | demonstration, mask |
# | 14 | how it learns when a fork pays, and how rewards are gamed | reward, rollout |
# | 15 | what of this other people's engines can do | client, server |
#
# ## Exercises
#
# `miniapr learn init` makes a folder with your exercises, `miniapr learn` shows where you stand. Work in your own
# editor; check as often as you like. `miniapr learn hint 0.1` gives a hint, one more each time.
#
# - **0.1 What did it cost?** Total and critical path of any tree. `miniapr learn check 0.1`
# - **0.2 Four calls.** Write this chapter's run as a function. `miniapr learn check 0.2`
# - **0.3 One counter for three things**. An engine stopped branches far too early. Find out why.
#   `miniapr learn check 0.3`
# - **0.4 Whoever comes first**. The same branches, another answer each time. `miniapr learn check 0.4`
#
# ## References
#
# - Yang et al. 2025, *Multiverse: Your Language Models Secretly Decide How to Parallelize and Merge Generation*:
#   plan, paths, stitch.
# - Lian et al. 2025, *ThreadWeaver: Adaptive Threading for Efficient Parallel Reasoning in Language Models*: the
#   same shape, joined by re-prefill.
# - Pan et al. 2025, *Learning Adaptive Parallel Reasoning with Language Models* (APR): the child's answer returns
#   as a message; the name of the field.
# - Rodionov et al. 2025, *Hogwild! Inference: Parallel LLM Generation via Concurrent Attention*: branches that see
#   each other while they write.
# - Gandhi et al. 2024, *Stream of Search (SoS): Learning to Search in Language*: Countdown as a testbed.
