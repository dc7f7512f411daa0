# %% [markdown]
# # 6 Join by prefilling again
#
# Chapter 4 split a thought into branches, chapter 5 decoded them side by side. Now they must become one thought
# again.
#
# The plainest way is this: **write what the branches wrote one after the other, and let the model read it.** The
# result is ordinary text, and an ordinary model can go on from it. The price is reading: keys and values that were
# there already are computed a second time. This chapter asks three things. What can be kept? What must be computed
# again, and why? What does it cost?
#
# The method is that of ThreadWeaver (Lian et al. 2025, arXiv 2512.07843).

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

import statistics
import time

import torch

from miniapr.model.rope import cos_sin
from miniapr.ops.reference import rotate
from miniapr.show import draw
from miniapr.stepper import Trace
from miniapr.tasks import Problem, extract_answer, prompt_text

bundle = miniapr.load()
tokenizer = bundle.tokenizer
control = miniapr.Control.of(tokenizer, bundle.control)


def ids(text):
    return tokenizer.ids(text.split())


# %% [markdown]
# ## Two branches that fit on the screen
#
# Eight tokens of prompt, two branches of six. Here we give the branches' words instead of letting the model write
# them: for what follows it makes no difference who wrote.

# %%
engine = miniapr.Engine(bundle.model, tokenizer, block_size=4, num_blocks=24, record=True)
root = engine.start(ids("<bos> <adaptive> 8 7 3 -> 29 :"))
A, B = engine.fork(root, [ids("<thread> a-b 1 3 : a+b"), ids("<thread> b*c 21 8 : a+b")])
engine.settle(A)  # computes what is behind, so that all keys and values are in the pool
engine.settle(B)
draw.tree(A, B, title="Both branches begin at position 8")

# %% [markdown]
# Joined, the text will be
#
#     <bos> <adaptive> 8 7 3 -> 29 :   <thread> a-b 1 3 : a+b   <thread> b*c 21 8 : a+b   <join>
#     the root's 8                     A's 6                    B's 6
#
# **Guess first.** The pool holds the keys and values of all 20 tokens before `<join>`. Of which of them will the
# joined text need other keys and values than those that are there?
#
# We need not argue, we can look. A second engine computes the joined text from nothing, as a prompt. Then we compare
# what the two engines have in their pools.

# %%
fresh = miniapr.Engine(bundle.model, tokenizer)
whole = fresh.settle(fresh.start([*root.history, *A.tokens, *B.tokens, *ids("<join>")]))


