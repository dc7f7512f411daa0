# %% [markdown]
# # 5 Many branches, one step
#
# In [chapter 4](04_fork.ipynb) a fork cost nothing: the children look at what their parent wrote. Now they go on
# writing, all at the same time. Why are eight branches not eight times as slow as one? There are two reasons, and you
# will build the second one yourself: the weights are read once for all rows, and so is what the branches share.
#
# Difference to the last chapter: there we looked at one branch at a time, here at a step of all of them.

# %%
# Installs miniapr where it is missing (on Colab, say): see chapter 0.
try:
    import miniapr
except ImportError:
    import os
    import subprocess
    import sys

    subprocess.run([sys.executable, "-m", "pip", "install", "-q", os.environ.get("MINIAPR", "..")], check=True)
    import miniapr

import math
import statistics

import torch

from miniapr.kv.span import Piece
from miniapr.model.config import ModelConfig
from miniapr.model.decoder import Decoder
from miniapr.ops import reference
from miniapr.show import draw
from miniapr.stepper import Trace
from miniapr.tasks import Problem, prompt_text

torch.manual_seed(0)
bundle = miniapr.load(dtype=torch.float64)  # so that a difference is an error, and not rounding
tokenizer, config = bundle.tokenizer, bundle.model.config
control = miniapr.Control.of(tokenizer, bundle.control)
prompt = tokenizer.ids(prompt_text(Problem((3, 7, 8), 29)).split())

# %% [markdown]
# ## A step
#
# The model writes its plan and forks into eight branches, as in chapter 0. Each branch is to write eight tokens.
#
# **Guess first.** How many times does the engine run the model for these 64 tokens?

# %%
engine = miniapr.Engine(bundle.model, tokenizer, block_size=16, reuse_prefixes=False, record=True)
root = engine.start(prompt)
engine.decode([root], until=control.ends)
plan = miniapr.read_plan(root.tokens, control, width=16)
branches = engine.fork(root, [(control.thread, *item) for item in plan.items])
before = engine.steps
engine.decode(branches, max_tokens=8)
passes = sum(event.kind == "step" and event.step >= before for event in engine.events)
decoded = sum(event.kind == "decoded" and event.step >= before for event in engine.events)
print(f"{decoded} tokens in {passes} passes")
assert (decoded, passes) == (64, 8)

# %% [markdown]
# Eight times. In a **step** every branch gets a token. The eight new tokens are eight **rows** of one batch, and
# chapter 1 said why that pays: the weights come from memory once, whether one row waits for them or eight.
#
# A branch that has nothing more to say leaves the batch, a new one enters it; nobody waits for the longest. That is
# **continuous batching** (Orca, Yu et al. 2022), and the engine does it for the branches of one thought as for the
# requests of many users: to a step they are all just rows. Look at the steps after the fork:

# %%
Trace.of(engine, title="eight branches, eight steps")

# %% [markdown]
# ## What a row has to read
#
# Each row needs its branch's keys and values: those of the root, which all eight share, and its own. Count them, for
# the step that comes next. A piece is a stretch of a span, as in chapter 4.

# %%
pieces = [[*branch.view, Piece(branch.span, 0, branch.span.written)] for branch in branches]
for number in (0, 7):
    told = " + ".join(f"{len(piece)} tokens of span {piece.span.id}" for piece in pieces[number])
    print(f"branch {branches[number].id} reads {told}")

apart = sum(len(piece) for row in pieces for piece in row)
distinct = {(piece.span.id, piece.start, piece.stop) for row in pieces for piece in row}
together = sum(stop - start for _, start, stop in distinct)
print(f"each for itself: {apart} tokens' keys and values; each piece once: {together}")
assert len(distinct) == 9 and apart - together == 7 * len(branches[0].view)

# %% [markdown]
# The root's text is read eight times if each row reads for itself, once if somebody reads it **for all**. In the
# picture, a row for each branch and a column for each distinct piece: the first column is full.

# %%
columns = sorted(distinct)
sees = torch.tensor([[any((p.span.id, p.start, p.stop) == c for p in row) for c in columns] for row in pieces])
names = [f"span {span}: {stop - start}" for span, start, stop in columns]
draw.matrix(sees, [f"branch {b.id}" for b in branches], names, "Who reads which span, and how many tokens it has")

# %% [markdown]
# ## Attention in pieces
#
# But softmax needs all scores of a row at once: its weights are divided by a sum over **all** keys. If the root's keys
# are handled in one place, for eight rows, and each branch's own keys in another, who knows the sum?
#
# Nobody has to. For a piece, keep two things: the attention's **value** $v$ as if there were nothing else, and the
# logarithm $l$ of the sum it was divided by, the **log-sum-exp**. Together they are the piece's *state*. Two states
# make the state of both pieces, exactly:
#
# $$l = \log(e^{l_a} + e^{l_b}), \qquad v = e^{l_a - l}\,v_a + e^{l_b - l}\,v_b$$


