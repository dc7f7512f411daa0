"""From the texts of branches to tensors: one demonstration, packed as either join would leave it.

A model meets its branches after the join in a form that depends on the join. Positions and masks are not written down
here a second time: the demonstration is turned into the spans and views that the engine would hold, and ``unroll``,
which also judges the engine, says who stands where and sees whom. So training and inference cannot drift apart.

    stitch      threads start at one position and do not see each other; what follows the join starts at the
                largest end and sees all (Multiverse, arXiv 2506.09991, section 4)
    reprefill   the concatenated text, plainly causal: what stands there after the join, and what one line would have
                written. A thread has those before it in view, which it has not when it is written beside them
    trie        each thread as it is written, and beside them what follows the join, behind their text read again
                (ThreadWeaver, arXiv 2512.07843, whose units share their beginnings like that)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ..kv.span import Piece, Span, View
from ..kv.unroll import unroll
from ..kv.weave import Weave

Join = Literal["stitch", "reprefill", "trie"]


@dataclass(frozen=True)
class Text:
    """A branch: its tokens, the loss weight of each, the threads it forks into then, and what follows the join (or,
    without threads, follows at once). ``voice``: the one in which the branch speaks where it is stitched; text that is
    read again is read in none. ``slot``: the threads see each other as they are written, each begun so many positions
    behind the one before it. Where nothing follows, threads are never joined."""

    tokens: tuple[int, ...]
    weights: tuple[float, ...]
    threads: tuple[Text, ...] = ()
    then: Text | None = None
    voice: int = 0
    slot: int | None = None

    def __iter__(self) -> Iterator[Text]:
        """In the order in which a plain text would have them."""
        yield self
        for text in (*self.threads, *([self.then] if self.then else [])):
            yield from text


@dataclass(frozen=True)
class Packed:
    """One training sequence of T tokens.

    tokens, positions  [T] int64
    visible            [T, T] bool, row i sees column j
    weights            [T] float32, of the loss on predicting token i from the token before it
    voices             [T] int64, the voice of each token
    """

    tokens: Tensor
    positions: Tensor
    visible: Tensor
    weights: Tensor
    voices: Tensor

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class Batch:
    """B sequences padded to T tokens; the padding sees itself only and weighs nothing; else as ``Packed``."""

    tokens: Tensor
    positions: Tensor
    visible: Tensor
    weights: Tensor
    voices: Tensor
    size: int  # tokens that are not padding

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, which: slice) -> Batch:
        """Some of the sequences; ``size`` stays that of all."""
        return self._each(lambda x: x[which])

    def to(self, device: str) -> Batch:
        return self._each(lambda x: x.to(device, non_blocking=True))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        tokens, positions, visible = change(self.tokens), change(self.positions), change(self.visible)
        return Batch(tokens, positions, visible, change(self.weights), change(self.voices), self.size)


def pack(text: Text, join: Join) -> Packed:
    """The dense form of the demonstration's last branch under ``join``, or of all its branches that nobody else reads,
    with the loss weights."""
    text = trie(text) if join == "trie" else text
    dense = unroll(_ends(text, join))
    weights = torch.tensor([weight for part in text for weight in part.weights], dtype=torch.float32)  # [T]
    return Packed(dense.tokens, dense.positions, dense.visible, weights, dense.voices)


def _ends(text: Text, join: Join) -> list[tuple[View, Span]]:
    """The views and the open spans of all that is read by nobody else: of the last branch, if all is joined."""
    if text.slot is not None:
        return woven(text, text.slot)
    return apart(text) if text.threads and text.then is None else [last_branch(text, join)]


def trie(text: Text) -> Text:
    """The same branches, none of them joined: what followed a join is one more, that begins with all that the threads
    have written, read again and not learned a second time."""
    if text.then is None:
        return replace(text, threads=tuple(map(trie, text.threads)))
    again = tuple(token for thread in text.threads for part in thread for token in part.tokens)
    learned = (*[0.0] * len(again), *text.then.weights)
    then = replace(text.then, tokens=(*again, *text.then.tokens), weights=learned)
    return replace(text, threads=(*map(trie, text.threads), trie(then)), then=None)


def apart(text: Text, view: View = View(), position: int = 0) -> list[tuple[View, Span]]:  # noqa: B008
    """The views and the open spans of branches that are never joined; none of them sees another."""
    span = Span(position, view, text.tokens, voice=text.voice)
    seen = view + [span.whole()]
    below = [end for thread in text.threads for end in apart(thread, seen, span.end)]
    return below or [(view, span)]


def last_branch(text: Text, join: Join) -> tuple[View, Span]:
    """The view and the open span that the engine would hold at the end of the demonstration."""
    if join == "reprefill":
        return View(), Span(0, View(), [token for part in text for token in part.tokens])
    return _follow(text, View(), 0)


def woven(text: Text, slot: int) -> list[tuple[View, Span]]:
    """The views and the open spans of threads that see each other."""
    root = Span(0, View(), text.tokens)
    seen = View() + [root.whole()]
    spans = [Span(root.end + i * slot, seen, thread.tokens) for i, thread in enumerate(text.threads)]
    Weave(spans, len(seen), "slots" if slot else "shared", root.end)
    return [(seen, span) for span in spans]


def _follow(text: Text, view: View, position: int) -> tuple[View, Span]:
    span = Span(position, view, text.tokens, voice=text.voice)
    if text.then is None:
        return view, span
    seen, position = view + [span.whole()], span.end
    pieces: list[Piece] = []
    ends = [position]
    for thread in text.threads:
        below, last = _follow(thread, seen, span.end)
        pieces += (below + [last.whole()]).after(len(seen))
        ends.append(last.end)
    return _follow(text.then, seen + pieces, max(ends))


def collate(sequences: Sequence[Packed], pad: int) -> Batch:
    """Pad to the longest. Padding must see itself: a row that sees nothing is NaN in a softmax."""
    rows, length = len(sequences), max(map(len, sequences))
    tokens = torch.full((rows, length), pad)  # [B, T]
    positions, voices = torch.zeros(2, rows, length, dtype=torch.int64)  # [B, T]
    weights = torch.zeros(rows, length)  # [B, T]
    visible = torch.eye(length, dtype=torch.bool).repeat(rows, 1, 1)  # [B, T, T]
    for row, sequence in enumerate(sequences):
        end = len(sequence)
        tokens[row, :end] = sequence.tokens
        positions[row, :end] = sequence.positions
        weights[row, :end] = sequence.weights
        voices[row, :end] = sequence.voices
        visible[row, :end, :end] = sequence.visible
    return Batch(tokens, positions, visible, weights, voices, sum(map(len, sequences)))


def batches(sequences: Iterable[Packed], budget: int) -> Iterator[list[Packed]]:
    """Cut sequences, sorted by length, into batches of at most ``budget`` tokens, padding counted."""
    batch: list[Packed] = []
    for sequence in sorted(sequences, key=len):
        if batch and (len(batch) + 1) * len(sequence) > budget:
            yield batch
            batch = []
        batch.append(sequence)
    if batch:
        yield batch
