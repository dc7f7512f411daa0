# %% [markdown]
# # 2 The KV cache, then pages
#
# In [chapter 1](01_decoder.ipynb) our decoder put 350 rows through the model to write 20 tokens, where the engine
# needed 27. This chapter closes the gap. First you keep what was computed: the **KV cache**. Then you put it into
# **blocks** of memory, because that is what lets branches come and go, and share.
#
# Difference to the last chapter: the same decoder, and only the way in which it attends changes.

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

import torch
import torch.nn.functional as F

from miniapr.show import draw

bundle = miniapr.load(dtype=torch.float64)  # so that a difference is an error, and not rounding
tokenizer, config = bundle.tokenizer, bundle.model.config
weights = bundle.model.state_dict()
D = config.head_dim


def rms_norm(x, scale):
    return x * (x.square().mean(-1, keepdim=True) + config.rms_norm_eps).rsqrt() * scale


def rotate(x, positions):
    angle = positions[:, None] * config.rope_theta ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)  # [T, D / 2]
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]  # [T, 1, D / 2]
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def attention(q, k, v, visible):
    """q [T, heads, D]; k, v [S, heads, D]; visible [T, S] -> [T, heads, D]"""
    scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(D)
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(~visible, -math.inf).softmax(-1), v)


# %% [markdown]
# That was chapter 1. Here is its page again, with one change: how a layer attends is now an **argument**. `attend`
# gets the number of the layer and the new rows' queries, keys and values.


# %%
def decoder(tokens, positions, attend):
    """tokens, positions [T] -> logits [T, vocabulary]"""
    x = weights["model.embed_tokens.weight"][tokens]  # [T, width]
    for number in range(config.num_hidden_layers):
        w = {name.split(".", 3)[3]: weights[name] for name in weights if name.startswith(f"model.layers.{number}.")}
        h = rms_norm(x, w["input_layernorm.weight"])
        q, k, v = ((h @ w[f"self_attn.{p}_proj.weight"].T).unflatten(-1, (-1, D)) for p in "qkv")  # [T, heads, D]
        seen = attend(number, rotate(q, positions), rotate(k, positions), v)  # CHANGED
        x = x + seen.flatten(-2) @ w["self_attn.o_proj.weight"].T
        h = rms_norm(x, w["post_attention_layernorm.weight"])
        inner = F.silu(h @ w["mlp.gate_proj.weight"].T) * (h @ w["mlp.up_proj.weight"].T)
        x = x + inner @ w["mlp.down_proj.weight"].T
    return rms_norm(x, weights["model.norm.weight"]) @ weights["lm_head.weight"].T


def causal(new, total):
    """The last ``new`` of ``total`` tokens look: each at itself and at all before it. [new, total]"""
    return torch.ones(new, total, dtype=torch.bool).tril(total - new)


def whole(tokens):
    """Logits of a whole text, and the keys and values of every layer."""
    kept = {}

    def attend(layer, q, k, v):
        kept[layer] = k, v
        return attention(q, k, v, causal(len(q), len(k)))

    return decoder(torch.tensor(tokens), torch.arange(len(tokens)), attend), kept


# %% [markdown]
# ## What is computed twice
#
# A text of six tokens, then the same with a seventh. Compare the keys that the last layer makes of the first six.
#
# **Guess first.** Do they change when a token is appended?

# %%
six = tokenizer.encode("8 7 3 -> 29 :")
seven = [*six, *tokenizer.encode("7")]
short, long = whole(six)[1], whole(seven)[1]
for layer in range(config.num_hidden_layers):
    difference = max(float((a - b[:6]).abs().max()) for a, b in zip(short[layer], long[layer], strict=True))
    print(f"layer {layer}: keys and values of the first six differ by {difference:.0e}")
    assert difference < 1e-10

# %% [markdown]
# They do not. A token looks only at itself and at what is **before** it, so nothing that comes later can change its
# rows. What is needed of it later are its keys and values, in every layer; its query is used once and never again.
# So keep keys and values, and put only *new* tokens through the model.
#
# ## The KV cache
#
# One growing tensor of keys and one of values for each layer.


