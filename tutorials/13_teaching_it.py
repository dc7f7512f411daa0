# %% [markdown]
# # 13 Teaching it
#
# Nothing in a decoder forks. In all chapters so far the model wrote `<plan>` by itself, and the engine did what the
# plan said. Why did it write that? Because it was shown.
#
# The idea of this chapter: **a demonstration is a tree, and a model learns from it what it will have to write, out of
# what it will see when it writes it.** Both halves of that sentence go wrong easily. What is learned although somebody
# else will write it, or seen although it will not be there, costs nothing in training and everything afterwards.
#
# Then we train a model, in seconds, and look at what it learns first.

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

import torch

from miniapr.rl import rows, trie
from miniapr.rl.practice import practice
from miniapr.rl.rewards import faults
from miniapr.rl.sampler import Sampler
from miniapr.show import draw
from miniapr.tasks import Ranges, roles
from miniapr.tasks.roles import Teacher
from miniapr.tasks.states import State
from miniapr.train import text
from miniapr.train.config import TrainConfig
from miniapr.train.roles import Recipe, Roles, Shares
from miniapr.train.sft import Run

bundle = miniapr.load("countdown")
tokenizer = bundle.tokenizer

# %% [markdown]
# ## Somebody who knows how
#
# Where do demonstrations come from? Hardly ever from people. A **solver** writes them, where there is one (APR). A
# larger model rewrites what a model thought in line (Multiverse, ThreadWeaver). Or the model's own right answers are
# shown to it again (ThreadWeaver's second stage, Parallel-R1). We have a solver. It searches, and says what it does in
# the form that we want to see.
#
# The format is terse: `a*b` is *one* token, the product of the first and the second number. Here is the whole
# demonstration for 7 and 3, target 21, forked at once.

# %%
problem = State((7, 3), 21)
demonstration = roles.adaptive(problem, Teacher(full=1.0, narrow=0.0, tries=0), random.Random(0))
for part in demonstration:
    print(f"{' '.join(part.given):28} | {' '.join(part.written)}")
print(f"\n{demonstration.total} tokens are written, {demonstration.critical} of them one after the other")
assert [len(part.written) for part in demonstration] == [5, 2, 2, 4, 2]
assert (demonstration.total, demonstration.critical) == (15, 5 + 4 + 2)

# %% [markdown]
# Left of the bar stands what is **given**: the prompt, the seed that the engine puts at the head of each thread, the
# `<join>`. Right of it is what the model **writes**. A tree of such pairs is all that a demonstration is.
#
# ## One text, two rows
#
# A transformer is trained on rows of tokens, not on trees. So the tree is laid out in a row: the prompt and the plan,
# the threads one after the other, what follows the join. The row alone does not say how it was joined. Two things do,
# and you know both from chapter 7: the **positions**, and the **mask**.

# %%
teaching = Roles(Recipe())  # turns words into tokens, and says how much hangs on each
tree = teaching.text(demonstration)
packed = {how: text.pack(tree, how) for how in ("reprefill", "stitch")}
words = [tokenizer.decode([token]) for token in packed["stitch"].tokens.tolist()]
draw.matrix(packed["stitch"].visible, words, packed["stitch"].positions.tolist(), "Packed for a stitch")

# %% [markdown]
# Each row sees the dots. Read the numbers above: the three threads stand at the same positions, each sees the prompt,
# the plan and itself, and what follows the join sees all.
#
# **Guess first.** The same tree packed for a re-prefill is the full triangle. How many dots more does it have? (The
# threads have 4, 4 and 6 tokens.)

# %%
more = packed["reprefill"].visible & ~packed["stitch"].visible
print(
    f"{int(more.sum())} dots more; the tokens are the same: {packed['reprefill'].tokens.equal(packed['stitch'].tokens)}"
)
assert more.sum() == 4 * 4 + 6 * (4 + 4)
assert packed["reprefill"].tokens.equal(packed["stitch"].tokens)
assert packed["stitch"].positions.tolist() == [*range(12), *range(12, 16), *range(12, 16), *range(12, 18), 18, 19, 20]

# %% [markdown]
# Nobody wrote that mask down for training. The demonstration is turned into the spans and views that the engine would
# hold at its end, and the function that judges the engine, `unroll`, says who sees whom. Two masks, one in training
# and one in the engine, drift apart some day; then the model is asked something that it never learned, and no error
# says so. Exercise 13.2 lets you build such a row from nothing.
#
# ## Loss on what is written
#
# The row has 29 tokens, and the model writes 15 of them. The loss asks it to predict those, and no other. Below, `.` is
# what is not learned.

# %%
weights = packed["stitch"].weights.tolist()
print(" ".join(word if weight else "." for word, weight in zip(words, weights, strict=True)))
print({word: weight for word, weight in zip(words, weights, strict=True) if weight > 1})
assert len(words) == 29 and sum(weight > 0 for weight in weights) == demonstration.total == 15
assert weights[words.index("<thread>")] == 0 == weights[words.index("<join>")]

