# %% [markdown]
# # 7 Join by stitching
#
# The last chapter read the branches again, because their keys and values are not those of the joined text. This
# chapter does the opposite: **it uses them as they are.** The joined branch simply attends to what every branch left
# in the pool. Nothing is computed, nothing is moved.
#
# Then two questions are left, and they are the chapter. At which *positions* do the branches stand, when all of them
# were written at the same ones? And can a model read that, if it has never seen it?
#
# The method is that of Multiverse (Yang et al. 2025, arXiv 2506.09991); its cousin with shifted positions comes from
# Hogwild! Inference (Rodionov et al. 2025, arXiv 2504.06261).

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

import torch
import torch.nn.functional as F

from miniapr import Span, View, unroll
from miniapr.examine.figures import Examined, drawn
from miniapr.model.bundle import find
from miniapr.model.config import ModelConfig
from miniapr.model.decoder import Decoder
from miniapr.model.rope import cos_sin
from miniapr.ops.reference import rotate
from miniapr.show import draw
from miniapr.stepper import Trace
from miniapr.tasks import Ranges

bundle = miniapr.load()
tokenizer = bundle.tokenizer
control = miniapr.Control.of(tokenizer, bundle.control)


def ids(text):
    return tokenizer.ids(text.split())


# %% [markdown]
# ## The same two branches
#
# As in chapter 6: a prompt of 8 tokens, branches A and B of 6 tokens each, and a `<join>` token to go on with.

# %%
engine = miniapr.Engine(bundle.model, tokenizer, block_size=4, num_blocks=24, record=True)
root = engine.start(ids("<bos> <adaptive> 8 7 3 -> 29 :"))
A, B = engine.fork(root, [ids("<thread> a-b 1 3 : a+b"), ids("<thread> b*c 21 8 : a+b")])
engine.settle(A)  # computes what is behind, so that all keys and values are in the pool
engine.settle(B)
joined = {}
for how in ("reprefill", "stitch"):
    joined[how] = engine.settle(engine.join(root, [A, B], how, then=ids("<join>"), keep=True))
    print(f"{how:10} {joined[how].join_cost}")
assert joined["stitch"].join_cost == {"recomputed": 0, "reused": 20, "bytes_moved": 0, "keys_shifted": 0}

# %% [markdown]
# The stitch reused all 20 tokens and did nothing else. What did it do then? It wrote down a **view**: a tuple of
# pieces that says what the joined branch attends to.
#
# **Guess first.** A stands at positions 8 to 13. So does B. At which position does the `<join>` token stand?

# %%
for piece in joined["stitch"].view:
    print(f"positions {piece.position:2} to {piece.end - 1:2}   {tokenizer.decode(piece.tokens)}")
print(f"position  {joined['stitch'].span.position:2}         <join>")
assert joined["stitch"].span.position == 14
draw.tree(joined["stitch"], title="Stitched: the branches lie on top of one another")

# %% [markdown]
# At 14: after the longest branch, so that nothing it sees lies ahead of it. The joined branch *sees* 20 tokens and
# stands at *position* 14. Position and number of tokens have come apart; whoever computes one from the other is wrong
# from here on.
#
# ## The mask
#
# Here is who sees whom. Compare it with the triangle of chapter 6.

# %%
draw.mask(joined["stitch"], title="After a stitch")

# %% [markdown]
# Two things differ, and only two.
#
# - **A hole.** B's rows are empty in A's columns. B was written without seeing A, and nobody makes up for it.
# - **Positions repeat.** Read the numbers on the edge: 8 to 13 come twice.
#
# Put both masks together, and the whole difference between the two joins is a rectangle:

# %%
forms = {how: unroll([(branch.view, branch.span)]) for how, branch in joined.items()}
hole = forms["reprefill"].visible & ~forms["stitch"].visible
print(f"{int(hole.sum())} pairs are seen after a re-prefill and not after a stitch: B's 6 tokens times A's 6")
assert hole.sum() == 36 and hole[14:20, 8:14].all()
assert forms["stitch"].positions.tolist() == [*range(14), *range(8, 14), 14]

