"""Supervised fine-tuning: predict the demonstrations' tokens, weighted by how much hangs on them.

Deterministic from its options on one machine and thread count, and resumable: a run that was killed
continues from its last checkpoint to bit-identical weights, since data, learning rate and order follow from
two counters. Several processes can share its batches (``parallel``).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..model.checkpoint import load
from ..model.decoder import Decoder
from . import saved
from .config import TrainConfig
from .initialize import initialize
from .optim import Optimizer
from .parallel import Team
from .stream import Stream
from .text import Batch


@dataclass
class Progress:
    """Where a run stands: the next batch to train on, and what has happened so far."""

    step: int = 0
    tokens: int = 0
    chunk: int = 0
    batch: int = 0
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)


def rate(config: TrainConfig, progress: Progress) -> float:
    """The learning rate's scale: linear warm-up in steps, constant, then linear in tokens to the floor."""
    done = min(1.0, progress.tokens / config.tokens)
    fall = max(0.0, (done - config.constant) / (1 - config.constant)) if config.constant < 1 else 0.0
    return min(1.0, (progress.step + 1) / max(1, config.warmup_steps)) * (1 - (1 - config.floor) * fall)


def weighted_loss(model: Decoder, batch: Batch, total: float) -> Tensor:
    """Weighted cross-entropy of each token given the row before it, over ``total``: the weights of the batch of which
    this may be a part."""
    weights = batch.weights[:, 1:]  # [B, T-1]
    row, column = weights.nonzero(as_tuple=True)  # [N] each: the tokens that are learned
    before = row * batch.tokens.shape[1] + column
    # A table for every layer and token, of zeros wherever nobody speaks in a voice: most batches do without.
    voices = batch.voices if model.config.voices and batch.voices.any() else None
    given = batch.tokens, batch.positions, batch.visible
    predicted = model.dense(*given, wanted=before, voices=voices).float()  # [N, V]
    losses = F.cross_entropy(predicted, batch.tokens[row, column + 1], reduction="none")
    return (losses * weights[row, column]).sum() / max(total, 1e-9)


def begin_with(model: Decoder, folder: str) -> None:
    """Give ``model`` the weights of the one in ``folder``. Raises ValueError if it has other sizes."""
    found = load(folder, pack=False)
    if found.config != model.config:
        ours, theirs = asdict(model.config), asdict(found.config)
        name = next(name for name in ours if ours[name] != theirs[name])
        raise ValueError(f"the model in {folder} has {name}={theirs[name]}, this run {name}={ours[name]}")
    model.load_state_dict(found.state_dict())