# %% [markdown]
# Why does it matter? The engine will put `<thread>` there, not the model. A model that is taught to predict it learns
# to write it *itself*, in the middle of a line, and then goes on with what a sibling might have said. (APR's runtime
# has a rule for that: a model that begins to write the block of results is stopped.)
#
# The second line shows that tokens do not weigh alike here. Most are copied and computed; a few decide: the end of a
# thread, `hit`, the answer. At equal weights they drown.
#
# ## Tries
#
# ThreadWeaver knows no tree. It has a client and a server, and what is trained on are the **requests**: a context went
# in, a completion came out. Each request contains all that came before, so a token stands in many of them. A **trie**
# holds every common beginning once: its nodes are tokens, a token's position is its depth, and it sees its ancestors.
#
# Here is such a run, of the shipped model: plan, threads, conclusion, joined by re-prefill.


# %%
def hard(seed):
    """A problem of three numbers, and what the model made of it, joined by re-prefill."""
    task = practice(bundle, "threadweaver", counts=(3,), tokens=400)
    dice = random.Random(seed)
    sampler = Sampler(bundle.model, tokenizer, tokens=400)
    return next(
        rollout
        for _ in range(50)
        for rollout in sampler.roll(task, [task.draw(dice, "pairs")], 1)
        if rollout.forked and rollout.correct
    )


rollout = hard(seed=1)
asked = trie.requests(rollout.root)
alone = sum(len(request.context) + len(request.written) for request in asked)
row = trie.trie(asked)
print(f"{len(asked)} requests of {alone} tokens in all; the trie holds them in {len(row)}")
print(f"{len(row.sampled)} tokens are learned; the model wrote {rollout.total}")
assert len(asked) == 1 + rollout.width + 1
assert len(row) < alone / 2
assert len(row.sampled) == rollout.total == sum(len(request.written) for request in asked)

# %% [markdown]
# The last request, the conclusion, has all threads in its context: those tokens are in it a *second* time, where they
# can see the threads before them. They count once, where they were written, or a long thread would be taught twice as
# hard as a short conclusion.
#
# Is a packed row the same as its requests, one by one? That is a **property**, as chapter 8 has it. We know what the
# engine reported for every token when it sampled it. A forward pass over the trie must say the same.

# %%
with torch.no_grad():
    again, _ = rows.logprobs(bundle.model, rows.collate([row]))
off = float((again - row.logprobs).abs().max())
print(f"largest difference of a log-probability: {off:.1e}")
assert off < 1e-3

# %% [markdown]
# ## Train one
#
# Now let us do it. The model is smaller than the shipped one, 2 layers 64 wide, and so is the task: Countdown with up
# to three numbers of 1 to 9. Half of the problems are told forked and half in line, by a coin that the prompt does not
# show (chapter 14 will need that). A budget of 100,000 tokens takes some 10 seconds on a free core.
#
# Twice we stop and let it think, greedily, about 40 problems that it has never seen, and judge two
# things. Has what it wrote the right **form**: a plan with threads, each come to its end, a join; or a line that ends?
# And is it **right**?

# %%
BUDGET = 100_000
STOPS = (0.4, 1.0)
shares = Shares(**{role: float(role == "adaptive") for role in vars(Shares())})
config = TrainConfig(
    joins="stitch",
    tokens=BUDGET,
    batch_tokens=2048,
    chunk_size=128,
    hidden_size=64,
    intermediate_size=128,
    layers=2,
    heads=2,
    warmup_steps=20,
    autocast=False,
    roles=Recipe(
        shares, Teacher(full=1.0, narrow=0.0, tries=0, line=0.5), Ranges(3, 1, 9, 1, 40), four=0.0, unsolvable=0.0
    ),
)
task = practice(bundle, "multiverse", counts=(2, 3), tokens=300)
problems = [task.draw(random.Random(number), "pairs") for number in range(40)]


def examine(model):
    """Shares of 40 problems: of the right form, and right."""
    thoughts = Sampler(model, tokenizer, tokens=300).roll(task, problems, 1)
    return [sum(not faults(t) for t in thoughts) / 40, sum(t.correct for t in thoughts) / 40]


threads = torch.get_num_threads()
torch.set_num_threads(1)  # the matrices are too small to share
run, losses, seen = Run(config), [], []
for stop in STOPS:
    while run.progress.tokens < stop * BUDGET:
        losses.append(run.step())
    seen.append([run.progress.tokens, *examine(run.model)])
torch.set_num_threads(threads)

# %%
picture, plot = draw.axes("Its loss", height=2.5)
plot.plot(losses)
plot.set_xlabel("step")
plot.set_ylabel("loss")
assert sum(losses[-5:]) < 0.4 * sum(losses[:5])
picture

# %% [markdown]
# It learns. **Guess first:** after the last step, how many of its 40 thoughts have the right form, and how many answers
# are right?

