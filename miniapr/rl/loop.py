"""Reinforcement learning of whatever a method makes a model write: P-GRPO and its relatives.

A step draws problems, samples several rollouts of each in the engine, has them paid by a reward, and takes a step along
the gradient of what they wrote, each rollout's tokens weighed by how much better it did than its siblings. On-policy by
construction: the engine samples from the very weights that are trained, and a rollout's training row is the dense form
of the views under which it was sampled. (ThreadWeaver's P-GRPO, arXiv 2512.07843, section 4: no KL, no ratio, r - mean,
one advantage for all branches.)
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..model.bundle import Bundle, load
from ..model.decoder import Decoder
from ..train import saved
from ..train.optim import Optimizer
from ..train.parallel import Team
from .advantages import Objective, advantages, without_variance
from .practice import practice
from .rewards import pay, read_reward, source_of
from .rollouts import Rollout
from .sampler import Sampler
from .update import learn, lessons

FLAT = ("keep", "drop", "redraw")
REDRAWS = 4  # times that groups without variance are drawn anew, at most


@dataclass(frozen=True)
class RLConfig:
    """All that a run depends on, besides machine and thread count. Raises ValueError on bad values.

    start    the model that it begins with: a folder or a name
    reward   NAME, NAME:option=number,... or FILE.py:NAME
    counts   see ``practice``, as are ``method``, ``join`` and ``tokens``
    prompts, samples  problems of a batch, and rollouts of each
    updates  steps along the gradient of one batch; more than one wants a clip
    flat     groups whose rewards are all the same: "keep" (they count when tokens are weighed), "drop", or "redraw"
             (other problems in their place, a few times)
    part     tokens that are trained on in one pass, padding counted: memory, and nothing else
    """

    start: str
    reward: str = "correct"
    method: str = "multiverse"
    join: str | None = None
    counts: tuple[int, ...] = ()
    tokens: int = 400
    seed: int = 0
    steps: int = 40
    prompts: int = 24
    samples: int = 8
    rate: float = 5e-4
    objective: Objective = field(default_factory=Objective)
    updates: int = 1
    flat: str = "keep"
    clip_norm: float = 1.0
    part: int = 4096

    def __post_init__(self) -> None:
        for name, least in (("steps", 0), ("prompts", 1), ("samples", 2), ("updates", 1), ("part", 1), ("tokens", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, is {getattr(self, name)}")
        for name in ("rate", "clip_norm"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be a number above 0, is {getattr(self, name)}")
        if self.flat not in FLAT:
            raise ValueError(f"groups without variance are one of {', '.join(FLAT)}, got {self.flat!r}")


@dataclass
class Progress:
    """How far a run is; with the weights and the optimiser's state all that resuming needs."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)


class Run:
    """One run, or one process's part of it. Owns the model, an engine that samples from it, the optimiser and the
    progress."""

    def __init__(self, config: RLConfig, team: Team | None = None) -> None:
        self.config, self.team = config, team or Team()
        self.bundle: Bundle = load(config.start)
        unpacked = Decoder(self.bundle.model.config)
        unpacked.load_state_dict(self.bundle.model.state_dict())
        self.model = unpacked
        self.reference = self.bundle.model.requires_grad_(False)  # where it began: what a KL is measured from
        self.practice = practice(self.bundle, config.method, config.join, config.counts, config.tokens)
        self.reward, self.source = read_reward(config.reward), source_of(config.reward)
        self.sampler = Sampler(self.model, self.bundle.tokenizer, tokens=config.tokens)
        self.optimizer = Optimizer(self.model, None, config.rate)
        self.progress = Progress()

    @property
    def finished(self) -> bool:
        return self.progress.step >= self.config.steps

    def step(self) -> dict[str, float]:
        """Sample, pay, update. Gives what is known of the step. Raises ValueError naming the rollout that was paid no
        finite number, RuntimeError for a loss or a gradient that is none; the weights are as before then."""
        begun = time.perf_counter()
        config, objective = self.config, self.config.objective
        rollouts, rewards, flat = self.explore()
        sampled = time.perf_counter()
        worth = advantages(rewards, objective.advantage).flatten().tolist()
        learned = learn(
            self.model,
            self.optimizer,
            lessons(rollouts, worth, objective.per),
            objective,
            self.reference,
            updates=config.updates,
            part=config.part,
            clip_norm=config.clip_norm,
            team=self.team,
        )
        self.sampler.renew(self.model)
        self.progress.step += 1
        self.progress.tokens += sum(rollout.total for rollout in rollouts)
        took = {"sampling": sampled - begun, "training": time.perf_counter() - sampled}
        return {"step": self.progress.step, **told(rollouts, rewards), "flat": flat, **learned, **took}

    def explore(self) -> tuple[list[Rollout], Tensor, float]:
        """A batch of rollouts, group after group, their rewards [G, K], and the share of groups without variance among
        those first drawn."""
        config, step = self.config, self.progress.step
        dice = random.Random(f"{config.seed} {step}")
        rollouts: list[Rollout] = []
        rewards = torch.zeros(0, config.samples, dtype=torch.float64)
        flat = 0.0
        for again in range(REDRAWS if config.flat == "redraw" else 1):
            wanted = config.prompts - len(rewards)
            if not wanted:
                break
            problems = [self.practice.draw(dice, "train") for _ in range(wanted)]
            some = self.sampler.roll(self.practice, problems, config.samples, dice.getrandbits(48), self.team)
            paid = torch.tensor(pay(self.reward, some, step), dtype=torch.float64).view(wanted, config.samples)
            same = without_variance(paid)  # [G]
            flat = flat if again else same.double().mean().item()
            kept = torch.ones_like(same) if config.flat == "keep" else ~same
            rollouts += [rollout for rollout in some if kept[rollout.group]]
            rewards = torch.cat([rewards, paid[kept]])
        return rollouts, rewards, flat

    def save(self, folder: Path) -> None:
        """Write the checkpoint, one for all processes. Raises OSError with the reason; the one before then stays as it
        is."""
        if not self.team.first:
            return
        tensors = saved.whole(model=self.model.state_dict(), optimizer=self.optimizer.tensors())
        state = {"config": asdict(self.config), "progress": asdict(self.progress), "updates": self.optimizer.step_count}
        state["source"] = self.source
        saved.write(folder, tensors, state)

    def restore(self, folder: Path) -> bool:
        """Take up the checkpoint in ``folder``, if there is one. Raises ValueError if its options differ (but for the
        number of steps: a run may go on) or it is damaged."""
        found = saved.read(folder)
        if found is None:
            return False
        tensors, state = found
        saved.same_options(folder, state, self.config, but=("steps",))
        if state.get("source") != self.source:
            raise ValueError(f"the run in {folder} was paid by {self.config.reward} as it was before: it has changed")
        try:
            self.progress = Progress(**state["progress"])
            self.model.load_state_dict(saved.part(tensors, "model"))
            self.optimizer.load(saved.part(tensors, "optimizer"), state["updates"])
        except (KeyError, TypeError, RuntimeError) as error:
            raise saved.damaged(folder, error) from error
        self.sampler.renew(self.model)
        return True


