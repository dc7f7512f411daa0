# %% [markdown]
# # 14 Rewarding it
#
# The teacher of chapter 13 threw a coin: half of the problems were told forked, half in line, and the prompt did not
# show which. The pupil has learned to throw the coin. It does not know *when* a fork is worth it, and no demonstration
# said so.
#
# So let it find out. The idea of this chapter: **let it try, pay what came out well, and make what was paid more
# likely.** That is reinforcement learning, and one line of it decides everything: what is paid. A model becomes good
# at what you pay for, which need not be what you meant.

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

import copy
import random
import statistics

import torch
from IPython.display import display

from miniapr.learn import maze
from miniapr.show import draw
from miniapr.train.advantages import Objective, advantages
from miniapr.train.optim import Optimizer
from miniapr.train.rewards import pay, read_reward
from miniapr.train.rollouts import Rollout, Unit
from miniapr.train.sampler import Sampler
from miniapr.train.update import learn, lessons

torch.set_num_threads(1)  # the matrices are too small to share
assert miniapr

# %% [markdown]
# ## A maze
#
# Countdown would take an hour here. So this chapter has a task that is learned in seconds. Sixteen doors, a corridor
# behind each, an exit at its end. *Which of these doors leads to B?* The model knows all corridors by heart; it has to
# walk them in its mind. (`miniapr/learn/maze.py`, a page and a half.)

# %%
easy, hard = maze.draw(random.Random(3), hard=False), maze.draw(random.Random(3), hard=True)
for problem in (easy, hard):
    print(" ".join(problem.prompt))
    line, fork = maze.in_line(problem), maze.forked(problem)
    print(f"  in line {line.critical} tokens; forked {fork.critical} one after the other, {fork.total} in all")
fork_costs = {kind: maze.forked(problem).critical for kind, problem in (("easy", easy), ("hard", hard))}
assert fork_costs == {"easy": 11, "hard": 19}

# %% [markdown]
# Easy problems have two short corridors, hard ones four long ones. In line one stops at the right door, so it depends
# on where that stands. **Guess first.** On average over all orders of the doors, for which kind does a fork shorten
# the critical path?

# %%
for kind in ("easy", "hard"):
    problems = [maze.draw(random.Random(seed), kind == "hard") for seed in range(400)]
    lines = statistics.mean(maze.in_line(problem).critical for problem in problems)
    print(f"{kind}: in line {lines:.1f} on average, forked {fork_costs[kind]}")
    assert (lines > fork_costs[kind]) == (kind == "hard")

# %% [markdown]
# For the hard ones: a third shorter. For the easy ones the plan costs more than it saves. A model that has understood
# would fork on the hard ones only. Here is ours, after 200 batches of demonstrations, half of each kind (10 seconds
# on a free core).

# %%
start = maze.taught(steps=200, batch=24)


def examine(model, count=32):
    """Rollouts of new problems at temperature 1: {kind: (share forked, share right, critical path of right ones)}"""
    sampler = Sampler(model, maze.Signs(), tokens=300, blocks=2048)
    found = {}
    for kind in ("easy", "hard"):
        problems = [maze.draw(random.Random(1000 + seed), kind == "hard") for seed in range(count)]
        tries = sampler.roll(maze.PRACTICE, problems, 4)
        forked, right = (statistics.mean(getattr(t, name) for t in tries) for name in ("forked", "correct"))
        found[kind] = (forked, right, statistics.mean(t.critical for t in tries if t.correct))
    return found


def told(found):
    return "  ".join(f"{kind}: forked {f:4.0%} right {c:4.0%} waits {w:4.1f}" for kind, (f, c, w) in found.items())


before = examine(start)
print(told(before))
assert all(0.25 < forked < 0.75 and right > 0.6 for forked, right, _ in before.values())

# %% [markdown]
# The coin, for both kinds. That is a good start: **who always does the same has nothing to choose from.** A model that
# has been taught too well writes the same thing eight times, is paid eight times the same, and learns nothing.
#
# ## Rollouts
#
# One step goes like this. Draw some problems. Let the model think about each several times; such a try is a
# **rollout**, and those of one problem are a **group**. Have each paid. What counts is not the pay but how much more it
# was than the siblings' mean: the **advantage**. Then go along the gradient of the log-probability of *everything that
# the model wrote*, in whatever branch, each rollout weighed by its advantage.
#
# All of it is in chapters that you know. Tries of one prompt share its keys; all branches of all tries are decoded in
# the same steps; what is learned is a row as in chapter 13, made of the very views under which it was sampled.