# %%
def state(q, k, v):
    """q [D], k and v [tokens, D] -> value [D], log-sum-exp"""
    scores = k @ q / math.sqrt(len(q))  # [tokens]
    lse = scores.logsumexp(0)
    return (scores - lse).exp() @ v, lse


def merge(a, b):
    lse = torch.logaddexp(a[1], b[1])
    return (a[1] - lse).exp() * a[0] + (b[1] - lse).exp() * b[0], lse


q, k, v = torch.randn(8).double(), torch.randn(30, 8).double(), torch.randn(30, 8).double()
whole = state(q, k, v)
in_two = merge(state(q, k[:21], v[:21]), state(q, k[21:], v[21:]))
in_three = merge(merge(state(q, k[25:], v[25:]), state(q, k[:10], v[:10])), state(q, k[10:25], v[10:25]))
for name, (value, lse) in {"whole": whole, "in two": in_two, "in three, mixed up": in_three}.items():
    print(f"{name:20} first number of the value {float(value[0]):+.6f}, log-sum-exp {float(lse):.6f}")
    assert torch.allclose(value, whole[0], rtol=0, atol=1e-12) and abs(float(lse - whole[1])) < 1e-12

# %% [markdown]
# The cuts may be anywhere, and the order does not matter. Flash-attention uses this to go through keys in tiles;
# FlashInfer (Ye et al. 2025) gave the pair its name and its merge; a *cascade* over a shared prefix is just that.
#
# ## Each piece once
#
# Now the whole step, for one layer. Take each distinct piece, find the rows that see it, compute their states at
# once: a product of [rows] x [tokens], where the keys are read once. Then merge each row's states. Compare with what
# the engine's kernel gives for the same plan.

# %%
rows = len(branches)
layer, group = 1, config.num_attention_heads // config.num_key_value_heads
queries = torch.randn(rows, config.num_attention_heads, config.head_dim, dtype=torch.float64)


def read(piece):
    """Keys and values [tokens, KV heads, D] of a piece, from the pool's blocks."""
    blocks = torch.tensor(engine.kv.blocks(piece))
    first = piece.start % engine.pool.block_size
    keys = engine.pool.k_cache[layer][blocks].permute(0, 3, 1, 2).flatten(0, 1)  # stored [block, head, D, slot]
    values = engine.pool.v_cache[layer][blocks].permute(0, 2, 1, 3).flatten(0, 1)  # stored [block, head, slot, D]
    return keys[first : first + len(piece)], values[first : first + len(piece)]


tokens_read = 0
states = {row: [] for row in range(rows)}
for span, start, stop in sorted(distinct):
    seers = [r for r in range(rows) if any((p.span.id, p.start, p.stop) == (span, start, stop) for p in pieces[r])]
    piece = next(p for p in pieces[seers[0]] if p.span.id == span)
    keys, values = read(piece)  # ONCE, for all who see it
    tokens_read += len(keys)
    heads = queries[seers].unflatten(1, (-1, group))  # [rows, KV heads, group, D]
    scores = torch.einsum("rhgd,thd->rhgt", heads, keys) / math.sqrt(config.head_dim)
    lse = scores.logsumexp(-1)  # [rows, KV heads, group]
    value = torch.einsum("rhgt,thd->rhgd", (scores - lse[..., None]).exp(), values)
    for number, row in enumerate(seers):
        states[row].append((value[number], lse[number]))

ours = []
for row in range(rows):
    value, lse = states[row][0]
    for other, its in states[row][1:]:
        total = torch.logaddexp(lse, its)
        value = (lse - total).exp()[..., None] * value + (its - total).exp()[..., None] * other
        lse = total
    ours.append(value.flatten(0, 1))  # [heads, D]
ours = torch.stack(ours)

builder = miniapr.ops.PlanBuilder()
for row in pieces:
    for piece in row:
        builder.see(
            (piece.span.id, piece.start), engine.kv.blocks(piece), piece.start % engine.pool.block_size, len(piece),
            0, 1, 0,
        )  # fmt: skip
    builder.end_rows(1)
attention_plan = builder.build()
table = torch.ones(1, config.head_dim // 2, dtype=torch.float64)
theirs = reference.paged_attention(
    queries, engine.pool.k_cache[layer], engine.pool.v_cache[layer], attention_plan, table, 0 * table, False
)
print(f"{attention_plan.runs} runs, {len(attention_plan.edge_row)} pairs of a run and a row, {tokens_read} tokens read")
assert attention_plan.runs == 9 and len(attention_plan.edge_row) == 16 and tokens_read == together
assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)

