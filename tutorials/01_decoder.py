# %% [markdown]
# # 1 A decoder on one page
#
# In [chapter 0](00_ten_minutes.ipynb) a model wrote one token in each forward pass. This chapter looks inside of one
# pass. First you build the whole model in plain PyTorch: it is one page. Then you measure your own machine and
# find out what a pass waits for. The answer, **memory**, is the reason why thinking in parallel pays at all.
#
# Difference to the last chapter: there the engine ran the model; here you do.

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
import time

import torch
import torch.nn.functional as F

from miniapr.show import draw

bundle = miniapr.load()
tokenizer, config = bundle.tokenizer, bundle.model.config
weights = bundle.model.state_dict()  # names to tensors, as in any Hugging Face checkpoint of a Llama
for name in list(weights)[:11]:
    print(f"{name:50} {list(weights[name].shape)}")

# %% [markdown]
# Those are the embedding table and the first layer. Three more layers like it, a last norm and a head: that is all
# there is. (One matrix a Llama lacks: `voices` tell branches apart in one way of thinking. Nobody speaks in one
# here.) The numbers to remember are these.

# %%
D = config.head_dim  # size of one head's query, key or value
print(f"layers {config.num_hidden_layers}, width {config.hidden_size}, heads {config.num_attention_heads} of {D}")
assert (config.num_hidden_layers, config.hidden_size, config.num_attention_heads, D) == (4, 128, 4, 32)
assert weights["model.embed_tokens.weight"].shape == (len(tokenizer), 128)

# %% [markdown]
# ## From words to vectors
#
# Six tokens enter. The embedding table has a row of 128 numbers for each word of the vocabulary; the model looks up
# six rows. From now on a text is a matrix `x` with one **row per token**, and rows never mix, except in attention.

# %%
text = "8 7 3 -> 29 :"
tokens = torch.tensor(tokenizer.encode(text))
x = weights["model.embed_tokens.weight"][tokens]  # [T, width]
print("x:", list(x.shape))
assert x.shape == (6, 128)
draw.matrix(x[:, :8], text.split(), title="The first 8 of 128 numbers of each row")

# %% [markdown]
# ## Norm
#
# Before every block the rows are brought to a common size: divided by the root of their mean square (**RMSNorm**),
# then each column is scaled by a learnt number.


# %%
def rms_norm(x, scale):
    return x * (x.square().mean(-1, keepdim=True) + config.rms_norm_eps).rsqrt() * scale


row = torch.tensor([[3.0, -4.0, 0.0, 0.0]])
print(rms_norm(row, torch.ones(4)))  # the mean square of the row is 6.25, its root 2.5
assert torch.allclose(rms_norm(row, torch.ones(4)), row / 2.5, atol=1e-4)

# %% [markdown]
# ## Where does a token stand?
#
# Attention compares a **query** (of the token that looks) with **keys** (of the tokens it looks at). By itself it
# would not know who comes first. **RoPE** tells it: the 32 numbers of a query or key are taken as 16 pairs, and
# each pair is *turned* by an angle that grows with the token's **position**. The first pair turns fast, the last
# one slowly.
#
# Here is one pair, the arrow (1, 0), at positions 0 to 5.


# %%
def rotate(x, positions):
    """x [T, heads, D], each row turned to its position [T]."""
    angle = positions[:, None] * config.rope_theta ** (-torch.arange(0, D, 2) / D)  # [T, D / 2]
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]  # [T, 1, D / 2]
    a, b = x.chunk(2, -1)  # pair i is (a_i, b_i), that is dimensions i and i + D / 2
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


