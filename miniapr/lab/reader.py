"""A low-rank change of a model's weights, trained alone: what it takes to read another join.

Every matrix W of the layers becomes W + B A with B [N, r] and A [r, K] (LoRA, arXiv 2106.09685); all else stays as it
is. Merged at the end, so that the engine runs an ordinary model. (Parallel-Synthesis, arXiv 2606.14672, trains such a
change together with a mapper of the cache.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..model.bundle import find, load
from ..model.decoder import Decoder
from ..model.parts import Matrix
from ..train.config import TrainConfig
from ..train.export import write_model
from ..train.sft import Progress, rate, weighted_loss
from ..train.stream import Stream
from .arms import Arm, Room, Say, least


class LowRank(nn.Module):
    """W -> W + B A. B begins at zero: at first nothing is changed."""

    def __init__(self, weight: Tensor, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.a = nn.Parameter(torch.randn(rank, columns, generator=generator) * columns**-0.5)
        self.b = nn.Parameter(torch.zeros(rows, rank))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.b @ self.a


@dataclass(frozen=True)
class Adapted:
    """A model with such a change, trained on the demonstrations of ``config``. One that was stopped begins anew."""

    name: str
    config: TrainConfig
    begin: Arm
    rank: int = 4
    seeded: bool = True

    def make(self, seed: int, room: Room, say: Say) -> str:
        folder = room.runs / f"{self.name}-{seed}"
        if (folder / "miniapr.json").exists():
            return str(folder)
        start = self.begin.make(seed, room, say)
        tokens = least(self.config.tokens, room.size.tokens)
        given = load(start)
        model = Decoder(given.model.config)  # given.model is packed: it cannot be trained
        model.load_state_dict(given.model.state_dict())
        changed = change(model, self.rank, seed)
        say(f"{sum(map(torch.numel, changed)):,} numbers are trained, of {given.model.parameter_count:,}")
        curve = learn(model, changed, replace(self.config, tokens=tokens, seed=seed), say)
        merge(model)
        folder.mkdir(parents=True, exist_ok=True)
        made = {"by": f"miniapr lab ({folder.name})", "rank": self.rank, "joins": self.config.joins, "tokens": tokens}
        about = {**given.about, "control": given.control, "start": given.about.get("provenance"), "provenance": made}
        write_model(folder, model, (find(start) / "tokenizer.json").read_text(encoding="utf-8"), about, curve)
        return str(folder)


def change(model: Decoder, rank: int, seed: int) -> list[nn.Parameter]:
    """Give every matrix of the layers a low-rank change. Gives its parameters, which alone are trained."""
    generator, changed = torch.Generator().manual_seed(seed), list[nn.Parameter]()
    model.requires_grad_(False)
    for matrix in matrices(model):
        weight = matrix.weight
        assert isinstance(weight, Tensor)  # no packed model is trained
        low = LowRank(weight, rank, generator)
        parametrize.register_parametrization(matrix, "weight", low)
        changed += [low.a, low.b]
    return changed


def merge(model: Decoder) -> None:
    """Make the changed weights the model's own."""
    for matrix in matrices(model):
        parametrize.remove_parametrizations(matrix, "weight")


def matrices(model: Decoder) -> list[Matrix]:
    return [module for module in model.model.layers.modules() if isinstance(module, Matrix)]


def learn(model: Decoder, changed: list[nn.Parameter], config: TrainConfig, say: Say) -> list[dict[str, Any]]:
    """Train until the budget is spent. Gives the curve. Raises RuntimeError for a loss that is no number."""
    stream = Stream(config.seed, config.source(), chunk_size=config.chunk_size, batch_tokens=config.batch_tokens)
    optimizer = torch.optim.AdamW(changed, lr=1.0, betas=(0.9, 0.95), weight_decay=0.0)
    progress, losses = Progress(), list[float]()
    for batches in stream.chunks(0):
        for batch in batches:
            loss = weighted_loss(model, batch, float(batch.weights[:, 1:].sum()))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(changed, config.clip)
            optimizer.param_groups[0]["lr"] = config.adam_rate * rate(config, progress)
            optimizer.step()
            losses.append(float(loss.detach()))
            if not math.isfinite(losses[-1]):
                raise RuntimeError(f"the loss is {losses[-1]} at step {progress.step}")
            progress.step, progress.tokens = progress.step + 1, progress.tokens + batch.size
            done = progress.tokens >= config.tokens
            if done or progress.step % 20 == 0:
                loss_now = sum(losses) / len(losses)
                progress.curve.append({"step": progress.step, "tokens": progress.tokens, "loss": loss_now})
                say(f"step {progress.step:5d}  {progress.tokens / config.tokens:4.0%}  loss {loss_now:7.4f}")
                losses.clear()
            if done:
                return progress.curve
    raise AssertionError("a stream has no end")
