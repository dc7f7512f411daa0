# %% [markdown]
# # 4 Fork
#
# A branch that forks has a past, and its children all have the *same* past. In [chapter 3](03_paged_attention.ipynb)
# you wrote a kernel that reads keys wherever they lie and does not ask who else reads them. So the children can share.
# The one question left is: **who writes where?** Two answers exist. You build the usual one, copy-on-write, find its
# price, and then see the one that this engine gives.
#
# Difference to the last chapter: the same blocks and tables, but now two tables name the same block.

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

import torch

from miniapr.kv.span import Span, View
from miniapr.show import draw

bundle = miniapr.load(dtype=torch.float64)  # so that a difference is an error, and not rounding
tokenizer = bundle.tokenizer
BLOCK = 4

# %% [markdown]
# ## Copy everything
#
# The plainest fork gives each child a copy of the whole past. Take a prompt of 10 tokens, blocks of 4, and 3
# children that write 3 tokens each.
#
# **Guess first.** How many blocks does that take in the end, with the parent gone? And how many if the children share
# all that can be shared?


# %%
def blocks(tokens):
    return -(-tokens // BLOCK)  # divided and rounded up


past, children, own = 10, 3, 3
print("copy everything:", children * blocks(past + own), "blocks")
assert children * blocks(past + own) == 12

# %% [markdown]
# ## Copy on write
#
# Instead, give each child a copy of the parent's **table** (a few integers), and count how many tables name a block.
# That number is the block's **reference count**. Nothing is copied... until somebody writes.
#
# The past of 10 tokens fills blocks 0 and 1, and half of block 2. The next token of *every* child wants to go into
# block 2, at offset 2. Whoever writes first would overwrite what the others are about to write. So a writer looks at
# the count: above 1, it takes a fresh block, copies the old one into it, and writes there.


# %%
class CopyOnWrite:
    """Tables over one pool of blocks. A block's content is a list of token texts here, in place of keys and values."""

    def __init__(self, count):
        self.content, self.refs, self.free = {}, [0] * count, list(range(count))
        self.copies = 0

    def take(self, content):
        block = self.free.pop(0)
        self.content[block], self.refs[block] = list(content), 1
        return block

    def fork(self, table):
        for block in table:
            self.refs[block] += 1
        return list(table)

    def append(self, table, length, token):
        """Write token number ``length`` of a text."""
        if length % BLOCK == 0:
            table.append(self.take([token]))
            return
        last = table[-1]
        if self.refs[last] > 1:  # somebody else has this block in his table
            self.refs[last] -= 1
            last = table[-1] = self.take(self.content[last][: length % BLOCK])
            self.copies += 1
        self.content[last].append(token)

    def release(self, table):
        for block in table:
            self.refs[block] -= 1
            if not self.refs[block]:
                self.free.append(block)

    def read(self, table):
        return [token for block in table for token in self.content[block]]


pool, parent = CopyOnWrite(12), []
for i in range(past):
    pool.append(parent, i, f"p{i}")
tables = [pool.fork(parent) for _ in range(children)]
pool.release(parent)
print("after the fork:   tables", tables, "  counts", pool.refs[:3])
assert tables == [[0, 1, 2]] * 3 and pool.refs[:3] == [3, 3, 3]

# %% [markdown]
# Three children, three blocks in all. Now each writes one token.
#
# **Guess first.** How many blocks are copied: 1, 2, or 3? (The last child to write is a special case. Why?)

# %%
for name, table in zip("abc", tables, strict=True):
    pool.append(table, past, f"{name}0")
print("after one token:  tables", tables, "  copied blocks", pool.copies)
assert pool.copies == 2 and tables == [[0, 1, 3], [0, 1, 4], [0, 1, 2]]
assert all(pool.read(t)[-1] == f"{n}0" and len(pool.read(t)) == 11 for n, t in zip("abc", tables, strict=True))

# %%
for i in (1, 2):
    for name, table in zip("abc", tables, strict=True):
        pool.append(table, past + i, f"{name}{i}")
used = sum(count > 0 for count in pool.refs)
print(used, "blocks in use, tables", tables)
assert used == 2 + 3 + 3  # two shared, a last one for each child, and a new one for each child's 13th token

# %% [markdown]
# Two: the last child finds a count of 1, has the block for itself, and writes in place. Eight blocks instead of
# twelve.
#
# This is what most engines do (vLLM first). It is simple to say and easy to get wrong. Note what must come in
# exactly the right order: look at the count, take a block, copy **before** anyone writes, change the table, lower
# the count. The copy touches all layers of keys and values, on a device that works in the background. Exercise 4.2
# is a fork that forgot the check.
#
# ## Spans: nobody writes what is shared
#
# Now the other answer. Who writes into a shared block? Nobody, if at the fork every child **begins a block of its
# own**. Then there is nothing to copy, and no order to get right. For that, the bookkeeping has to know who wrote
# what:
#
# - A **span** is what *one* branch wrote, at consecutive positions. It only ever grows at its end, and its blocks are
#   its own.
# - A **view** is what a branch sees: a list of **pieces** of spans, in order. A piece is `(span, start, stop)`.
#
# To fork is: the parent's span is *sealed* (nobody writes to it any more), and each child gets the view "all that
# the parent saw, then the parent's span", and a new, empty span.

# %%
root = Span(position=0, view=View(), tokens=tokenizer.encode("8 7 3 -> 29 : a*b 56 3 :"), id=0)
seen = View((root.whole(),))
a = Span(position=root.end, view=seen, tokens=tokenizer.encode("a+b 59 a-b"), id=1)
b = Span(position=root.end, view=seen, tokens=tokenizer.encode("a-b 53 a*b"), id=2)
for span in (a, b):
    print(f"span {span.id} from position {span.position}, sees", [(p.span.id, p.start, p.stop) for p in span.view])
assert a.position == b.position == 10 and a.view == b.view
assert a.view is b.view  # an immutable tuple: sharing it needs no copy, either

# %% [markdown]
# Now in the engine. The same shape: a past of 10 tokens, and three children of 3 tokens.
#
# **Guess first.** How many blocks, where copy-on-write took 8?

# %%
engine = miniapr.Engine(bundle.model, tokenizer, num_blocks=12, block_size=BLOCK, reuse_prefixes=False)
parent = engine.settle(engine.start(tokenizer.encode("8 7 3 -> 29 : a*b 56 3 :")))
before = engine.pool.k_cache.clone(), engine.pool.v_cache.clone()
prefilled = parent.request.cost.prefilled
forks = engine.fork(parent, [tokenizer.encode(text) for text in ("a+b 59 a-b", "a-b 53 a*b", "a*b 168 miss")])
print(len(engine.pool) - engine.pool.free, "blocks right after the fork")
assert len(engine.pool) - engine.pool.free == 3
after = engine.pool.k_cache, engine.pool.v_cache
assert all(torch.equal(x.nan_to_num(), y.nan_to_num()) for x, y in zip(before, after, strict=True))  # no key moved
assert parent.request.cost.prefilled == prefilled  # and nothing was computed

# %%
for child in forks:
    engine.settle(child)
in_use = len(engine.pool) - engine.pool.free
print(in_use, "blocks when each child has written three tokens")
assert in_use == 3 + 3
draw.pool(engine, "Three children on one past: the past is held several times, what they wrote once")

# %% [markdown]
# Six here, where copy-on-write had eight: it put the children's tokens behind copies of the past's end. The past's
# blocks are held four times: by three children, and by the parent, which is still there. Now look at block 2, with
# two slots that stay empty for as long as the past lives. **That is the price**: each span may leave up to
# `BLOCK - 1` slots of its last block idle.

# %%
draw.table(engine, forks[1], "The second child: two pieces, positions that go on, blocks that do not")

# %% [markdown]
# The position of the child's first token is 10, though it lies at offset 0 of its block. Copy-on-write never has
# that: there, `position % BLOCK` *is* the offset. Here position, place in the view, and slot are **three different
# numbers**. None is ever worked out from another. That is what makes joins possible, in chapters 6 and 7.

# %%
draw.tree(*forks, title="Three spans on one")

# %% [markdown]
# Is it right? The logits of each child must be those of an engine that read the child's whole text as one prompt and
# knows nothing of forks.

# %%
for child in forks:
    alone = miniapr.Engine(bundle.model, tokenizer)
    truth = alone.settle(alone.start(child.history))
    difference = float((child.logits - truth.logits).abs().max())
    print(f"{child.text:14} differs by {difference:.0e}")
    assert difference < 1e-8
engine.check()  # counts every reference again, from those who hold

# %% [markdown]
# ## When is a block free?
#
# A block belongs to one span, and everybody whose view has a piece of that span *holds* it. Release one child after
# the other.
#
# **Guess first.** When do the parent's three blocks become free?

# %%
free = [engine.pool.free]
for branch in (*forks, parent):
    engine.release(branch)
    free.append(engine.pool.free)
print("free blocks:", free)
assert free == [6, 7, 8, 9, 12]
assert engine.pool.refs.sum() == 0

# %% [markdown]
# When the last holder lets go, not when the writer does. Each child gave back one block, its own. (Here the parent
# was the last.)
#
# ## What each costs
#
# Put in numbers, for `k` children on a past of `n` tokens:
#
# | | copied at the fork | copied at the first token | blocks that stay |
# |---|---|---|---|
# | copy everything | `k` times the past | 0 | `k` pasts |
# | copy on write | 0 | up to `k - 1` blocks (0 if the last block is full) | 1 past, `k` ends of it |
# | spans and views | 0 | 0 | 1 past; up to `BLOCK - 1` idle slots a span |
#
# Which of the last two takes fewer blocks? Try every length of the past and of the branches, for 8 children.


# %%
def with_views(past, children, own):
    return blocks(past) + children * blocks(own)


def with_copies(past, children, own):
    return past // BLOCK + children * (blocks(past + own) - past // BLOCK)


assert with_views(10, 3, 3) == in_use and with_copies(10, 3, 3) == used
owns = [1, 2, 3, 4, 5, 8, 13]
grid = [[with_views(p, 8, o) - with_copies(p, 8, o) for o in owns] for p in range(8, 12)]
assert grid[0] == [0] * len(owns)  # a full last block: no difference
assert (min(map(min, grid)), max(map(max, grid))) == (-7, 1)
draw.matrix(
    grid,
    [f"past {p}" for p in range(8, 12)],
    owns,
    "Blocks with views minus blocks with copies; columns: tokens of a child",
)

# %% [markdown]
# Views take at most **one** block more, in all: the past's last one, which nobody fills up. And they can take up to 7
# fewer, where copies of the past's end push each child over into one more block. So memory is no reason against
# views. The reason *for* them is that **no write ever meets a reader**, and that a view can say things that a block
# table cannot: pieces of several branches, one after the other.
#
# The bytes that copy-on-write moves, for a real model: Llama 3 8B keeps 131,072 bytes for each token (chapter 2), and
# takes blocks of 16.

# %%
moved = 7 * 16 * 131_072
print(f"eight children copy up to 7 blocks: {moved / 1e6:.1f} MB")
assert round(moved / 1e6, 1) == 14.7

# %% [markdown]
# A few milliseconds at most. Affordable, but not nothing, and it comes at the moment when all branches wait.
#
# ## Forks of forks
#
# A view grows with each fork, by one piece. Step through it: watch the reference counts of the first blocks.

# %%
from miniapr.stepper import Trace

engine = miniapr.Engine(bundle.model, tokenizer, num_blocks=16, block_size=BLOCK, record=True)
parent = engine.start(tokenizer.encode("8 7 3 -> 29 : a*b 56 3 :"))
first, second = engine.fork(parent, [tokenizer.encode("a+b 59 a-b"), tokenizer.encode("a-b 53 a*b")])
engine.settle(second)
third, fourth = engine.fork(engine.settle(first), [tokenizer.encode("53 a*b"), tokenizer.encode("52 a*b")])
for branch in (third, fourth):
    engine.settle(branch)
assert [len(branch.view.pieces) for branch in (second, third, fourth)] == [1, 2, 2]
assert third.position == 15
Trace.of(engine, title="a fork of a fork")

# %% [markdown]
# ## What we have now
#
# Eight branches on one past that lies in memory once. They are still eight rows to compute, and each reads the past.
# Whether *reading* can be shared as well is the next chapter's question: [one step](05_one_step.ipynb).
#
# ## Exercises
#
# - **4.1 Fork and read back.** Spans and views in a few lines. `miniapr learn check 4.1`
# - **4.2 Written by two**. Copy-on-write that is nearly right. `miniapr learn check 4.2`
# - **4.3 What does it cost?** Blocks and copies, for both ways. `miniapr learn check 4.3`
#
# ## References
#
# - Kwon et al. 2023, *Efficient Memory Management for Large Language Model Serving with PagedAttention*, section 4.4:
#   copy-on-write for parallel samples and beams.
# - Zheng et al. 2024, *SGLang: Efficient Execution of Structured Language Model Programs*: a tree of prefixes.
# - Driscoll et al. 1989, *Making Data Structures Persistent*: why never writing over the past makes sharing easy.
# - In this package: `miniapr/kv/span.py` (the idea), `fork` and `seal` in `miniapr/engine/branching.py`.