arrow = torch.zeros(6, 1, D)
arrow[:, :, 0] = 1.0  # the first pair points to (1, 0)
turned = rotate(arrow, torch.arange(6))[:, 0]
picture, plot = draw.axes("One pair, positions 0 to 5", 3.2, 3.2)
for position in range(6):
    plot.annotate("", turned[position, [0, D // 2]].tolist(), (0, 0), arrowprops={"arrowstyle": "->"})
    plot.annotate(position, (1.12 * turned[position, [0, D // 2]]).tolist(), ha="center", va="center")
plot.set(xlim=(-1.3, 1.3), ylim=(-1.3, 1.3), xticks=[-1, 0, 1], yticks=[-1, 0, 1], aspect="equal")
picture

# %% [markdown]
# What a query makes of a key is their dot product, the **score**. Turn both by the same angle and it stays what it
# was.
#
# **Guess first.** A query at position 5 scores a key at position 2. Now the same two stand at 105 and 102. Is the
# score larger, smaller, or the same?

# %%
torch.manual_seed(0)
query, key = torch.randn(2, 1, 1, D, dtype=torch.float64)


def score(query_at, key_at):
    return (rotate(query, torch.tensor([query_at])) * rotate(key, torch.tensor([key_at]))).sum()


print(f"5 and 2: {score(5, 2):.6f}   105 and 102: {score(105, 102):.6f}   5 and 3: {score(5, 3):.6f}")
assert torch.allclose(score(5, 2), score(105, 102), atol=1e-4)
assert not torch.allclose(score(5, 2), score(5, 3), atol=1e-3)

# %% [markdown]
# The same: only the **difference** of positions counts. Keep this in mind. In chapter 7 it lets us move a whole
# branch by turning a query once, instead of turning every key.
#
# ## Attention
#
# Each token (a row of the query matrix) scores all keys, turns the scores into weights that add up to 1 (softmax),
# and takes the weighted mean of the **values**. Two more things: the scores are divided by the root of `D`, so that
# they do not grow with it; and a **mask** says who may look at whom. In ordinary text a token sees itself and what
# is before it.

# %%
visible = torch.ones(6, 6, dtype=torch.bool).tril()
draw.matrix(visible, text.split(), text.split(), "Who may look (rows) at whom (columns)")


# %%
def attention(q, k, v, visible):
    """q, k, v [T, heads, D]; visible [T, T]. Returns [T, heads, D], and the weights [heads, T, T]."""
    scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(D)
    weight = scores.masked_fill(~visible, -math.inf).softmax(-1)
    return torch.einsum("hqk,khd->qhd", weight, v), weight


assert visible.sum() == 6 * 7 / 2  # of 36 pairs, 21 are allowed

# %% [markdown]
# ## The page
#
# Now everything at once. Four layers; in each, attention mixes rows and a small network (**SwiGLU**) works on each
# row alone; both *add* to `x`. At the end the head gives a score to every word of the vocabulary: the **logits** of
# the next token. `A @ W.T` multiplies each row with a weight matrix. Most of the work is in these products: count
# them.


# %%
def decoder(tokens, positions, visible, look=None):
    """tokens, positions [T], visible [T, T] -> logits [T, vocabulary]; ``look`` collects attention weights."""
    x = weights["model.embed_tokens.weight"][tokens]  # [T, width]
    for number in range(config.num_hidden_layers):
        w = {name.split(".", 3)[3]: weights[name] for name in weights if name.startswith(f"model.layers.{number}.")}

        h = rms_norm(x, w["input_layernorm.weight"])
        q, k, v = ((h @ w[f"self_attn.{p}_proj.weight"].T).unflatten(-1, (-1, D)) for p in "qkv")  # [T, heads, D]
        seen, weight = attention(rotate(q, positions), rotate(k, positions), v, visible)
        x = x + seen.flatten(-2) @ w["self_attn.o_proj.weight"].T
        if look is not None:
            look.append(weight)

        h = rms_norm(x, w["post_attention_layernorm.weight"])
        inner = F.silu(h @ w["mlp.gate_proj.weight"].T) * (h @ w["mlp.up_proj.weight"].T)
        x = x + inner @ w["mlp.down_proj.weight"].T
    return rms_norm(x, weights["model.norm.weight"]) @ weights["lm_head.weight"].T


look = []
logits = decoder(tokens, torch.arange(6), visible, look)
print("logits:", list(logits.shape))

# %% [markdown]
# Is it right? The package has a decoder of its own, by which everything else in it is judged. Ours must give the
# same logits.

# %%
theirs = bundle.model.dense(tokens[None], torch.arange(6)[None], visible[None])[0]
print(f"largest difference {float((logits - theirs).abs().max()):.1e}, logits up to {float(logits.abs().max()):.0f}")
assert torch.allclose(logits, theirs, atol=1e-3)

# %% [markdown]
# You have built a GPT decoder of today. What does it look at? One head of the last layer, as a matrix; each row
# adds up to 1. It is the head that is surest of where to look from the last row, `:`, which is about to write the first
# try. Where does it look?

# %%
surest = int(look[-1][:, -1].amax(-1).argmax())
head = look[-1][surest]  # [T, T]
print(f"head {surest} of the last layer gives {100 * float(head[-1].max()):.0f} % to one token:", end=" ")
print(text.split()[int(head[-1].argmax())])
assert torch.allclose(head.sum(-1), torch.ones(6))
assert head[-1].max() > 1 / 6  # more than if it looked at all of them alike
draw.matrix(head.masked_fill(~visible, math.nan), text.split(), text.split(), "Attention weights: who looks at whom")

# %% [markdown]
# ## Writing
#
# The last row of the logits scores the token that comes *next*. To write, take the best one, append it, and run the
# model again on the longer text. This is called **decoding**, and this way of choosing **greedy**.


# %%
def write(tokens, count):
    """Decode ``count`` tokens; returns all tokens, and how many rows went through the model."""
    rows = 0
    for _ in range(count):
        length = len(tokens)
        mask = torch.ones(length, length, dtype=torch.bool).tril()
        logits = decoder(torch.tensor(tokens), torch.arange(length), mask)
        rows += length
        tokens = [*tokens, int(logits[-1].argmax())]
    return tokens, rows


prompt = tokenizer.ids(["<bos>", "<adaptive>"]) + tokenizer.encode(text)  # control tokens go in by name
begun = time.perf_counter()
written, rows = write(prompt, 20)
print(tokenizer.decode(written[len(prompt) :]))
print(f"{rows} rows for 20 tokens, {time.perf_counter() - begun:.1f} s")

# %% [markdown]
# The same text as in chapter 0, token for token. But look at the rows.
#
# **Guess first.** Each pass computed the whole text again. The prompt has 8 tokens. Why so many rows, and how many
# would it be for 1,000 tokens?

# %%
assert rows == sum(range(8, 28)) == 350
print(f"for 1000 tokens: {sum(range(8, 1008)):,} rows")
assert sum(range(8, 1008)) == 507_500

engine = miniapr.Engine(bundle.model, tokenizer)
root = engine.start(prompt)
engine.decode([root], max_tokens=20)
assert root.tokens == written[len(prompt) :]
print(f"the engine: {root.request.cost.prefilled + root.request.cost.decoded - 1} rows")
assert root.request.cost.prefilled + root.request.cost.decoded - 1 == 27

# %% [markdown]
# 8 + 9 + 10 + ... + 27 = 350, while the engine computed 27: every token once. How it gets away with that is
# [chapter 2](02_kv_cache.ipynb). Here we ask something else: **how long must one row take?**
#
# ## What a pass waits for
#
# A row meets every weight of the model once. Each weight is one multiplication and one addition, and before that it
# has to come from memory. So for `rows` rows at once:
#
# - **bytes** to read: all weights, *once*, however many rows there are;
# - **operations**: 2 per weight *and row*.
#
# Which of the two takes longer? That depends on the machine. Measure yours: how many bytes a second it reads from
# memory, and how many operations a second it does. (A machine that is busy with other things measures lower.)

# %%
SIDE = 4096  # a matrix of 64 MB: several of them in turn do not stay in any cache
matrices = [torch.randn(SIDE, SIDE) for _ in range(4)]


def seconds(function, repeats=5):
    """The best of several times, each on another matrix: what the machine can do when nobody disturbs it."""
    times = []
    for number in range(repeats + 1):
        begun = time.perf_counter()
        function(number % len(matrices))
        times.append(time.perf_counter() - begun)
    return min(times[1:])  # the first one warms up


ops = miniapr.ops.load("auto")  # the C++ kernels where they are compiled, else plain torch
packed = [miniapr.ops.packed.pack(m) if getattr(ops, "packs", True) and ops.name == "cpp" else m for m in matrices]


def multiply(rows):
    """Seconds for ``rows`` rows times one matrix."""
    x = torch.randn(rows, SIDE)
    return seconds(lambda number: ops.linear(x, [packed[number]]))


weight_bytes, weight_count = 4 * SIDE * SIDE, SIDE * SIDE
bandwidth = weight_bytes / min(seconds(lambda number: matrices[number].sum(), 9), multiply(1))
peak = 2 * weight_count * 256 / multiply(256)
print(f"{bandwidth / 1e9:.0f} GB read a second, {peak / 1e9:.0f} billion operations a second")
print(f"so while a weight of 4 bytes comes, there is time for {4 * peak / bandwidth:.0f} operations")

# %% [markdown]
# One row does 2 operations with a weight, a multiplication and an addition. Compare that with the last line above:
# the machine could do many more before the next weight is there. With one row it does 2 and **waits**.
#
# **Guess first.** One matrix, and 1, 2, 4, 8, ... rows. At how many rows does a product begin to take longer? The
# line above lets you work it out.

# %%
counts = [1, 2, 4, 8, 16, 32, 64, 128, 256]
measured = [multiply(count) for count in counts]
for count, took in zip(counts, measured, strict=True):
    print(f"{count:4} rows {1e3 * took:7.2f} ms {1e6 * took / count:9.1f} us for each row")

# %%
knee = 4 * peak / bandwidth / 2
print(f"worked out: up to {knee:.0f} rows are multiplied while the weights come; with more, the weights wait")
memory = [1e3 * weight_bytes / bandwidth for _ in counts]
compute = [1e3 * 2 * weight_count * count / peak for count in counts]
picture, plot = draw.axes("One product: the time against the rows", 7, 3.6)
plot.plot(counts, [1e3 * took for took in measured], "o-", color="#1d2733", label="measured")
plot.plot(counts, memory, "--", color="#4477aa", label="reading the weights, once")
plot.plot(counts, compute, "--", color="#d9663f", label="multiplying")
plot.set(xscale="log", yscale="log", xlabel="rows", ylabel="milliseconds")
plot.set_xticks(counts, counts)
plot.legend(frameon=False)
picture

# %% [markdown]
# Two lines, and the time lies near the higher one. To the left it is **flat**: the product waits for memory, and
# more rows cost (almost) nothing. To the right it rises: the product is busy multiplying. Seen as operations per
# second, the same two lines make the **roofline**: a slope where memory limits, a flat roof where arithmetic does.

# %%
fine = [0.5 * 1.2**i for i in range(31)]  # operations for each byte read: 2 for each row and weight of 4 bytes
picture, plot = draw.axes("The roofline of this machine", 7, 3.6)
roof = [min(peak, bandwidth * i) / 1e9 for i in fine]
plot.plot(fine, roof, "--", color="#4477aa", label="the limit: memory, then arithmetic")
reached = [2 * weight_count * count / took / 1e9 for count, took in zip(counts, measured, strict=True)]
plot.plot([count / 2 for count in counts], reached, "o", color="#1d2733", label="measured, with the number of rows")
for count, r in zip(counts, reached, strict=True):
    plot.annotate(count, (count / 2, r), (5, -11), textcoords="offset points", fontsize=8)
plot.set(xscale="log", yscale="log", xlabel="operations for each byte read", ylabel="billion operations a second")
plot.set_ylim(0.5 * min(roof), 2 * max(roof))
plot.legend(frameon=False)
picture

# %% [markdown]
# Eight rows at once should be far cheaper than eight times one row (unless your machine was busy with other things
# just now: then run the cells again).

# %%
eight = measured[counts.index(8)] / measured[0]
print(f"8 rows take {eight:.1f} times as long as 1 row")

# %% [markdown]
# ## What it means
#
# Decoding one thought puts **one row** through the model at a time. It stands at the far left of the roofline:
# nearly all of the machine's arithmetic lies idle. Eight branches put eight rows through at once, and still read
# the weights once. So a pass with eight branches is hardly slower than a pass with one, and half the passes are half
# the wait.
#
# For a model as you know them, with 7 billion weights of 2 bytes each:

# %%
large = 7e9 * 2 / bandwidth
print(f"your machine reads 7 billion weights in {large:.2f} s")
print(f"one branch: at most {1 / large:.1f} tokens a second; eight branches: at most {8 / large:.1f} in all")
assert large > 0

# %% [markdown]
# A GPU is tipped even further. The data sheet of an H100 (SXM) promises 3.35 TB read and 989 thousand billion
# operations a second (bfloat16, dense). So it takes hundreds of rows until it has as much to multiply as to read:

# %%
rows_h100 = 2 * 989e12 / 3.35e12 / 2  # a weight has 2 bytes, a row does 2 operations with it
print(f"{rows_h100:.0f} rows")
assert 290 < rows_h100 < 300

# %% [markdown]
# Our tiny model is an exception. Reading its weights would take far less time than a pass of the engine did above:
# nearly all of that goes into Python and many small calls. What you learn with it are the mechanisms; the times are
# those of larger models, in chapter 5 and in `docs/performance.md`.

# %%
reading = 4 * bundle.model.parameter_count / bandwidth
passing = root.request.cost.seconds / root.request.cost.steps
print(f"reading its weights {1e3 * reading:.2f} ms, a pass {1e3 * passing:.2f} ms")

# %% [markdown]
# One thing is missing: branches also read what they *remember*, and that does grow with the number of branches. It
# is the next chapter's subject, and chapter 5 measures when it ends the free lunch.
#
# ## Exercises
#
# - **1.1 Attention for few keys.** Models of today share each key head among several query heads. Write that
#   attention. `miniapr learn check 1.1`
# - **1.2 Two ways to pair**. A converted checkpoint speaks fluent nonsense. Find out why.
#   `miniapr learn check 1.2`
# - **1.3 How many rows are free?** The roofline as two functions. `miniapr learn check 1.3`
#
# ## References
#
# - Vaswani et al. 2017, *Attention Is All You Need*. Radford et al. 2019 (GPT-2): the decoder alone.
# - Touvron et al. 2023, *LLaMA*: RMSNorm (Zhang and Sennrich 2019), SwiGLU (Shazeer 2020) and RoPE together.
# - Su et al. 2021, *RoFormer: Enhanced Transformer with Rotary Position Embedding*, section 3.2.
# - Ainslie et al. 2023, *GQA: Training Generalized Multi-Query Transformer Models from Multi-Head Checkpoints*.
# - Williams, Waterman and Patterson 2009, *Roofline: An Insightful Visual Performance Model*.
# - Pope et al. 2022, *Efficiently Scaling Transformer Inference*: what decoding waits for, worked out for large
#   models.
# - In this package: `miniapr/model/layer.py` and `decoder.py` are the same with two ways to attend.
