"""A finished tree as one training row: the dense form of the views under which it was sampled.

Nothing is guessed: spans know what they saw, ``unroll`` says who stands where, and whoever watched noted where each
sampled token stands. A token that a join has read again is in the row twice, and counts once: where it was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..kv.unroll import Dense, unroll
from ..model.decoder import Decoder
from .rollouts import Place, Unit


@dataclass(frozen=True)
class Row:
    """T tokens, N of them sampled.

    dense     tokens, positions, mask, shifts and voices of all T
    before    [N] int64, the token after which each was sampled: its logits said it
    sampled   [N] int64, what was sampled
    logprobs  [N] float64, as reported by sampling
    """

    dense: Dense
    before: Tensor
    sampled: Tensor
    logprobs: Tensor

    def __len__(self) -> int:
        return len(self.dense.tokens)


def row(root: Unit) -> Row:
    """The row of a tree. Raises ValueError for one that was not watched, or that the model wrote nothing of."""
    places = [place for unit in root for place in unit.places]
    sampled = [token for unit in root for token in unit.written]
    if not places:
        raise ValueError(f"nothing was sampled in this tree of {root.total} tokens: it gives no training row")
    dense = unroll([(span.view, span) for span in dict.fromkeys(span for span, _ in places)])
    for (span, i), token in zip(places, sampled, strict=True):
        if i >= len(span.tokens) or span.tokens[i] != token:
            raise ValueError(f"token {i} of {span} is not the {token} that was sampled there")
    before = [dense.index(*_before(unit, n)) for unit in root for n in range(len(unit.places))]
    logprobs = torch.tensor([p for unit in root for p in unit.logprobs], dtype=torch.float64)
    return Row(dense, torch.tensor(before), torch.tensor(sampled), logprobs)


def _before(unit: Unit, n: int) -> Place:
    """The token after which the n-th of a unit was sampled."""
    span, i = unit.places[n]
    if i:
        return span, i - 1
    if n or unit.after:
        return unit.places[n - 1] if n else unit.after  # type: ignore[return-value]
    piece = span.view.pieces[-1]
    return piece.span, piece.stop - 1


@dataclass(frozen=True)
class Rows:
    """B rows padded to T tokens; N sampled tokens in all. The padding sees itself only.

    tokens, positions  [B, T] int64
    visible            [B, T, T] bool
    shift              [B, T, T] int64; None: nothing is moved
    voices             [B, T] int64; None: nothing is said in one
    before             [N] int64, places in B * T
    sampled, owner     [N] int64, what was sampled, and in which row
    logprobs           [N] float64
    """

    tokens: Tensor
    positions: Tensor
    visible: Tensor
    shift: Tensor | None
    voices: Tensor | None
    before: Tensor
    sampled: Tensor
    owner: Tensor
    logprobs: Tensor


def collate(rows: Sequence[Row]) -> Rows:
    """Put rows side by side."""
    count, length = len(rows), max(map(len, rows))
    tokens, positions, voices = torch.zeros(3, count, length, dtype=torch.int64)  # [B, T]
    visible = torch.eye(length, dtype=torch.bool).repeat(count, 1, 1)  # [B, T, T]
    shift = torch.zeros(count, length, length, dtype=torch.int64) if any(r.dense.shift.any() for r in rows) else None
    for number, row in enumerate(rows):
        end, dense = len(row), row.dense
        tokens[number, :end], positions[number, :end], voices[number, :end] = (
            dense.tokens,
            dense.positions,
            dense.voices,
        )
        visible[number, :end, :end] = dense.visible
        if shift is not None:
            shift[number, :end, :end] = dense.shift
    return Rows(
        tokens,
        positions,
        visible,
        shift,
        voices if voices.any() else None,
        torch.cat([row.before + number * length for number, row in enumerate(rows)]),
        torch.cat([row.sampled for row in rows]),
        torch.cat([torch.full_like(row.sampled, number) for number, row in enumerate(rows)]),
        torch.cat([row.logprobs for row in rows]),
    )


def logprobs(model: Decoder, rows: Rows) -> tuple[Tensor, Tensor]:
    """Log-probability of each sampled token [N], and the entropy of what it was sampled from [N], in nats."""
    given = rows.tokens, rows.positions, rows.visible, rows.shift
    logits = model.dense(*given, wanted=rows.before, voices=rows.voices)  # [N, V]
    every = logits.log_softmax(-1)
    entropy = -(every.exp() * every).sum(-1)
    return every.gather(1, rows.sampled[:, None])[:, 0], entropy


def in_batches(rows: Sequence[Row], budget: int) -> list[list[int]]:
    """Which rows go together: by length, at most ``budget`` tokens, padding counted (and one row at least)."""
    out: list[list[int]] = []
    for number in sorted(range(len(rows)), key=lambda number: len(rows[number])):
        if not out or (len(out[-1]) + 1) * len(rows[number]) > budget:
            out.append([])
        out[-1].append(number)
    return out