# %% [markdown]
# That is all that `miniapr/ops/plan.py` does: it names the distinct **runs** of a step and, for each, the rows that see
# it. The kernels (chapter 3) take a run, do all its rows, and merge. A fork inside a fork needs nothing new: more runs,
# each with its rows.
#
# ## When branches are free
#
# Now the clock. A larger model, so that its weights do not fit into the processor's caches (its weights are random: how
# long a step takes does not depend on what it says), a prompt of 512 tokens, and 1 to 32 branches.
#
# **Guess first.** A step with 8 branches: how many times as long as with one? And with 32?

# %%
large = ModelConfig(
    vocab_size=len(tokenizer), hidden_size=512, intermediate_size=1536, num_hidden_layers=6, num_attention_heads=8,
    num_key_value_heads=2, head_dim=64, max_position_embeddings=4096,
)  # fmt: skip
model = Decoder(large)
backend = miniapr.ops.load()
if getattr(backend, "packs", True) and backend is not reference:
    model.pack()  # weights as the kernels read them: chapter 3
print(f"{model.parameter_count / 1e6:.0f} M parameters, {backend.name}")


def step_seconds(width, length=512, steps=12):
    """Seconds of one step of so many branches on one prompt: the median, as the engine measured it."""
    engine = miniapr.Engine(model, tokenizer, backend=backend, num_blocks=length // 16 + 4 * width + 8, record=True)
    root = engine.start([i % 400 for i in range(length)])
    children = engine.fork(engine.settle(root), [[i + 1] for i in range(width)])
    engine.decode(children, max_tokens=steps)
    took = [event.data["seconds"] for event in engine.events if event.kind == "step" and event.data["rows"] == width]
    return statistics.median(took[2:])


widths = [1, 2, 4, 8, 16, 32]
measured = [step_seconds(width) for width in widths]
for width, took in zip(widths, measured, strict=True):
    print(f"{width:3} branches: {1e3 * took:6.2f} ms a step, {1e3 * took / width:5.2f} ms for each token")

# %%
picture, plot = draw.axes("A step against the number of branches", 7, 3.6)
plot.plot(widths, [1e3 * took for took in measured], "o-", color="#1d2733", label="measured: all in one step")
plot.plot(widths, [1e3 * measured[0] * w for w in widths], "--", color="#d9663f", label="one after the other")
plot.axhline(1e3 * measured[0], color="#4477aa", ls="--", label="if branches were free")
plot.set(xscale="log", yscale="log", xlabel="branches", ylabel="milliseconds")
plot.set_xticks(widths, widths)
plot.legend(frameon=False)
picture

# %% [markdown]
# The curve begins flat and bends. Your numbers are your machine's; the shape is the roofline of chapter 1 once more. On
# the left a step waits for the weights, and a branch more costs its own few keys and a little arithmetic. On the right
# the processor is busy multiplying, and each branch costs its share. Between them lies the width up to which thinking
# in parallel is (nearly) free. Work it out for this model:

# %%
weights = 4 * (model.parameter_count - large.vocab_size * large.hidden_size)  # bytes; an embedding is looked up
kv = 2 * 4 * large.num_hidden_layers * large.num_key_value_heads * large.head_dim  # bytes of one token
print(f"a step reads {weights / 1e6:.0f} MB of weights")
print(f"and of the prompt {512 * kv / 1e6:.1f} MB once; 8 copies of it would be {8 * 512 * kv / 1e6:.1f} MB")
print(f"each token that a branch has written adds {kv / 1e3:.1f} kB")
assert 512 * kv * 8 > 0.2 * weights > 512 * kv

# %% [markdown]
# Three things end the free ride:
#
# - **Arithmetic.** Every row multiplies every weight. How wide you can go depends on the machine: a large GPU does some
#   hundred operations in the time in which a byte comes, two cores about ten.
# - **What branches do not share.** Each branch's own tokens must be read for that branch alone. Short branches on a
#   long prefix are the good case; long branches on a short prefix are the bad one.
# - **Copies.** If every branch has a copy of the prefix, or reads it for itself, the prefix counts once for each
#   branch: from some length on, branches are never free. That is what the merge above avoids.
#
# `docs/performance.md` has the same curve for a model of 125 M parameters, beside other engines, with the limit of the
# machine drawn in.
#
# ## Exercises
#
# ```
# miniapr learn check 5.1    # merge states, the empty one included
# miniapr learn check 5.2    # read each piece once
# miniapr learn check 5.3    # find the bug: a table that remembers
# ```
#
# Next: the branches are done. How do they become one thought again? The first way is to
# [read their text once more](06_join_by_prefill.ipynb).