# %%
sampler = Sampler(start, maze.Signs(), tokens=300, blocks=2048)
group = sampler.roll(maze.PRACTICE, [hard], 8, seed=1)
for t in group:
    print(
        f"{'forked' if t.forked else 'in line':8} {'right' if t.correct else 'wrong'}  L {t.total:3}  Lc {t.critical:3}"
    )
assert len({t.forked for t in group}) == 2

# %% [markdown]
# ## What to pay
#
# L is how many tokens were written in all, Lc the critical path, C is 1 for a right answer and else 0. ThreadWeaver
# (Lian et al. 2025) pays
#
#     C + C x P     with     P = 1 - Lc / L
#
# P is the part of the tokens that nobody waited for: 0 in line, 3/4 for four equal threads. Note the C before it: who
# is wrong gets nothing for being quick. (Paper, code and README differ in the rest; `docs/training/rewards.md`.) We
# also try a cousin that compares with something else: P = 1 - Lc / Ls, where Ls is the length of the *same problem
# solved in line*.

# %%
for name in ("ratio", "relative:rho=1"):
    print(f"{name:15}", *(f"{value:5.2f}" for value in pay(read_reward(name), group)))
first = next(t for t in group if t.forked and t.correct)
assert pay(read_reward("ratio"), [first]) == [2 - first.critical / first.total]
assert pay(read_reward("relative:rho=1"), [first]) == [2 - first.critical / maze.in_line(hard).total]

# %% [markdown]
# ## The whole of it
#
# Twenty lines. Set `STEPS` to 100 if you have three minutes, and `REWARDS` to whatever you want to see: `correct`,
# `count-threads`, `used-structure`, ... The curve is drawn while it learns.

# %%
STEPS, PROMPTS, SAMPLES = 20, 12, 8
REWARDS = ("relative:rho=1", "ratio")


def reinforce(reward, steps=STEPS, advantage="mean", seed=1):
    """A trained copy of the start; a row (share of easy forked, share of hard forked) for each step; the largest
    difference between what sampling reported and what training computed."""
    model, dice, curve, off = copy.deepcopy(start), random.Random(seed), [], 0.0
    sampler, optimizer = Sampler(model, maze.Signs(), tokens=300, blocks=4096), Optimizer(model, None, 1e-3)
    paid_for, shown = read_reward(reward), display(plotted({reward: curve}), display_id=True)
    for step in range(steps):
        problems = [maze.draw(dice, number % 2 == 0) for number in range(PROMPTS)]
        tries = sampler.roll(maze.PRACTICE, problems, SAMPLES, dice.getrandbits(40))
        rewards = torch.tensor(pay(paid_for, tries, step)).view(PROMPTS, SAMPLES)
        worth = advantages(rewards, advantage).flatten().tolist()  # each pay less its group's mean
        off = max(off, learn(model, optimizer, lessons(tries, worth, "token"), Objective())["off"])
        sampler.renew(model)  # the next rollouts are the new model's
        curve.append([statistics.mean(t.forked for t in tries if t.problem.hard == hard) for hard in (False, True)])
        if step % 4 == 3:
            shown.update(plotted({reward: curve}))
    return model, curve, off


def plotted(curves):
    picture, plot = draw.axes("Share forked: hard (solid) and easy (dashed)", height=2.6)
    for name, curve in curves.items():
        (drawn,) = plot.plot([hard for _, hard in curve], label=name)
        plot.plot([easy for easy, _ in curve], "--", color=drawn.get_color())
    plot.set_ylim(-0.02, 1.02)
    plot.set_xlim(0, STEPS - 1)
    plot.set_xlabel("step")
    plot.legend(loc="center right")
    return picture


after = {reward: reinforce(reward) for reward in REWARDS}

# %% [markdown]
# **Guess first.** Both rewards pay for speed, and only for right answers. Which one forks the easy problems too?

# %%
print(f"{'before':15} {told(before)}")
results = {reward: examine(model) for reward, (model, _, _) in after.items()}
for reward, found in results.items():
    print(f"{reward:15} {told(found)}")
plotted({reward: curve for reward, (_, curve, _) in after.items()})

# %%
FORKED, RIGHT, WAITS = range(3)
relative, ratio = results["relative:rho=1"], results["ratio"]
assert relative["hard"][FORKED] > 0.7 and relative["easy"][FORKED] < 0.3  # it tells them apart
assert ratio["hard"][FORKED] > 0.8 and ratio["easy"][FORKED] > 0.8  # it forks whatever comes
assert relative["hard"][WAITS] < before["hard"][WAITS]
assert ratio["easy"][WAITS] > before["easy"][WAITS] > relative["easy"][WAITS]  # and waits longer for it
assert all(off < 1e-3 for _, _, off in after.values())