# %% [markdown]
# Step through both, side by side: the same run up to the join, then two ways. (The arrow keys go back and forth.)


# %%
def recorded(how):
    engine = miniapr.Engine(bundle.model, tokenizer, block_size=4, num_blocks=24, record=True)
    root = engine.start(ids("<bos> <adaptive> 8 7 3 -> 29 :"))
    branches = engine.fork(root, [ids("<thread> a-b 1 3 : a+b"), ids("<thread> b*c 21 8 : a+b")])
    for branch in branches:
        engine.settle(branch)
    joined = engine.join(root, branches, how, then=ids("<join>"))
    engine.decode([joined], max_tokens=4)
    return Trace.of(engine, title=how)


recorded("stitch") | recorded("reprefill")

# %% [markdown]
# ## Positions as in the text
#
# The second difference can be mended. Let B count as moved by 6, so that it stands where it would stand in the text.
# With RoPE that costs nothing. A key at position s is turned by an angle that belongs to s, a query at p by one that
# belongs to p, and their product depends on p - s alone. So, to see a key as if it stood at s + 6, one may turn the
# key on by 6, or **turn the query back by 6**. The query is one vector; the keys are many, and others may be reading
# them.

# %%
torch.manual_seed(0)
query, key = torch.randn(32), torch.randn(32)


def turned(x, position):
    return rotate(x, *cos_sin(torch.tensor(position), 32, 10_000.0, torch.float32), interleaved=False)


moved_key = turned(query, 20) @ turned(key, 8 + 6)
moved_query = turned(query, 20 - 6) @ turned(key, 8)
neither = turned(query, 20) @ turned(key, 8)
print(f"key turned on: {moved_key:.5f}   query turned back: {moved_query:.5f}   neither: {neither:.5f}")
assert torch.isclose(moved_key, moved_query, atol=1e-4)

# %% [markdown]
# The engine has both. `stitch_contiguous` turns the query, once for every amount that some piece is moved by.
# `stitch_copied` copies the blocks and turns the keys in the copy.
#
# **Guess first.** Which of the two gives other logits than the other one? Which one moves bytes?

# %%
for how in ("stitch_contiguous", "stitch_copied"):
    joined[how] = engine.settle(engine.join(root, [A, B], how, then=ids("<join>"), keep=True))
    print(f"{how:18} {joined[how].join_cost}")
distance = float((joined["stitch_contiguous"].logits - joined["stitch_copied"].logits).abs().max())
print(f"largest difference of their logits: {distance:.1e}")
assert joined["stitch_contiguous"].join_cost["bytes_moved"] == 0
assert joined["stitch_copied"].join_cost["keys_shifted"] == 6
assert distance < 1e-3
draw.mask(joined["stitch_contiguous"], title="After a contiguous stitch: +6 is how far a key counts as moved", rows=8)

# %% [markdown]
# Same logits; only the copy moves bytes. In the picture are the last 8 rows of the mask: the `<join>` token stands at
# position 20 now, and it sees B's keys as moved by 6. B itself, of course, saw its own keys where it wrote them.
#
# The hole is still there. Positions can be repaired afterwards; **what was not seen cannot.**
#
# ## How far off is it?
#
# Measured by the distribution of the next token: its KL divergence from that after a re-prefill, in nats. 0 is equal.
# First on thoughts of the model's own, the eight branches of chapter 0. Then on two that no model of this kind would
# write: the beginnings of two lines, `b*c 21 8 :` and `a-b 1 3 :`, and after the join `a+b`, the sum of the two numbers
# left. Of which two? In the text the second beginning is the last, so it is 1 + 3 = 4.
#
# **Guess first.** And after a stitch?


# %%
def distances(joined):
    """KL(re-prefill || each join) of the next token."""
    logprobs = {how: branch.logits.double().log_softmax(-1) for how, branch in joined.items()}
    truth = logprobs["reprefill"]
    return {how: float((truth.exp() * (truth - other)).sum()) for how, other in logprobs.items()}