class Run:
    """One training run, or one process's part of it. Owns model, optimiser, stream and progress; nothing outside
    changes them."""

    def __init__(self, config: TrainConfig, team: Team | None = None, workers: int = 0) -> None:
        self.config, self.team = config, team or Team()
        self.source = config.source()
        self.stream = Stream(config.seed, self.source, chunk_size=config.chunk_size, batch_tokens=config.batch_tokens)
        self.model = initialize(config.model(self.source.tokenizer.get_vocab_size()), config.seed)
        if config.start is not None:
            begin_with(self.model, config.start)
        self.model.to(config.device)
        self.optimizer = Optimizer(self.model, config.muon_rate, config.adam_rate)
        self.progress = Progress()
        self._workers, self._batches = workers, list[Batch]()

    @property
    def finished(self) -> bool:
        return self.progress.tokens >= self.config.tokens

    def step(self) -> float:
        """Train on the next batch and return its loss."""
        progress, config = self.progress, self.config
        if not self._batches:
            self._chunks = self.stream.chunks(progress.chunk, self._workers)
            self._batches = next(self._chunks)
        batch = self._batches[progress.batch]
        loss = torch.zeros((), device=config.device)
        mine = self.team.share(batch)
        if len(mine):
            total = float(batch.weights[:, 1:].sum())
            with torch.autocast(torch.device(config.device).type, torch.bfloat16, enabled=config.autocast):
                loss = weighted_loss(self.model, mine.to(config.device), total)
            loss.backward()
        loss = loss.detach()
        self.team.add_gradients(self.model)
        self.team.add([loss])
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        self.optimizer.step(rate(config, progress))
        self.model.zero_grad(set_to_none=True)
        progress.step += 1
        progress.tokens += batch.size
        progress.batch += 1
        if progress.batch == len(self._batches):
            progress.chunk, progress.batch = progress.chunk + 1, 0
            self._batches = next(self._chunks)
        return float(loss)

    def save(self, folder: Path) -> None:
        """Write the checkpoint, one for all processes. Raises OSError with the reason; the one before then stays as it
        is."""
        if not self.team.first:
            return
        tensors = saved.whole(model=self.model.state_dict(), optimizer=self.optimizer.tensors())
        saved.write(folder, tensors, {"config": asdict(self.config), "progress": asdict(self.progress)})

    def restore(self, folder: Path) -> bool:
        """Take up the checkpoint in ``folder``, if there is one. Another budget of tokens is taken while the rate is
        constant under both. Raises ValueError if other options differ or it is damaged."""
        found = saved.read(folder)
        if found is None:
            return False
        tensors, state = found
        try:
            progress, budget = Progress(**state["progress"]), float(state["config"]["tokens"])
            # Until the rate falls, nothing that was done depends on the budget.
            undecided = progress.tokens <= self.config.constant * min(budget, self.config.tokens)
        except (KeyError, TypeError, ValueError) as error:
            raise saved.damaged(folder, error) from error
        saved.same_options(folder, state, self.config, but=("tokens",) if undecided else ())
        try:
            self.model.load_state_dict(saved.part(tensors, "model"))
            self.optimizer.load(saved.part(tensors, "optimizer"), progress.step)
        except (KeyError, TypeError, RuntimeError) as error:  # tensors that are missing, or of another shape
            raise saved.damaged(folder, error) from error
        self.progress, self._batches = progress, []
        return True


def train(
    config: TrainConfig,
    out_dir: str | Path,
    *,
    team: Team | None = None,
    workers: int = 0,
    say: Callable[[str], None] = print,
    stop_after: int | None = None,
    checkpoint_seconds: float = 60.0,
    report_steps: int = 50,
) -> Run:
    """Train until the token budget is spent, from the last checkpoint in ``out_dir`` if there is one.

    Says loss, speed and time left every ``report_steps``; writes a checkpoint every ``checkpoint_seconds`` and
    at the end, never from a handler: an interrupt may fall between two halves of an update. ``stop_after``
    ends the run early, after that many steps in all; ``workers`` processes make the demonstrations ahead of time.
    Raises ValueError for a folder that is not this run's, OSError if the last checkpoint cannot be written.
    """
    folder = Path(out_dir)
    saved.claim(folder)
    run = Run(config, team, workers)
    say = say if run.team.first else lambda _: None
    if run.restore(folder):
        say(f"resuming at step {run.progress.step}, {run.progress.tokens:,} tokens")
    _loop(run, folder, say, stop_after, checkpoint=checkpoint_seconds, report=report_steps)
    run.save(folder)
    return run


def _loop(
    run: Run,
    folder: Path,
    say: Callable[[str], None],
    stop_after: int | None,
    *,
    checkpoint: float,
    report: int,
) -> None:
    start, before = time.perf_counter(), replace(run.progress)
    losses, keep = list[float](), saved.Keeper(run.save, folder, checkpoint, say)
    while not run.finished and (stop_after is None or run.progress.step < stop_after):
        losses.append(run.step())
        now, progress = time.perf_counter(), run.progress
        progress.seconds = before.seconds + now - start
        if not math.isfinite(losses[-1]):
            raise RuntimeError(f"the loss is {losses[-1]} at step {progress.step}; the last checkpoint stays as it is")
        if progress.step % report == 0 or run.finished:
            loss = sum(losses) / len(losses)
            losses.clear()
            progress.curve.append(
                {"step": progress.step, "tokens": progress.tokens, "seconds": progress.seconds, "loss": loss}
            )
            speed = (progress.tokens - before.tokens) / (now - start)
            left = max(0, run.config.tokens - progress.tokens) / speed
            say(
                f"step {progress.step:5d}  {progress.tokens / run.config.tokens:4.0%}  loss {loss:7.4f}  "
                f"rate {rate(run.config, progress):5.3f}  {speed:6.0f} tokens/s  {left / 60:4.1f} min left"
            )
        keep()
