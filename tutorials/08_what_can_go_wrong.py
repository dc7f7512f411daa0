# %% [markdown]
# # 8 What can go wrong
#
# Everything in this engine is about using keys and values where they are, again and by several. That is where its
# speed comes from, and its worst mistakes. Reading the wrong key raises no error. The model goes on and writes
# something, and what it writes looks like text.
#
# So the idea of this chapter is: **do not look for the mistake, state what must always hold, and let the computer
# look.** You will see how that is done on one fault. Then come three famous ones: values evicted during a join, a hit
# in the prefix cache that was none, and twins from one seed. All three happened in real engines. For these you write
# the tests.

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

from collections import Counter

import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from miniapr.learn.tiny import Thread, Tiny
from miniapr.show import draw
from miniapr.tasks import Problem, prompt_text

bundle = miniapr.load()
tokenizer = bundle.tokenizer
control = miniapr.Control.of(tokenizer, bundle.control)


def ids(text):
    return tokenizer.ids(text.split())


# %% [markdown]
# ## An engine that cannot keep a secret
#
# A real model forgives. Give it one wrong key among a thousand, and most of the time it says the same. For finding
# mistakes that is bad. So here is an engine of a hundred lines, `miniapr/learn/tiny.py`, whose model is a hash: the
# *value* of a token is a hash of the token, of its position, and of every value that it saw. The next token is chosen
# from the values that a thread sees. One wrong value, anywhere, and everything after it comes out different.
#
# It has all that matters: cells with reference counts, a prefix cache that keeps what nobody reads until the cell is
# needed, `start`, `decode`, `fork`, `end` and `join` (a stitch).

# %%
engine = Tiny(size=40)
parent = engine.start([1, 2, 3])
children = engine.fork(parent, 2)
for child in children:
    engine.decode(child, 4)
    print("branch ", child.own)
    engine.end(child)  # from here on its cells may be taken
joined = engine.join(parent, children)
print("joined ", engine.decode(joined, 5))
print("cells that are free, and that somebody reads:", len(engine.free), sum(n > 0 for n in engine.readers))
assert sum(n > 0 for n in engine.readers) == 3 + 4 + 4 + 5
assert len(engine.free) == 40 - 16

# %% [markdown]
# ## A fault, and a test that does not see it
#
# Somebody writes `fork` anew and saves a copy. Read it. Do you see the fault?


# %%
class Hurried(Tiny):
    def fork(self, parent, count):
        parent.forks += 1
        children = []
        for number in range(count):
            self.hold(parent.cells)
            path = (*parent.path, parent.forks, number)
            rng = self.child_generator(parent, path)
            length = len(parent.tokens)
            children.append(Thread(parent.tokens[:], parent.cells, parent.position, rng, length, path))
        return children


engine = Hurried(size=100)
(child,) = engine.fork(engine.start([1, 2, 3]), 1)
sound = Tiny(size=100)
(same,) = sound.fork(sound.start([1, 2, 3]), 1)
assert engine.decode(child, 5) == sound.decode(same, 5)
print("green")

# %% [markdown]
# The test is green. It tries one example, and the one who wrote the example had the same picture in mind as the one
# who wrote the code.
#
# ## A property
#
# Instead of an example we say **what must hold for all of them**. Here: *a branch does not notice its siblings.*
# Whatever the others decode, and in whatever order, a branch decodes what it would decode alone.
#
# Hypothesis (MacIver et al. 2019) draws inputs at random. `turns` is a list such as `[0, 1, 0]`: branch 0 decodes a
# token, then branch 1, then 0 again.


# %%
def holds_for(Engine):
    @settings(phases=(Phase.generate, Phase.shrink), derandomize=True, database=None, print_blob=False)
    @given(turns=st.lists(st.integers(0, 2), max_size=12))
    def a_branch_does_not_notice_its_siblings(turns):
        engine = Engine(size=100)
        together = engine.fork(engine.start([1, 2, 3]), 3)
        for number in turns:
            engine.decode(together[number], 1)
        for number, count in Counter(turns).items():
            other = Engine(size=100)
            alone = other.fork(other.start([1, 2, 3]), 3)[number]
            other.decode(alone, count)
            assert together[number].own == alone.own, f"branch {number}: {together[number].own}, not {alone.own}"

    try:
        a_branch_does_not_notice_its_siblings()
    except AssertionError as error:
        return f"red: {error}\n  " + " ".join(" ".join(error.__notes__).split())
    return "green"


print("Tiny    ", holds_for(Tiny))
print("Hurried ", holds_for(Hurried))
assert holds_for(Tiny) == "green"
assert "turns=[0, 1]" in holds_for(Hurried)