# %% [markdown]
# In seconds, the first model has learned what nobody showed it: **fork where it pays.** The second one forks
# everything, and waits *longer* for easy answers than before. Its reward cannot see that. P = 1 - Lc / L compares a
# rollout with its own tokens laid end to end, and any fork looks good beside that.
#
# The last assertion is the quiet one. What training computes for each sampled token is what sampling reported. Where
# rollouts come from one program and gradients from another, the two differ a little, always; that such runs drift is
# one of the field's common troubles.
#
# Is the maze too kind? Yes: here easy and hard differ in the first token. On Countdown, two seeds of 40 steps, the
# ratio forked 86 % of the hard and 85 % of the easy problems (400 each), just as here; the relative reward 24 % and
# 22 %: it changed *one* habit for both kinds instead of telling them apart (`docs/lab/README.md`, which says what was
# not tried).
#
# ## Four games
#
# To see how a reward is gamed one does not need a model. Make trajectories by hand, and pay them. `text(n, threads)`
# is n tokens, then threads, then what follows.


# %%
def text(n, *threads, then=None):
    return Unit((), (0,) * n, threads=threads, then=then, finish="stop")


def made(root, correct=True, serial=60):
    return Rollout("by hand", root, correct, serial)


hands = {
    "in line": made(text(60)),
    "four threads": made(text(10, *[text(12)] * 4, then=text(5))),
    "ten of one token": made(text(10, *[text(1)] * 10, then=text(45))),
    "a long, a short one": made(text(10, text(30), text(6), then=text(5))),
    "the short one padded": made(text(10, text(30), text(30), then=text(5))),
    "four threads, wrong": made(text(10, *[text(12)] * 4, then=text(5)), correct=False),
    "easy, in line": made(text(8), serial=8),
    "easy, forked": made(text(4, text(5), text(5), then=text(2)), serial=8),
}
naive = ("count-threads", "thread-weaver-readme", "ratio", "used-structure")
cured = ("relative:rho=1", "critical-path")
paid = {name: dict(zip(hands, pay(read_reward(name), list(hands.values())), strict=True)) for name in naive + cured}
draw.matrix([[paid[name][hand] for name in paid] for hand in hands], list(hands), list(paid), "What each is paid")

# %% [markdown]
# Read down the columns, and look for what is paid more than it deserves.
#
# 1. **Spam.** `count-threads`: ten threads of one token earn more than twice what four real ones do. *Cure: pay for the
#    answer, and for time; never for the means.*
# 2. **Wrong, but parallel.** `thread-weaver-readme` (the formula as that README has it) adds its bonus whether the
#    answer is right or not. *Cure: the gate, C x P.*
# 3. **Padding.** `ratio`: let the short thread babble as long as the long one does. Nobody waits longer, L grows, and
#    P with it. *Cure: compare with something that the rollout cannot change, its problem's length in line, or an
#    absolute number.*
# 4. **A fork for its own sake.** `used-structure`, and `ratio` again: an easy problem forked takes 11 tokens where a
#    line takes 8, and is paid better. *Cure: the same; a fork that does not pay must cost.*

# %%
assert paid["count-threads"]["ten of one token"] == 10 / 8 > 2 * paid["count-threads"]["four threads"]
assert round(paid["thread-weaver-readme"]["four threads, wrong"], 3) == 0.1
assert round(paid["ratio"]["a long, a short one"], 3) == 1.118 and paid["ratio"]["the short one padded"] == 1.4
assert paid["used-structure"]["easy, forked"] == 1 and paid["ratio"]["easy, forked"] > paid["ratio"]["easy, in line"]
for name in cured:
    now = paid[name]
    assert now["ten of one token"] < now["four threads"] and now["four threads, wrong"] == 0
    assert now["a long, a short one"] == now["the short one padded"]
    assert now["easy, forked"] < now["easy, in line"]

# %% [markdown]
# (Is `relative` without a game? No: somebody has to say how long the line would be, and a line that is told to be long
# makes every fork look quick.)
#
# ## The divisor
#
# A reward can be sound and be undone one line later. Most recipes divide the advantages of a group by their standard
# deviation. Take four rollouts, all right, with P = .10, .12, .15, .17, at two sizes of the bonus:

# %%
P = torch.tensor([[0.10, 0.12, 0.15, 0.17]])
worth = {(rho, how): advantages(1 + rho * P, how)[0].tolist() for rho in (0.5, 0.02) for how in ("mean", "std")}
draw.matrix(list(worth.values()), [f"bonus {rho}, {how}" for rho, how in worth], title="Advantages", number=".4f")

# %%
assert max(worth[0.5, "mean"]) > 20 * max(worth[0.02, "mean"])
assert all(abs(a - b) < 1e-3 for a, b in zip(worth[0.5, "std"], worth[0.02, "std"], strict=True))