own = miniapr.Engine(bundle.model, tokenizer)
thought = own.start(ids("<bos> <adaptive> 8 7 3 -> 29 :"))
own.decode([thought], until=control.ends)
plan = miniapr.read_plan(thought.tokens, control, width=16)
branches = own.fork(thought, [(control.thread, *item) for item in plan.items])
own.decode(branches, until=control.ends)
concluding = {
    how: own.settle(own.join(thought, branches, how, then=[control.join], keep=True))
    for how in ("reprefill", "stitch", "stitch_contiguous", "stitch_copied")
}
begun = own.start(ids("<bos> <adaptive> 8 7 3 -> 29 :"))
two = own.fork(begun, [ids("b*c 21 8 :"), ids("a-b 1 3 :")])
asked = {how: own.settle(own.join(begun, two, how, then=ids("a+b"), keep=True)) for how in concluding}
usual, odd = distances(concluding), distances(asked)
for how in concluding:
    next_, other = (tokenizer.decode([int(ways[how].logits.argmax())]) for ways in (concluding, asked))
    print(f"{how:18} its own thoughts: {usual[how]:.0e}, next {next_:4}  two beginnings: {odd[how]:.0e}, next {other}")
assert all(0 < usual[how] < 0.01 for how in usual if how != "reprefill")
assert odd["stitch"] > 100 * max(usual.values()) and odd["stitch"] > odd["stitch_contiguous"]

# %% [markdown]
# On what it usually reads, the joins are as good as equal, and all go on with the same token. On our odd example the
# stitch is far off: both beginnings lie at the same positions, neither is the last one, and the model takes the sum of
# the other two. Where positions run on as in the text, it knows which is the last. So the model does not *have* to come
# out the same: nothing in the mathematics makes it. **It has learned to**, on stitches of the usual kind. For this
# model was trained on both joins. How would one do that was not?
#
# ## Train three
#
# To find out we need models that differ in nothing but this. A tiny task will do, one that can be learned in seconds.
# Each of three branches is given a digit. After the join the model must say the three digits, in order:
#
#     S   A 7   B 2   C 5   =   7 2 5
#
# S is the prompt, `A 7` a branch, `=` the join. The text is the same whatever the join; only the positions and the
# mask differ. They come from the same function, `unroll`, that judges the engine.

# %%
START, NAMES, JOIN = 10, (11, 12, 13), 14  # the tokens 0..9 are the digits
BRANCHES, DIGITS = slice(2, 7, 2), slice(8, 11)  # where the digits stand: in the branches, and after the join


def form(how):
    """Tokens, positions, mask and shifts of the task under a join. All digits are 0 for now."""
    threads, answer = [(name, 0) for name in NAMES], (JOIN, 0, 0, 0)
    if how == "reprefill":
        text = [START, *(token for thread in threads for token in thread), *answer]
        return unroll([(View(), Span(0, View(), text))])
    root = Span(0, View(), [START])
    prefix = View((root.whole(),))
    spans = [Span(1, prefix, thread) for thread in threads]
    if how == "stitch":
        view, position = prefix + [span.whole() for span in spans], 3
    else:  # contiguous: every branch counts as moved by the length of those before it
        view, position = prefix + [span.whole().moved(2 * i) for i, span in enumerate(spans)], 7
    return unroll([(view, Span(position, view, answer))])


def batch(how, digits):
    """digits [N, 3] -> tokens [N, 11] and what ``Decoder.dense`` needs beside them"""
    dense, count = form(how), len(digits)
    tokens = dense.tokens.repeat(count, 1)  # [N, 11]
    tokens[:, BRANCHES] = tokens[:, DIGITS] = digits
    same = (dense.positions, dense.visible, dense.shift if dense.shift.any() else None)
    return tokens, *(None if x is None else x.expand(count, *x.shape) for x in same)


for how in ("reprefill", "stitch", "contiguous"):
    print(f"{how:10} positions {form(how).positions.tolist()}")