# %% [markdown]
# Red, and see what was printed: of all the lists that fail, hypothesis has looked for the **smallest**. `turns=[0,
# 1]`: branch 0 decodes one token, and branch 1, who then decodes its first, comes out wrong. With that in hand the
# fault is easy to see: `parent.cells` is given to all children, not a copy of it. It is one list, and branch 0
# appended to it.
#
# This is the whole method:
#
# 1. Say what must hold, for all inputs. The best source is a **second way to get the answer**: alone instead of
#    together, without a cache instead of with one, in a large memory instead of a small one.
# 2. Let inputs be small and *crowded*: three branches, tokens 0 and 1, a memory in which just so much has room.
# 3. Test your test: plant the fault, and see it turn red. A test that cannot fail says nothing.
#
# Now the three.
#
# ## Evicted during a join
#
# A branch that is done waits for the others. Its values lie in the pool, and while it waits, others need room. An
# engine that stitches kept finished branches in its prefix cache and looked them up at the join. Sometimes one came
# back short. It wrote a line into its log and joined **what was left**.
#
# What does miniapr do? Let us take the pool away between the branches and the join. A block has 4 tokens. First we
# look how many blocks the tree needs at most. Then the pool gets 20 more than that, and somebody else comes with a
# prompt that needs 40: both do not fit.


# %%
def conclude(blocks, disturb):
    """Think in branches, let somebody else use the pool, then join and go on."""
    engine = miniapr.Engine(bundle.model, tokenizer, num_blocks=blocks, block_size=4, record=True)
    root = engine.start(ids(prompt_text(Problem((8, 7, 3), 29))))
    engine.decode([root], until=control.ends)
    plan = miniapr.read_plan(root.tokens, control, width=16)
    threads = engine.fork(root, [(control.thread, *item) for item in plan.items])
    engine.decode(threads, until=control.ends)
    if disturb:
        other = engine.settle(engine.start(ids("<bos> <adaptive> 8 7 3 -> 30 :") * 20))
        engine.release(other)
    joined = engine.settle(engine.join(root, threads, "stitch", then=[control.join]))
    logits = joined.logits
    engine.decode([joined], until=control.ends)
    engine.check()
    return engine, joined, logits


calm, joined_calm, logits_calm = conclude(blocks=200, disturb=False)
peak = max(event.data["used"] for event in calm.events if event.kind == "step")
tight, joined_tight, logits_tight = conclude(blocks=peak + 20, disturb=True)
print(f"the tree needs {peak} blocks")
for name, engine in (("calm", calm), ("tight", tight)):
    print(name, [event.kind for event in engine.events if event.kind in ("preempted", "admitted", "joined")])
assert len(ids("<bos> <adaptive> 8 7 3 -> 30 :") * 20) == 40 * 4
print("computed again:", joined_tight.request.cost.recomputed, "tokens; the conclusion:", joined_tight.completion.text)

# %%
assert any(event.kind == "preempted" for event in tight.events)
assert not any(event.kind == "preempted" for event in calm.events)
assert joined_calm.request.cost.recomputed == 0 < joined_tight.request.cost.recomputed
assert joined_calm.completion.text == joined_tight.completion.text
assert float((logits_calm - logits_tight).abs().max()) < 1e-3

# %% [markdown]
# The tree lost its blocks: `preempted`. At the join it did not take what was left. It was `admitted` again, computed
# what was missing, and only then `joined`: same logits, same conclusion. It can do so because a span remembers the
# view under which it was written. Even what was stitched can be computed again exactly as it was.
#
# The rule is short: **a join holds all its branches before it reads the first one**, and the length of what it reads
# is checked, not assumed. Exercise 8.1 has two engines that break it.
#
# ## A phantom hit
#
# The prefix cache finds blocks by the text that they hold. A block is evicted and given to somebody else. If its
# *name* stays in the cache, the next one who asks for the old text is given the new owner's keys (it happened in
# vLLM, whose blocks kept the hash of what they once held).
#
# Watch a name come and go:

# %%
engine = miniapr.Engine(bundle.model, tokenizer, num_blocks=6, block_size=4)
question = ids("<bos> <adaptive> 8 7 3 -> 29 : a+b 15 3")


def ask(tokens):
    """The logits after a prompt; nothing is held afterwards."""
    branch = engine.settle(engine.start(tokens))
    logits = branch.logits
    print(f"{tokenizer.decode(tokens)[:40]:40}  reused {branch.request.cost.reused}")
    engine.release(branch)
    return logits, branch.request.cost.reused


first, reused_first = ask(question)
draw.pool(engine, "After the first question. Hatched: held by the prefix cache alone")

# %%
second, reused_second = ask(question)
ask(ids("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20"))
draw.pool(engine, "After somebody else's question")

# %%
third, reused_third = ask(question)
assert [reused_first, reused_second, reused_third] == [0, 10, 0]
assert float((first - second).abs().max()) < 1e-3 and float((first - third).abs().max()) < 1e-3