def told(rollouts: Sequence[Rollout], rewards: Tensor) -> dict[str, float]:
    """What is said of a batch: means over its rollouts, of the width over those that forked."""
    if not rollouts:
        return {"rollouts": 0}
    widths = [rollout.width for rollout in rollouts if rollout.forked]
    return {
        "rollouts": len(rollouts),
        "reward": float(rewards.mean()),
        "right": statistics.mean(rollout.correct for rollout in rollouts),
        "forked": len(widths) / len(rollouts),
        "width": statistics.mean(widths) if widths else 0.0,
        "critical": statistics.mean(rollout.critical for rollout in rollouts),
        "tokens": statistics.mean(rollout.total for rollout in rollouts),
    }


def train(
    config: RLConfig,
    out: str | Path,
    *,
    team: Team | None = None,
    say: Callable[[str], None] = print,
    stop: Callable[[], bool] = lambda: False,
    checkpoint_seconds: float = 20.0,
) -> Run:
    """Train to the last step, from the last checkpoint in ``out`` if there is one, or until ``stop`` says so between
    two steps. Says a line a step; writes a checkpoint every ``checkpoint_seconds`` and at the end. Raises what
    ``Run.step`` raises: the last checkpoint stays as it is then; OSError if the one at the end cannot be written."""
    folder = Path(out)
    saved.claim(folder)
    run = Run(config, team)
    say = say if run.team.first else lambda _: None
    if run.restore(folder):
        say(f"resuming at step {run.progress.step}")
    start, before = time.perf_counter(), run.progress.seconds
    first, keep = run.progress.step, saved.Keeper(run.save, folder, checkpoint_seconds, say)
    while not run.finished and not any(run.team.total([stop()])):  # all or none of them stop
        try:
            row = run.step()
        except RuntimeError as error:
            batch = f"the batch of step {run.progress.step} of seed {config.seed}"
            raise RuntimeError(f"{error}, in {batch}; the last checkpoint stays as it is") from error
        now = time.perf_counter()
        run.progress.seconds = before + now - start
        run.progress.curve.append(row)
        left = (config.steps - run.progress.step) * (now - start) / (run.progress.step - first)
        say(line(row) + f"  {left / 60:4.1f} min left")
        keep()
    run.save(folder)
    return run


def line(row: dict[str, float]) -> str:
    """A step in a line."""
    speed = row["rollouts"] * row.get("tokens", 0.0)
    return (
        f"step {row['step']:4.0f}  reward {row.get('reward', 0.0):6.3f}  right {row.get('right', 0.0):4.0%}  "
        f"forked {row.get('forked', 0.0):4.0%}  width {row.get('width', 0.0):4.1f}  "
        f"critical {row.get('critical', 0.0):5.1f}  tokens {row.get('tokens', 0.0):5.0f}  "
        f"decision {row.get('decision', 0.0):5.3f}  flat {row['flat']:4.0%}  "
        f"{speed / row['sampling']:6.0f} + {speed / row['training']:6.0f} tokens/s"
    )