def keys_values(engine, branch):
    """Keys and values of all that a branch sees, in the order in which it sees them: [T, layers, heads, D] each."""
    pool, size = engine.pool, engine.pool.block_size
    pieces = (*branch.view, branch.span.whole())
    slots = [p.span.blocks[i // size] * size + i % size for p in pieces for i in range(p.start, p.stop)]
    block, offset = torch.tensor(slots) // size, torch.tensor(slots) % size  # [T]
    return pool.k_cache[:, block, :, :, offset], pool.v_cache[:, block, :, offset]


keys, values = keys_values(fresh, whole)
keys_A, values_A = keys_values(engine, A)  # the root's 8 tokens, then A's
keys_B, values_B = keys_values(engine, B)  # the root's 8 tokens, then B's


def difference(x, y):
    """The largest difference in each layer: [layers]"""
    return (x - y).abs().amax((0, 2, 3))


rows = {
    "root, keys": difference(keys[:8], keys_A[:8]),
    "root, values": difference(values[:8], values_A[:8]),
    "A, keys": difference(keys[8:14], keys_A[8:]),
    "A, values": difference(values[8:14], values_A[8:]),
    "B, values": difference(values[14:20], values_B[8:]),
    "B, keys": difference(keys[14:20], keys_B[8:]),
}
layers = [f"layer {n}" for n in range(len(rows["B, keys"]))]
draw.matrix(torch.stack(list(rows.values())), list(rows), layers, "Largest difference to the joined text")

# %% [markdown]
# The root's and A's keys and values are those of the joined text (up to the last digits: sums of many numbers are
# rounded). B's are not.
#
# The reason is in what each of them *saw*. A token's keys and values depend on the token, its position, and
# everything before it. A was written right after the root's text, and in the joined text it still stands right after
# the root's text. B was also written right after the root's text. But in the joined text **A stands before it**: B
# has moved by six positions, and it now sees six tokens that it had not seen.
#
# The table tells the two apart. Look at layer 0.

# %%
assert all(rows[f"{who}, {what}"].max() < 1e-3 for who in ("root", "A") for what in ("keys", "values"))
assert rows["B, values"][0] < 1e-3 and rows["B, values"][1:].min() > 1
assert rows["B, keys"].min() > 1

# %% [markdown]
# In layer 0 no token has looked at another one yet. So B's *values* are right there, and its *keys* are wrong by
# their position only. A key is turned by an angle for each position (RoPE, chapter 1). Turn B's keys on by the six
# positions that they have moved, and look again:

# %%
cos, sin = cos_sin(torch.tensor(6), bundle.model.config.head_dim, bundle.model.config.rope_theta, torch.float32)
turned = difference(keys[14:20], rotate(keys_B[8:], cos, sin, bundle.model.config.rope_interleaved))
draw.matrix([rows["B, keys"], turned], ["B, keys", "turned by 6"], layers, "Largest difference to the joined text")

# %%
assert turned[0] < 1e-3 and turned[1:].min() > 1

# %% [markdown]
# Turning repairs layer 0, and layer 0 only. From layer 1 on the keys are computed from what was seen below, and B saw
# nothing of A. **No turning can bring that in.** It has to be computed again. (Or one lives with the difference: that
# is chapter 7.)
#
# ## The join
#
# So the rule is: keep the root, keep the first branch, compute all the rest again. `keep=True` joins a copy and
# leaves the branches as they are.

# %%
joined = engine.settle(engine.join(root, [A, B], "reprefill", then=ids("<join>"), keep=True))
print(joined.join_cost)
assert joined.join_cost["reused"] == 8 + 6  # the root and A
assert joined.join_cost["recomputed"] == 6  # B
draw.tree(A, B, joined, title="Re-prefill: B's words again, in a span that sees A")

# %% [markdown]
# The joined branch has a span of its own, which begins at position 14. In it are B's words, computed anew. Its view
# leads to the root's and to A's blocks, where they are: nothing was copied. B's old blocks are needed by nobody any
# more, once B is let go.
#
# Step through what happened (the arrow keys go back and forth). Watch the pool at the last steps: which blocks are
# new?

# %%
Trace.of(engine, title="re-prefill")

# %% [markdown]
# ## Ordinary causal text
#
# Why go to this trouble? Look at who sees whom after the join.

# %%
draw.mask(joined, title="After a re-prefill")

# %% [markdown]
# A triangle, and positions 0, 1, 2, ... Every token sees all before it. There is nothing about this text that would
# tell that it was ever forked. From this follow three properties that no stitch will have.
#
# **1. It is exact.** The logits are those of the same text in an engine that never forked.

# %%
distance = float((joined.logits - whole.logits).abs().max())
dense = miniapr.unroll([(joined.view, joined.span)])
print(f"largest difference of the logits: {distance:.1e}, of logits up to {float(whole.logits.abs().max()):.0f}")
assert distance < 1e-3
assert dense.positions.tolist() == list(range(21))
assert torch.equal(dense.visible, torch.ones(21, 21, dtype=torch.bool).tril())

# %% [markdown]
# **2. It may be cached.** Whoever sends the same text tomorrow can take over these keys and values. The engine offers
# everything causal to its prefix cache when a branch is let go.
#
# **Guess first.** The text has 21 tokens. How many of them are reused when it comes as a prompt?

# %%
text = joined.history
for branch in (joined, A, B, root):
    engine.release(branch)
again = engine.settle(engine.start(text))
print(f"{again.request.cost.reused} of {len(text)} tokens reused, {again.request.cost.prefilled} computed")
assert again.request.cost.reused == 20 and again.request.cost.prefilled == 1

# %% [markdown]
# All but the last one. The cache keeps keys and values, not logits, and without logits there is no next token. So at
# least one token is always computed. Engines have crashed for want of this rule (exercise 6.3).
#
# **3. It needs no special engine and no special model.** Joining by text works with any server that completes text.
# And a model that has only ever seen ordinary text sees ordinary text.
#
# ## The price
#
# Now with the model's own thoughts: the eight branches of chapter 0.

# %%
engine = miniapr.Engine(bundle.model, tokenizer)
problem = Problem((8, 7, 3), 29)
root = engine.start(ids(prompt_text(problem)))
engine.decode([root], until=control.ends)
plan = miniapr.read_plan(root.tokens, control, width=16)
threads = engine.fork(root, [(control.thread, *item) for item in plan.items])
engine.decode(threads, until=control.ends)
lengths = [len(thread.tokens) for thread in threads]
written = [thread.span.written for thread in threads]  # of how many tokens the key and value are there
later = sum(lengths[1:])
print(f"the root's {root.position} tokens, then {' + '.join(map(str, lengths))} = {sum(lengths)}")
print(f"the first branch has {lengths[0]} tokens, the others together {later}")
assert len(lengths) == 8

# %% [markdown]
# **Guess first.** How many tokens are computed in this join, the `<join>` token not counted?

# %%
joined = engine.join(root, threads, "reprefill", then=[control.join], keep=True)
computed = len(joined.span.tokens) - 1
print(f"{computed} computed, of which {joined.join_cost['recomputed']} had been computed before")
assert computed == later + 1 and joined.join_cost["recomputed"] == later - 7

# %% [markdown]
# One more than the others have: one token of the *first* branch, too. And seven of theirs are not computed for the
# second time, but for the first. Both come from the same fact: **the last token that a branch decoded has no key and
# value yet.** They are computed when the next token is wanted, and after the last one none was.

# %%
print("tokens of each branch          ", lengths)
print("keys and values when it stopped", written)
assert [length - there for length, there in zip(lengths, written, strict=True)] == [1] * 8

# %% [markdown]
# What a branch has written and what the pool has of it are **two lengths**. An engine that mixes them up loses a
# token at every join, or reads a key that nobody has written (exercise 6.2).
#
# Let it think to its end, to see that it works:

# %%
engine.decode([joined], until=control.ends)
print(joined.completion.text)
assert extract_answer(joined.text, problem) == "( 7 * 3 ) + 8"

# %% [markdown]
# ## In time
#
# That sounds like a lot of tokens: the longest branch decoded far fewer, one in a pass. But what is read again is
# *known*. It goes through the model together, in one pass, and one pass with many rows is much cheaper than many passes
# (chapter 1 says why). Measured on your machine:


# %%
def seconds(tokens, at_once):
    """For this many new tokens after the root's text, given ``at_once`` in each pass: the median of a few."""
    took = []
    engine = miniapr.Engine(bundle.model, tokenizer)
    for _ in range(6):
        branch = engine.settle(engine.start(root.history))
        begun = time.perf_counter()
        for _ in range(0, tokens, at_once):
            engine.extend(branch, [control.join] * at_once)
            engine.settle(branch)
        took.append(time.perf_counter() - begun)
        engine.release(branch)
    return statistics.median(took)


assert max(len(thread.completion.tokens) for thread in threads) < computed / 4
threads_of_torch = torch.get_num_threads()
torch.set_num_threads(1)  # so small a model's passes are shorter than the time in which threads find one another
counts = [1, 8, 32, 64, 128, 256]
together, singly = [seconds(n, n) for n in counts], [seconds(n, 1) for n in counts[:4]]
torch.set_num_threads(threads_of_torch)
picture, plot = draw.axes(f"New tokens after the root's {root.position}, in milliseconds")
plot.plot(counts[:4], [1000 * t for t in singly], "s--", color="gray", label="one in each pass (decoding)")
plot.plot(counts, [1000 * t for t in together], "o-", label="all in one pass (re-prefill)")
plot.set_xlabel("tokens")
plot.set_ylim(0)
plot.legend(frameon=False)
print(f"64 tokens in 64 passes: {1000 * singly[3]:.1f} ms, in one pass: {1000 * together[3]:.1f} ms")
picture

# %% [markdown]
# So a re-prefill costs about as much as decoding a few more tokens. Is that always good enough? It grows with what
# the branches wrote. With k branches of n tokens, k - 1 branches are read again: the wider the fork, the closer the
# price comes to reading everything twice.

# %%
engine = miniapr.Engine(bundle.model, tokenizer)
widths, again = range(1, 9), []
for width in widths:
    root = engine.start(ids("<bos> <adaptive> 8 7 3 -> 29 :"))
    branches = engine.fork(root, [ids("<thread> a-b 1 3 : a+b")] * width)
    for branch in branches:
        engine.settle(branch)
    again.append(engine.join(root, branches, "reprefill", then=ids("<join>")).join_cost["recomputed"])
assert again == [6 * (width - 1) for width in widths]
picture, plot = draw.axes("Tokens computed again, branches of 6 tokens")
plot.bar(widths, [6 * width for width in widths], color="#e3e8ed", label="written by the branches")
plot.bar(widths, again, color="#f4978e", label="computed again")
plot.set_xlabel("branches")
plot.legend(frameon=False)
picture

# %% [markdown]
# On long branches and large models this is what one would like to save: while so much is read again, nobody gets a
# token. Could the joined branch not simply use the keys and values that are there, wrong as they are from layer 1 on?
# That is the next chapter.
#
# ## Exercises
#
# | | | |
# |---|---|---|
# | `miniapr learn check 6.1` | Join by prefilling again | write the join, and hand it to the engine |
# | `miniapr learn check 6.2` | Find the bug: the lost token | a historic fault |
# | `miniapr learn check 6.3` | Find the bug: hit in full | a historic fault |
#
# `miniapr learn init` makes a folder with a file for each of them, `miniapr learn hint 6.1` helps.