# %% [markdown]
# The second time 10 of the 11 tokens were there. Then a prompt came that needed almost all blocks, and the third time
# the question was computed anew. All three times the same logits.
#
# Two habits make a phantom hard to produce here. Name and block go **in one step**: whoever evicts takes the node out
# of the tree before anybody can be given the block. And the tree compares the **tokens**, not a hash of them, so two
# texts never have one name. Exercise 8.2 has an engine without the first habit and one without the second.
#
# There is a third way to a wrong hit, and it belongs to joins: stitched keys filed under their plain text. In
# chapter 6 we saw a re-prefilled text come back from the cache. Is a stitched one?

# %%
for how in ("reprefill", "stitch"):
    engine = miniapr.Engine(bundle.model, tokenizer)
    root = engine.start(ids("<bos> <adaptive> 8 7 3 -> 29 :"))
    branches = engine.fork(root, [ids("<thread> a-b 1 3 : a+b"), ids("<thread> b*c 21 8 : a+b")])
    for branch in branches:
        engine.settle(branch)
    joined = engine.settle(engine.join(root, branches, how, then=ids("<join> b*c 21 8")))
    text = joined.history
    engine.release(joined)
    later = engine.settle(engine.start(text))
    print(f"{how:10} {later.request.cost.reused} of {len(text)} tokens reused")
    assert later.request.cost.reused == {"reprefill": 23, "stitch": 14}[how]

# %% [markdown]
# After a stitch only the prompt and the first branch are reused: that much of it *is* ordinary text.
#
# ## Twins
#
# Four branches from one prompt, sampled, to get four different thoughts. In several engines the children shared the
# parent's seed and thought the same, four times, at four times the price. A quick repair made it worse: one
# generator for all. Then they differ; but which branch says what depends on who was asked first, and no run can be
# repeated.
#
# Here every branch has random numbers of its own: a key made of the root's seed *and its place in the tree*. (The
# temperature is absurdly high: at an ordinary one this little model is so sure of itself that siblings agree by
# chance.)


# %%
def four(order, same_seed=False):
    """What four children say when they are asked in this order."""
    engine = miniapr.Engine(bundle.model, tokenizer)
    root = engine.settle(engine.start(ids("<bos> <adaptive> 8 7 3 -> 29 :"), miniapr.Sampling(temperature=8.0, seed=7)))
    children = engine.fork(root, 4)
    if same_seed:
        for child in children:
            child.key = 7
    for number in order:
        engine.decode([children[number]], max_tokens=8)
    return [child.text for child in children]


print("own generators:", *four([0, 1, 2, 3]), sep="\n    ")
print("one seed:", *four([0, 1, 2, 3], same_seed=True), sep="\n    ")
assert len(set(four([0, 1, 2, 3]))) == 4
assert four([0, 1, 2, 3]) == four([3, 1, 0, 2])
assert len(set(four([0, 1, 2, 3], same_seed=True))) == 1

# %% [markdown]
# Two properties, then: *siblings differ*, and *the order of asking does not matter*. Either one alone lets one of the
# two faulty engines pass; exercise 8.3 has both.
#
# ## A guard that is always awake
#
# Properties find faults before a release. Some engines also count while they run. `engine.check()` recounts every
# block from those who hold it, and compares. Let us break a count by hand:

# %%
engine = miniapr.Engine(bundle.model, tokenizer, num_blocks=8, block_size=4)
branch = engine.settle(engine.start(ids("<bos> <adaptive> 8 7 3 -> 29 :")))
engine.check()
engine.pool.refs[branch.span.blocks[0]] += 1  # a holder that nobody knows of: this block will never be free again
try:
    engine.check()
except AssertionError as error:
    found = str(error)
print(found)
assert "counts differ" in found

# %% [markdown]
# And what nobody has written is not zero here, but NaN. A zero would be a key like any other, and whoever read it
# would go on. A NaN spreads to the logits, and the engine refuses to sample from them.

# %%
engine.pool.refs[branch.span.blocks[0]] -= 1  # right again
free = int((engine.pool.refs == 0).argmax())
assert torch.isnan(engine.pool.k_cache[:, free]).all()
branch.span.blocks[0] = free  # the branch reads a block that nobody has written
try:
    engine.decode([branch], max_tokens=2)
except ValueError as error:
    print(error)
    found = str(error)
assert "NaN" in found

# %% [markdown]
# ## Your turn
#
# The first three exercises are tests to be written: each is run against a sound engine, where it must be green, and
# against two faulty ones that you do not see, where it must be red. In the fourth you have the code before you.
#
# | | | |
# |---|---|---|
# | `miniapr learn check 8.1` | Catch an eviction during a join | two engines |
# | `miniapr learn check 8.2` | Catch a phantom hit | two engines |
# | `miniapr learn check 8.3` | Catch the twins | twins, and a common generator |
# | `miniapr learn check 8.4` | Find three faults and mend them | three historic faults |
#
# That was the engine. `docs/architecture.md` tells how its parts fit together: you have met all of its ideas.
# `tests/test_oracle.py` is what this chapter's method looks like when it is let loose on the whole engine: random
# programs of all operations, and the dense form as the judge. What one can do with such an engine is next: [ways to
# think](09_ways_to_think.ipynb).