# %%
class Cache:
    """All keys and values so far: keys[layer] and values[layer] are [length, heads, D]."""

    def __init__(self):
        self.keys, self.values, self.length = {}, {}, 0

    def attend(self, layer, q, k, v):
        empty = k[:0]
        self.keys[layer] = k = torch.cat((self.keys.get(layer, empty), k))  # [length + new, heads, D]
        self.values[layer] = v = torch.cat((self.values.get(layer, empty), v))
        return attention(q, k, v, causal(len(q), len(k)))

    def forward(self, tokens):
        """Logits of the new tokens [new, vocabulary]."""
        positions = torch.arange(self.length, self.length + len(tokens))
        logits = decoder(torch.tensor(tokens), positions, self.attend)
        self.length += len(tokens)
        return logits


# %% [markdown]
# New rows look at old keys, so the mask is no square any more. Say 4 tokens are there and 3 are new:

# %%
names = tokenizer.decode(seven).split()
assert causal(3, 7).sum() == 5 + 6 + 7
draw.matrix(causal(3, 7), names[4:], names, "Three new rows look at seven keys")

# %% [markdown]
# The corner that matters is at the bottom **right**: the last new token sees everything. (A mask aligned at the top
# left would show the token `29` nothing but `8`. It would run without an error; exercise 2.3 is about those who did
# it.)
#
# Now write: the prompt goes in at once, called **prefill**, then one token at a time.


# %%
def write(prompt, count):
    """Decode ``count`` tokens; returns them, and how many rows went through the model."""
    cache, new, written, rows = Cache(), prompt, [], 0
    for _ in range(count):
        logits = cache.forward(new)
        rows += len(new)
        new = [int(logits[-1].argmax())]
        written += new
    return written, rows


prompt = tokenizer.ids(["<bos>", "<adaptive>"]) + tokenizer.encode("8 7 3 -> 29 :")
written, rows = write(prompt, 20)
print(tokenizer.decode(written))
print(f"{rows} rows for 20 tokens")

# %%
again = [int(whole([*prompt, *written[:n]])[0][-1].argmax()) for n in range(20)]
assert written == again  # what chapter 1 wrote, computing everything again each time
assert rows == 8 + 19 == 27

# %% [markdown]
# The same text with 27 rows instead of 350. The last token was written but not read: its key and value are not in
# the cache, and need not be until somebody goes on from there. (Engines lost that token at a join: chapter 6.)
#
# ## What it weighs
#
# Each token leaves a key and a value for every head in every layer.


# %%
def token_bytes(layers, heads, size, number_bytes):
    return 2 * layers * heads * size * number_bytes


ours = token_bytes(4, 4, 32, 4)  # in float32
llama = token_bytes(32, 8, 128, 2)  # Llama 3 8B: 32 layers, 8 key heads of 128 numbers, 2 bytes each
print(f"ours: {ours:,} bytes a token; Llama 3 8B: {llama:,}")
print(f"eight branches of 2,000 tokens with Llama 3 8B: {8 * 2000 * llama / 1e9:.1f} GB")
assert ours == 4096 and llama == 131_072
assert round(8 * 2000 * llama / 1e9, 1) == 2.1

# %% [markdown]
# That is a lot of memory, and it has to be read in every step, on top of the weights. So: do not waste it, and do
# not keep it twice.
#
# ## The trouble with one long tensor
#
# `torch.cat` copies the whole past for each new token. The usual way out is to *reserve* room for the longest text
# that may come. Say three branches may write 32 tokens each, and stop after 5, 13 and 9:

# %%
longest, lengths = 32, [5, 13, 9]
reserved, used = longest * len(lengths), sum(lengths)
print(f"{used} of {reserved} places used: {used / reserved:.0%}")
assert used == 27 and reserved == 96

# %% [markdown]
# Nearly three quarters lie idle. This is no invented problem: Kwon et al. (2023) measured servers in which 20 to
# 38% of the cache's memory held tokens. And if the three branches began with the same prompt, each would have its
# own copy of it.
#
# ## Pages
#
# Operating systems solved this decades ago, for the memory of programs: cut it into **pages** of equal size, hand
# them out one by one, and let each program have a table of its own that says where its pages are. *Paged attention*
# does the same:
#
# - The **pool** is one large piece of memory, cut into **blocks** of, say, 4 tokens.
# - A **slot** is the place of one token: `block * 4 + offset`.
# - Each text has a **block table**, the list of its blocks in order. They may lie anywhere.
#
# Nothing is ever moved. A text that grows takes a free block when its last one is full. Here is the bookkeeping:


# %%
BLOCK = 4