# %%
table = [[f"{tokens:,}", 100 * form, 100 * right] for tokens, form, right in seen]
draw.matrix([row[1:] for row in table], [row[0] for row in table], ["form", "right"], "After so many tokens, %", ".0f")

# %%
form, right = seen[-1][1:]
assert form > 0.6 and right < 0.4 and form - right > 0.3

# %% [markdown]
# ## Ability or format
#
# Look at what it writes. It plans, its threads begin and end, it joins, it names steps as an answer. And little
# of it is *true*: sums do not add up, and a hit is no hit.

# %%
thought = next(
    t for t in Sampler(run.model, tokenizer, tokens=300).roll(task, problems, 1) if t.forked and not faults(t)
)
for unit in list(thought.root)[:5]:
    print(tokenizer.decode([*unit.given, *unit.written]))
print("right" if thought.correct else "wrong")

# %% [markdown]
# **Form comes first, by far.** It is a few control tokens that always stand at the same places; a thousand examples
# are enough. To add, to multiply, to tell a hit from a miss takes far more: the model that ships was shown 57 million
# tokens, several hundred times as many (`docs/training/roles.md`).
#
# So when somebody shows that a model "has learned to think in parallel", ask which of the two was learned. Parallel-R1
# reports a model that after demonstrations used its parallel blocks in 95.6 % of the answers to a test on which it was
# right in 8.0 %; only reinforcement brought 19.2 %. ThreadWeaver taught *base* models, who could not yet reason, both
# ways: parallel demonstrations were worse than serial ones, 45.5 against 55.1 % (8 B). A format is a way to use an
# ability. Whether demonstrations can also give the ability is an open question; with a model this small you can try.
#
# ## The other half: what it will see
#
# Chapter 7 trained a toy to the end, for one join or the other: perfect at the one that it had seen, lost at the other.
# The same was done with Countdown in the spelled-out format, for three seeds each. Here is the share of hard held-out
# problems that were right (158 of 200 are hard; 2.2 million tokens each, so none was trained to the end).

# %%
# docs/training/table.json: trained for, then joined by stitch, re-prefill, contiguous stitch; means of three seeds, %
shift = {"stitch": (65.6, 7.4, 8.0), "re-prefill": (27.6, 41.3, 27.0), "both in turn": (62.7, 53.4, 52.7)}
draw.matrix(
    list(shift.values()),
    [f"trained for {name}" for name in shift],
    ["stitch", "re-prefill", "contiguous"],
    "Right, %",
    ".0f",
)

# %%
stitch, prefill, both = shift.values()
assert stitch[0] > 5 * stitch[1] and prefill[1] > prefill[0]  # each is best at the join that it was shown
assert min(both) > 50  # who was shown both can do both, and a third way too

# %% [markdown]
# The seeds differ much: the first number is the mean of 24, 83 and 89 %. And does it grow together again with longer
# training? No. A model of the terse format, trained for the stitch alone *to the end*, is right in 97 % of 400 hard
# problems (95-98) after a stitch, and in 14 % (11-18) after a re-prefill of the same threads: one seed,
# `docs/lab/shift/README.md`. That page also has a cure that did not work yet: a small low-rank change, trained on both
# joins afterwards, brought back 29 % of the loss, less or nothing where it was trained shorter.
#
# So the cure is the simple one: **show both, from the beginning.** It costs nothing but the coin that chooses how a
# demonstration is packed. The shipped models were trained that way.
#
# ## What to remember
#
# | | |
# |---|---|
# | a demonstration | a tree of what is given and what is written |
# | a row | its tokens, and the positions and mask that the engine would have |
# | loss | on what the model writes, each token once, where it was written |
# | a trie | the same from the requests of a client, for joins that prefill again |
# | learned first | the form; ability takes hundreds of times as long |
# | a join that was not shown | is a text that the model cannot read |
#
# `miniapr train sft` does all this to the end, resumable, with one command. What demonstrations cannot teach is *when*
# to fork: there the teacher threw a coin. That is the next chapter.
#
# ## Exercises
#
# | | | |
# |---|---|---|
# | `miniapr learn check 13.1` | What is learned | labels of a tree, for two joins |
# | `miniapr learn check 13.2` | A trie | many requests in one row |
# | `miniapr learn check 13.3` | Find the bug: the test was in the training set | a historic fault |
#
# ## References
#
# - Pan et al. 2025, *Learning Adaptive Parallel Reasoning with Language Models* (APR, arXiv 2504.15466): a solver as
#   the teacher.
# - Lian et al. 2025, *ThreadWeaver* (arXiv 2512.07843): requests, the trie, two stages of demonstrations.
# - Yang et al. 2025, *Multiverse* (arXiv 2506.09991): positions and mask of a stitch, in training and in the engine.
# - Zheng et al. 2025, *Parallel-R1* (arXiv 2509.07980): format by demonstrations, ability by reinforcement.
