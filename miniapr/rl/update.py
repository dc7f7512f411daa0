"""From a batch of rollouts and what each is worth to a step along the gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..model.decoder import Decoder
from ..train.optim import Optimizer
from ..train.parallel import Team
from .advantages import Objective, token_weights
from .rollouts import Rollout
from .rows import Row, Rows, collate, in_batches, logprobs, row


@dataclass(frozen=True)
class Lesson:
    """A rollout as it is learned from: its row, and of its N sampled tokens what each is worth and weighs, [N] both."""

    row: Row
    worth: Tensor
    weight: Tensor


def lessons(rollouts: Sequence[Rollout], worth: Sequence[float], per: str) -> list[Lesson]:
    """Of all rollouts of this process in which something was written; others' count where tokens are weighed. ``per``:
    see ``token_weights``."""
    sizes = [[len(unit.written) for unit in rollout.root] for rollout in rollouts]
    out = []
    for rollout, size, each, value in zip(rollouts, sizes, token_weights(sizes, per), worth, strict=True):
        if any(unit.places for unit in rollout.root):
            weight = torch.repeat_interleave(torch.tensor(each), torch.tensor(size))
            out.append(Lesson(row(rollout.root), torch.full_like(weight, value), weight))
    return out


def learn(
    model: Decoder,
    optimizer: Optimizer,
    given: Sequence[Lesson],
    objective: Objective,
    reference: Decoder | None = None,
    *,
    updates: int = 1,
    part: int = 4096,
    clip_norm: float = 1.0,
    team: Team | None = None,
) -> dict[str, float]:
    """Take ``updates`` steps; of a team, from this process's share of a batch. Gives of the first: the loss, the
    gradient's norm, the mean entropy of all tokens and of the first of each rollout, the largest difference from what
    sampling reported; and of the last the share clipped.

    Lessons that are worth nothing have no gradient, unless there is a KL, and are only looked at. Raises RuntimeError
    for a loss or a gradient that is no finite number, with nothing changed by it.
    """
    team, found = team or Team(), dict[str, float]()
    silent = [lesson for lesson in given if not objective.kl and not lesson.worth.any()]
    taught = [lesson for lesson in given if objective.kl or lesson.worth.any()]
    somebody = any(team.total([len(taught)]))  # has something to learn
    for update in range(updates):
        seen = _Seen()
        for lesson in _parts(taught, part):
            rows, worth, weight = lesson
            new, entropy = logprobs(model, rows)
            old = rows.logprobs.to(new)
            with torch.no_grad():
                known = logprobs(reference, rows)[0].to(new) if objective.kl and reference else None
            loss = objective.loss(new, old, worth.to(new), weight.to(new), known)
            loss.backward()
            seen.add(rows, new, entropy, float(loss.detach()), objective.clipped(new.detach(), old, worth))
        if not update:
            with torch.no_grad():
                for rows, _, _ in _parts(silent, part):
                    seen.add(rows, *logprobs(model, rows), 0.0, torch.zeros(0))
        seen.add_up(team)
        if somebody:
            team.add_gradients(model)
        norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)) if somebody else 0.0
        if not (math.isfinite(norm) and math.isfinite(seen.loss)):
            model.zero_grad(set_to_none=True)
            raise RuntimeError(f"the loss is {seen.loss}, the norm of its gradient {norm}")
        if not update:
            found = {"loss": seen.loss, "norm": norm, **seen.means()}
        found["clipped"] = seen.clipped / max(1, seen.taught)
        if somebody:
            optimizer.step(1.0)
            model.zero_grad(set_to_none=True)
    return found


class _Seen:
    """Sums over the parts of a batch."""

    def __init__(self) -> None:
        self.loss = self.entropy = self.decision = self.off = 0.0
        self.tokens = self.rows = self.taught = self.clipped = 0

    def add(self, rows: Rows, new: Tensor, entropy: Tensor, loss: float, clipped: Tensor) -> None:
        first = torch.ones_like(rows.owner, dtype=torch.bool)
        first[1:] = rows.owner[1:] != rows.owner[:-1]
        self.loss += loss
        self.entropy += float(entropy.detach().sum())
        self.decision += float(entropy.detach()[first].sum())
        self.off = max(self.off, float((new.detach() - rows.logprobs).abs().max()))
        self.tokens, self.rows = self.tokens + len(entropy), self.rows + int(first.sum())
        self.taught, self.clipped = self.taught + len(clipped), self.clipped + int(clipped.sum())

    def add_up(self, team: Team) -> None:
        """They become the sums over the whole batch, but for ``off``, which stays this process's."""
        names = ("loss", "entropy", "decision", "tokens", "rows", "taught", "clipped")
        vars(self).update(zip(names, team.total([vars(self)[name] for name in names]), strict=True))

    def means(self) -> dict[str, float]:
        return {
            "entropy": self.entropy / max(1, self.tokens),
            "decision": self.decision / max(1, self.rows),
            "off": self.off,
        }


def _parts(given: Sequence[Lesson], part: int) -> list[tuple[Rows, Tensor, Tensor]]:
    out = []
    for numbers in in_batches([lesson.row for lesson in given], part):
        some = [given[number] for number in numbers]
        worth, weight = (torch.cat([getattr(lesson, name) for lesson in some]) for name in ("worth", "weight"))
        out.append((collate([lesson.row for lesson in some]), worth, weight))
    return out