class Pool:
    """Keys and values of all texts, and which blocks are free."""

    def __init__(self, blocks):
        shape = (config.num_hidden_layers, blocks * BLOCK, config.num_key_value_heads, D)
        # NaN, not zeros: whoever reads a slot that nobody wrote is found out.
        self.keys = torch.full(shape, math.nan, dtype=torch.float64)  # [layers, slots, heads, D]
        self.values = torch.full(shape, math.nan, dtype=torch.float64)
        self.free = list(range(blocks))


class Text:
    """A text in a pool: its block table and its length."""

    def __init__(self, pool):
        self.pool, self.table, self.length = pool, [], 0

    def slots(self, start, stop):
        """Where tokens ``start`` to ``stop`` lie."""
        return [self.table[i // BLOCK] * BLOCK + i % BLOCK for i in range(start, stop)]

    def forward(self, tokens):
        """Logits of the new tokens [new, vocabulary]."""
        start, stop = self.length, self.length + len(tokens)
        while len(self.table) * BLOCK < stop:
            self.table.append(self.pool.free.pop(0))
        write, read = self.slots(start, stop), self.slots(0, stop)

        def attend(layer, q, k, v):
            keys, values = self.pool.keys[layer], self.pool.values[layer]
            keys[write], values[write] = k, v  # written before it is read: a token sees itself
            return attention(q, keys[read], values[read], causal(len(q), stop))

        self.length = stop
        return decoder(torch.tensor(tokens), torch.arange(start, stop), attend)


# %% [markdown]
# Two texts grow in turn in one pool of eight blocks: A gets 5 tokens, then B 3, B another 3, and A another 4.
#
# **Guess first.** Which blocks will A have in the end, and which B?

# %%
a_tokens, b_tokens = tokenizer.encode("8 7 3 -> 29 : b*c 21 8"), tokenizer.encode("9 5 4 -> 41 :")
pool = Pool(8)
a, b = Text(pool), Text(pool)
a.forward(a_tokens[:5])
b.forward(b_tokens[:3])
b_logits = b.forward(b_tokens[3:])
a_logits = a.forward(a_tokens[5:])
print("A's table", a.table, "  B's table", b.table, "  free", pool.free)
assert a.table == [0, 1, 4] and b.table == [2, 3]

# %%
lies = [""] * 8 * BLOCK
for name, one, tokens in (("A", a, a_tokens), ("B", b, b_tokens)):
    for slot, token in zip(one.slots(0, one.length), tokens, strict=True):
        lies[slot] = f"{name} {tokenizer.decode([token])}"
shades = {"A": "#8ecae6", "B": "#ffc94d", "": "#f1f3f5"}
draw.matrix(
    [lies[block * BLOCK : block * BLOCK + BLOCK] for block in range(8)],
    [f"block {block}" for block in range(8)],
    range(BLOCK),
    "The pool: a row for each block, a column for each offset",
    fills=[[shades[lies[block * BLOCK + i][:1]] for i in range(BLOCK)] for block in range(8)],
)

# %% [markdown]
# A's ninth token lies in block 4, behind B. Read the numbers of that token aloud:

# %%
print(f"A's token 8: position 8, block {a.table[8 // BLOCK]}, offset {8 % BLOCK}, slot {a.slots(8, 9)[0]}")
assert a.slots(8, 9) == [16] and a.slots(0, 5) == [0, 1, 2, 3, 4] and b.slots(0, 5) == [8, 9, 10, 11, 12]

# %% [markdown]
# **Position** says where a token stands in its text, and turns its key. **Slot** says where its key lies in memory,
# and turns nothing. Two different numbers, and from chapter 4 on nothing will relate them but the table.
#
# Are the logits right, with the text in three pieces? And were the NaN never read?

# %%
for name, paged, tokens in (("A", a_logits, a_tokens), ("B", b_logits, b_tokens)):
    truth = whole(tokens)[0]
    print(f"{name}: largest difference {float((paged - truth[-len(paged) :]).abs().max()):.0e}")
    assert torch.allclose(paged, truth[-len(paged) :], atol=1e-9)
assert pool.keys[0, 17].isnan().all()  # the slot after A's last token was never written, nor read

# %% [markdown]
# What is wasted now? At most `BLOCK - 1` slots of a text, in its last block. For the three branches from above:

# %%
blocks = [-(-length // BLOCK) for length in lengths]  # divided and rounded up
print(f"{used} of {sum(blocks) * BLOCK} slots used: {used / (sum(blocks) * BLOCK):.0%}")
assert blocks == [2, 4, 3] and sum(blocks) * BLOCK == 36

# %% [markdown]
# 75 % instead of 28 %, though blocks of 4 are cruel to such short texts. Smaller blocks waste less, larger ones are
# faster to read and have shorter tables. Engines take 16 or so.
#
# ## The engine's pool
#
# The engine works with the same parts. `engine.pool` holds the memory; a **span** is what a branch writes, and
# knows its blocks. Here are the same two texts, in the engine.

# %%
engine = miniapr.Engine(bundle.model, tokenizer, num_blocks=8, block_size=BLOCK, reuse_prefixes=False, record=True)
one, two = engine.start(a_tokens[:5]), engine.start(b_tokens[:3])
engine.settle(one)  # computes everything up to the last token
engine.settle(two)
engine.settle(engine.extend(two, b_tokens[3:]))
engine.settle(engine.extend(one, a_tokens[5:]))
print("A's blocks", one.span.blocks, "  B's blocks", two.span.blocks)
assert one.span.blocks == a.table and two.span.blocks == b.table
draw.pool(engine, "The engine's pool")

# %%
draw.table(engine, one, "From A's tokens through its block table to the pool")

# %% [markdown]
# Not only the bookkeeping is the same, the numbers are. The engine keeps keys *transposed* inside a block,
# `[layers, blocks, heads, D, block size]`, because its kernels read them faster so (chapter 3). Take A's token 8
# out of both pools:

# %%
layer, slot = 2, a.slots(8, 9)[0]
mine = pool.keys[layer, slot]  # [heads, D]
theirs = engine.pool.k_cache[layer, slot // BLOCK, :, :, slot % BLOCK]  # [heads, D]
print(f"keys differ by {float((mine - theirs).abs().max()):.0e}")
assert torch.allclose(mine, theirs, atol=1e-9)
assert torch.allclose(one.logits, a_logits[-1], atol=1e-9)
assert engine.pool.bytes_per_block == BLOCK * token_bytes(4, 4, 32, 8)  # float64 here

# %% [markdown]
# When a text ends, its blocks go back to the free list, one integer each. Whoever comes next takes them: in any
# order.

# %%
engine.release(two)
three = engine.settle(engine.start(tokenizer.encode("12 7 6 -> 30 : a-b 5 6 : a+b")))
print("C's blocks", three.span.blocks)
assert sorted(three.span.blocks) == [2, 3, 5] and engine.pool.free == 2
draw.table(engine, three, "C takes what B left")

# %% [markdown]
# C's blocks are 2, 3 and 5, around A's block 4, and nobody minds. Step through it: who takes which block when?

# %%
from miniapr.stepper import Trace

Trace.of(engine, title="three texts, one pool")

# %% [markdown]
# ## What we have now
#
# Memory that is handed out in blocks, and a table for each text that says where they are. Now look at the table and
# think one step further: **nothing forbids two tables from naming the same block.** Eight branches with one prompt
# could all have the prompt's blocks in their tables, and keep it once. That is fork, [chapter 4](04_fork.ipynb).
# Before that, chapter 3 gets rid of a waste that is left: `keys[read]` copies a text's whole past in every layer of
# every step.
#
# ## Exercises
#
# - **2.1 Where does it lie?** Slots from tables, and back. `miniapr learn check 2.1`
# - **2.2 A pool that shrinks**. After a day, the pool is full of nothing. Find both bugs.
#   `miniapr learn check 2.2`
# - **2.3 The wrong corner**. Long prompts make the model stupid, short ones do not. `miniapr learn check 2.3`
# - **2.4 How many branches fit?** With and without sharing the prompt. `miniapr learn check 2.4`
#
# ## References
#
# - Kwon et al. 2023, *Efficient Memory Management for Large Language Model Serving with PagedAttention* (vLLM):
#   blocks and tables; figure 2 has the measurement.
# - Pope et al. 2022, *Efficiently Scaling Transformer Inference*: what the cache costs, worked out.
# - Shazeer 2019, *Fast Transformer Decoding: One Write-Head is All You Need*: fewer keys, a smaller cache.
# - Kilburn et al. 1962, *One-Level Storage System*: where pages come from.
# - In this package: `miniapr/kv/pool.py`, and `slots` and `blocks` in `miniapr/kv/cache.py`.