assert form("stitch").positions.tolist() == [0, 1, 2, 1, 2, 1, 2, 3, 4, 5, 6]

# %% [markdown]
# Three models of 2 layers. Same start, same digits in the same order, same number of steps. One meets the task joined
# by re-prefill, one by stitch, one by both in turn.


# %%
def train(joins, steps=300, size=32):
    config = ModelConfig(
        vocab_size=15, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, head_dim=16,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Decoder(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(steps):
        digits = torch.randint(0, 10, (size, 3))
        tokens, *rest = batch(joins[step % len(joins)], digits)
        logits = model.dense(tokens, *rest)[:, 7:10]  # [N, 3, V]: before each of the three answers
        loss = F.cross_entropy(logits.flatten(0, 1), digits.flatten())
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1, (step + 1) / 50) * (1 - step / steps)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.requires_grad_(False)


@torch.no_grad()
def right(model, how, count=500):
    """The share of problems of which all three digits are said right, one after the other."""
    digits = torch.randint(0, 10, (count, 3), generator=torch.Generator().manual_seed(1))
    tokens, *rest = batch(how, digits)
    tokens[:, DIGITS] = 0
    for place in (8, 9, 10):  # what it says is what it sees next
        tokens[:, place] = model.dense(tokens, *rest)[:, place - 1].argmax(-1)
    return float((tokens[:, DIGITS] == digits).all(1).double().mean())


threads = torch.get_num_threads()
torch.set_num_threads(1)  # the matrices are too small to share
models = {
    "re-prefill": train(["reprefill"]),
    "stitch": train(["stitch"]),
    "both in turn": train(["reprefill", "stitch"]),
}

# %% [markdown]
# **Guess first.** Each model is now joined in each way. Nine numbers: which ones are near 100 %, which ones are not?
# Pure chance is one in a thousand.

# %%
ways = ("reprefill", "stitch", "contiguous")
table = {name: [100 * right(model, how) for how in ways] for name, model in models.items()}
draw.matrix(list(table.values()), [f"trained for {name}" for name in table], ways, "Right, in %", number=".0f")

# %%
assert table["re-prefill"][0] > 95 and table["re-prefill"][1] < 25
assert table["stitch"][1] > 95 and table["stitch"][0] < 25
assert table["both in turn"][0] > 95 and table["both in turn"][1] > 95

# %% [markdown]
# Each model is perfect at the join that it was trained for, and lost at the other one. Not a little worse: lost. And
# the third model, with the same number of steps, can do both.
#
# ## Why
#
# How does a model find the digit to say? There are two ways. By **place**: it is the one in the second branch, so and
# so many positions back. Or by **name**: it is the one that comes after a B. In this task both lead to the same
# digit. So let us make them differ: exchange the names A and C, and leave everything else where it is.
#
#     S   C 7   B 2   A 5   =   ?        by place 7 2 5, by name 5 2 7
#
# **Guess first.** Which model, joined in its own way, reads by place, and which one by name?


# %%
@torch.no_grad()
def read(model, how, count=500):
    """The shares of answers by place and by name (in per cent) when A and C have changed their names."""
    digits = torch.randint(0, 10, (count, 3), generator=torch.Generator().manual_seed(1))
    tokens, *rest = batch(how, digits)
    tokens[:, [1, 3, 5]] = torch.tensor(NAMES[::-1])
    tokens[:, DIGITS] = 0
    for place in (8, 9, 10):
        tokens[:, place] = model.dense(tokens, *rest)[:, place - 1].argmax(-1)
    return [100 * float((tokens[:, DIGITS] == d).all(1).double().mean()) for d in (digits, digits.flip(1))]


by = {name: read(models[name], how) for name, how in (("re-prefill", "reprefill"), ("stitch", "stitch"))}
draw.matrix(list(by.values()), list(by), ["by place", "by name"], "Names exchanged: which answer, in %", number=".0f")

# %%
assert by["stitch"][1] > 95
assert by["re-prefill"][0] > by["re-prefill"][1] and by["re-prefill"][1] < 50

# %% [markdown]
# The stitch model goes by name, always. (One answer in ten is right by place as well: there the first digit equals
# the last one.) The re-prefill model does not: it goes by place more than by name, and otherwise is confused, since
# both had always agreed.
#
# By place is a good way in ordinary text. Under a stitch it is none: all three digits stand at position 2, and there
# is no second one. Not even the order of the branches can be seen. A set of keys has no order; only positions have.
# Give the three branches to a model in another order, each with its own name:


# %%
def exchanged(how, model):
    """How much the logits after the join change when branches A and C change places."""
    digits = torch.randint(0, 10, (1, 3), generator=torch.Generator().manual_seed(2))
    tokens, positions, visible, shift = batch(how, digits)
    swapped = tokens.clone()
    swapped[:, [1, 2, 5, 6]] = tokens[:, [5, 6, 1, 2]]
    logits = [model.dense(t, positions, visible, shift)[0, 7] for t in (tokens, swapped)]
    return float((logits[0] - logits[1]).abs().max())


for how in ("reprefill", "stitch"):
    print(f"{how:10} logits change by up to {exchanged(how, models['both in turn']):.4f}")
assert exchanged("stitch", models["both in turn"]) < 1e-3 < exchanged("reprefill", models["both in turn"])

# %% [markdown]
# So a model that is to read a stitch must find things by what they *say*, not by where they stand. It learns to if it
# is shown text in which nothing else helps. The first model never was.
#
# The shipped model had to learn the same. Its branches begin with their own first step, and the one that wins spells
# out all its steps once more at its end, so that the conclusion can copy them in one go. An earlier version did not
# do that, and under a stitch it mixed up the branches' numbers (`docs/log.md`, "The first model").
#
# ## The shipped model
#
# It was trained on both joins, each demonstration packed one way or the other by chance. Here are 30 problems that it
# has never seen, each thought through once and joined in three ways from the same state.

# %%
torch.set_num_threads(threads)
found = Examined(find(bundle.name)).adaptive(drawn(30, "pairs", 7, Ranges()))
forked = 100 * found["forked hard"]["share"]
print(f"of the hard ones it forked on {forked:.0f} %, into {found['width']} branches on average")
for how, right_after in found["right"].items():
    print(f"{how:18} right: {100 * right_after['share']:.0f} %")
assert found["forked hard"]["share"] > 0.8
assert all(right_after["share"] > 0.8 for right_after in found["right"].values())

# %% [markdown]
# It can go on from all of them. For the contiguous one it was never trained: that has the positions of the one join
# and the hole of the other, and this model can read both. (Do not count on it: look at the last column of the table
# above.)
#
# `docs/measured.md` has the same experiment as our three models on Countdown, with the first, wordier format of the
# shipped model: nine trainings, three seeds. Those runs were short, and the effect is weaker than in our toy, but in
# each of the six that were trained for one join, that join did better.
#
# ## What to remember
#
# | | re-prefill | stitch | contiguous |
# |---|---|---|---|
# | computed again | all branches but the first | nothing | nothing |
# | the branches see each other | yes | no | no |
# | positions | as in the text | overlap | as in the text |
# | exactly ordinary text | yes | no | no |
# | may enter the prefix cache | yes | no | no |
# | a model must be trained for it | no | yes | yes |
#
# The last line but one is easily forgotten. Stitched keys under their plain tokens would be a wrong answer to whoever
# asks for that text next. That, and what else can go wrong, is the next chapter.
#
# ## Exercises
#
# | | | |
# |---|---|---|
# | `miniapr learn check 7.1` | Join by stitching | write the join, and hand it to the engine |
# | `miniapr learn check 7.2` | Find the bug: moved twice | a historic fault |
# | `miniapr learn check 7.3` | What a model is trained on | positions and mask of a training example |
# | `miniapr learn check 7.4` | Find the bug: someone else was reading | a historic fault |