# %% [markdown]
# Divided by its spread, a bonus of .02 weighs as much as one of .5. In a group of all right answers C cancels, and the
# bonus, however small it was meant, becomes all that there is. ThreadWeaver found it the hard way (with the divisor
# 74.8 instead of 79.9 % on AIME24, and 30 instead of 21 thousand tokens) and takes the mean away, nothing else.
#
# ## Collapse
#
# The other end: a model that stops forking, or never begins. It can be understood on one number, p, the probability of
# a fork. The expected step of its logit is rate x p (1 - p) x (pay of a fork - pay of a line): exactly what the code
# above does on average, if nothing else changes. Let a line be right in 96 of 100 cases, and a fork in 90.


# %%
def habit(bonus=lambda step: 0.0, practice=0.0, steps=400, p=0.5, rate=0.6):
    """p over time. Forks gain accuracy with ``practice``, as far as that of a line."""
    logit, accuracy, seen = torch.logit(torch.tensor(p)).item(), 0.90, []
    for step in range(steps):
        p = 1 / (1 + torch.tensor(-logit).exp().item())
        seen.append(p)
        logit += rate * p * (1 - p) * (accuracy * (1 + bonus(step)) - 0.96)
        accuracy += practice * p * (0.96 - accuracy)
    return seen


habits = {
    "right answers alone": habit(),
    "a bonus of 0.2": habit(lambda step: 0.2),
    "the bonus until step 150": habit(lambda step: 0.2 * (step < 150)),
    "the same, and practice helps": habit(lambda step: 0.2 * (step < 150), practice=0.05),
}
picture, plot = draw.axes("Probability of a fork", height=2.8)
for name, seen in habits.items():
    plot.plot(seen, label=name)
plot.set_ylim(0, 1)
plot.legend()
picture

# %%
end = {name: seen[-1] for name, seen in habits.items()}
assert end["right answers alone"] < 0.1 < 0.9 < end["a bonus of 0.2"]
assert end["the bonus until step 150"] < habits["the bonus until step 150"][150] - 0.1  # falls again
assert abs(end["the same, and practice helps"] - habits["the same, and practice helps"][150]) < 0.05  # stays

# %% [markdown]
# - **Right answers alone** follow accuracy, and nothing else. Where a line is a little more often right, forks die out,
#   long before they had the time to become good. (Where the fork is the more accurate it goes the other way.)
# - **A bonus taken away** (Parallel-R1 did after 200 steps, and parallel thinking collapsed) leaves what the model is
#   then better at. If forks have become as accurate meanwhile, nothing falls.
# - And it all slows down at the ends: p (1 - p). Once all tries of a group are alike and right, nobody is better than
#   anybody. With eight tries that are each right in 96 of 100 cases, `.96 ** 8` = 72 % of the groups teach nothing.

# %%
flat = 0.96**8 + 0.04**8
assert round(flat, 2) == 0.72
print(f"{flat:.0%} of the groups have no gradient")

# %% [markdown]
# ## What to remember
#
# | | |
# |---|---|
# | a rollout | a tree that the model wrote, paid as one; all its tokens share its advantage |
# | C + C x P | speed counts, and only where the answer is right |
# | compare with | something that the rollout itself cannot change |
# | advantage | less the mean; a divisor makes small things large |
# | on-policy | what training computes is what sampling reported: a test, not a hope |
# | look at | share forked *by kind*, groups without a gradient, tokens; accuracy alone hides all games |
#
# The real thing is `miniapr train rl` on any method and any published reward, or on one of your own
# (`--reward FILE.py:NAME`); `miniapr lab` has experiments with their aims. `miniapr learn project reward` lets you
# compete with these two rewards in this maze.
#
# ## Exercises
#
# | | | |
# |---|---|---|
# | `miniapr learn check 14.1` | Pay a tree | C + C x P, and what it is compared with |
# | `miniapr learn check 14.2` | Find the bug: advantages out of nothing | rounding, divided by its spread |
# | `miniapr learn check 14.3` | Find the bug: a grader with holes | three historic faults |
#
# ## References
#
# - Lian et al. 2025, *ThreadWeaver* (arXiv 2512.07843): P-GRPO, the gate, why there is no divisor.
# - Zheng et al. 2025, *Parallel-R1* (arXiv 2509.07980): alternating rewards, and the collapse without them.
# - Pan et al. 2025, APR (arXiv 2504.15466): right answers alone; most of the gain is *more* threads.
# - Moonshot AI 2026, *Kimi K2.5* (arXiv 2602.02276): serial collapse and spurious parallelism, annealed rewards.
# - Liu et al. 2025, *Understanding R1-Zero-Like Training* (arXiv 2503.20783): what the divisor does.
