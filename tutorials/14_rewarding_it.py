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

from miniapr.learn import maze
from miniapr.rl.advantages import Objective, advantages
from miniapr.rl.rewards import pay, read_reward
from miniapr.rl.rollouts import Rollout, Unit
from miniapr.rl.sampler import Sampler
from miniapr.rl.update import learn, lessons
from miniapr.show import draw
from miniapr.train.optim import Optimizer

try:
    from IPython.display import display  # in a notebook the curve is drawn while it learns
except ImportError:
    display = None

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
    print(f"threads {t.width}  C {t.correct:d}  L {t.total:3}  Lc {t.critical:3}")
assert len({t.forked for t in group}) == 2

# %% [markdown]
# A row a try. One without threads thought in line. C is 1 for a right answer and else 0, L is how many tokens were
# written in all, Lc the critical path: those that had to be decoded one after the other. A corridor takes 11 tokens
# and the end one, so a line that is longer than 45 has walked one of the four twice.
#
# ## What to pay
#
# ThreadWeaver (Lian et al. 2025) pays, in its plain form,
#
#     C + C x P     with     P = 1 - Lc / L
#
# P is the part of the tokens that nobody waited for: 0 in line, 3/4 for four equal threads. Note the C before it: who
# is wrong gets nothing for being quick. (Paper, code and README weigh and cap P, each otherwise;
# `docs/training/rewards.md`.) Here this is called `ratio`. We also try a cousin, `relative`, that compares with
# something else: P = 1 - Lc / Ls, where Ls is the length of the *same problem solved in line*; -1 at the least. What
# stands behind a name is an option: `rho` is what P is multiplied by, 1 here.

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
#
# **Guess first.** Both rewards pay for speed, and only for right answers. Which one will fork the easy problems too?

# %%
STEPS, PROMPTS, SAMPLES = 20, 12, 8
REWARDS = ("relative:rho=1", "ratio")


def reinforce(reward, steps=STEPS, advantage="mean", seed=1):
    """A trained copy of the start; a row (share of easy forked, share of hard forked) for each step; the largest
    difference between what sampling reported and what training computed."""
    model, dice, curve, off = copy.deepcopy(start), random.Random(seed), [], 0.0
    sampler, optimizer = Sampler(model, maze.Signs(), tokens=300, blocks=4096), Optimizer(model, None, 1e-3)
    paid_for = read_reward(reward)
    shown = display(plotted({reward: curve}), display_id=True) if display else None
    for step in range(steps):
        problems = [maze.draw(dice, number % 2 == 0) for number in range(PROMPTS)]
        tries = sampler.roll(maze.PRACTICE, problems, SAMPLES, dice.getrandbits(40))
        rewards = torch.tensor(pay(paid_for, tries, step)).view(PROMPTS, SAMPLES)
        worth = advantages(rewards, advantage).flatten().tolist()  # each pay less its group's mean
        off = max(off, learn(model, optimizer, lessons(tries, worth, "token"), Objective())["off"])
        sampler.renew(model)  # the next rollouts are the new model's
        curve.append([statistics.mean(t.forked for t in tries if t.problem.hard == kind) for kind in (False, True)])
        if shown and step % 4 == 3:
            shown.update(plotted({reward: curve}))
    return model, curve, off


def plotted(curves):
    picture, plot = draw.axes("Share forked", height=2.6)
    for name, curve in curves.items():
        (drawn,) = plot.plot([of_hard for _, of_hard in curve], label=f"{name}, hard")
        plot.plot([of_easy for of_easy, _ in curve], "--", color=drawn.get_color(), label=f"{name}, easy")
    plot.set_ylim(-0.02, 1.02)
    plot.set_xlim(0, STEPS - 1)
    plot.set_xticks(range(0, STEPS, max(1, STEPS // 10)))
    plot.set_xlabel("step")
    plot.legend(loc="center right")
    return picture


after = {reward: reinforce(reward) for reward in REWARDS}

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
# rollout with its own tokens laid end to end, and any fork looks good beside that. (On hard problems alone it looks
# fine, and is right more often: all of them are forked, and a long line is where this small model loses its way. So
# look at each kind.)
#
# The last assertion is the quiet one. What training computes for each sampled token is what sampling reported. Where
# rollouts come from one program and gradients from another, the two differ a little, always; that such runs drift is
# one of the field's common troubles.
#
# ## When it does not learn when
#
# Is the maze too kind? Yes, twice. First, **a reward pays for means.** Relative to a problem's own line, forking a
# hard problem is paid the *mean of the ratios* 1 - Lc / Ls. Where the right door is the first, a fork costs more than
# it saves, and 1 / Ls makes those problems count most:

# %%
for kind in ("easy", "hard"):
    problems, fork = [maze.draw(random.Random(seed), kind == "hard") for seed in range(400)], fork_costs[kind]
    lines = [maze.in_line(problem).critical for problem in problems]
    paid_to_forks = statistics.mean(max(-1, 1 - fork / line) for line in lines)
    saved = 1 - fork / statistics.mean(lines)
    print(f"{kind}: forks are paid {paid_to_forks:5.2f} on average, and save {saved:5.2f} of the wait")
    assert (paid_to_forks > 0.1) == (saved > 0.1) == (kind == "hard")

# %% [markdown]
# Half of what it saves, but with the right sign. On Countdown a quarter of the hard problems end at once in line, and
# the mean of the ratios is 0.07 where a fork saves 0.44 of the wait. There this reward taught to go in line: on two
# seeds of 40 steps, the ratio forked 86 % of the hard and 85 % of the easy problems (400 each), just as here; the
# relative reward 24 % and 23 %. (`relative-usual` divides by what such problems take on average, and mends this.)
#
# Second, **a reward can't pay for what the model does not see.** In the maze the first token tells easy from hard. On
# Countdown nothing does at a glance, and demonstrations by a fair coin gave the model no reason to look: its state
# before the choice is nearly the same for both kinds, so whatever is learned of one moves the other. Then not even
# `relative-usual` told them apart. From a start that was shown forks of 80 % of the hard and 20 % of the easy problems
# it did: three seeds forked 86 % of the hard and 2 % of the easy ones. The demonstrations have to make the difference
# visible; the reward then sharpens it. (`docs/lab/README.md` has all of it.)
#
# ## Four games
#
# To see how a reward is gamed one does not need a model. Make trajectories by hand, and pay them. `text(n, threads)`
# is n tokens, then threads, then what follows. And these are the rewards, C, L, Lc and Ls as above:
#
# | | pays |
# |---|---|
# | `count-threads` | threads / 8 |
# | `used-structure` | 1 for any fork |
# | `thread-weaver-readme` | C + min(0.2, L / Lc - 1) / 2 |
# | `ratio` | C + C (1 - Lc / L) |
# | `relative:rho=1` | C + C max(-1, 1 - Lc / Ls) |
# | `critical-path` | C - C min(1, Lc / 100) / 2 |


# %%
def text(n, *threads, then=None):
    # Nothing is given, n tokens are written (which, no reward reads); "stop": it ended by itself, not by a limit.
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
# a fork. Plain gradient ascent on its logit steps, on average, by rate x p (1 - p) x (pay of a fork - pay of a line).
# (The code above has more weights, which both kinds share, and an optimizer that rescales steps; the direction is
# this.) Let a line be right in 96 of 100 cases, and a fork in 90.


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
plot.set_xlabel("step")
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
print(f"{flat:.0%} of the groups have no gradient, if right answers alone are paid")

# %% [markdown]
# ## What to remember
#
# | | |
# |---|---|
# | a rollout | a tree that the model wrote, paid as one; all its tokens share its advantage |
# | C + C x P | speed counts, and only where the answer is right |
# | compare with | something that the rollout itself cannot change |
# | when to fork | is learned where the mean pay of a fork has the right sign, and where the model sees the difference |
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
