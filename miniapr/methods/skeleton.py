"""Parallel reasoning with a model that was never trained for it, by asking: an outline, a thread for each point, a
conclusion (the shape is that of Skeleton-of-Thought, Ning et al. 2023, with a conclusion that has read all threads).

    user       question, and: write an outline       assistant   1. ...  2. ...  3. ...
    user       write point 1                         assistant   ...                    thread 1
    user       write point 2                         assistant   ...                    thread 2, beside it
    user       write the conclusion                  assistant   ...                    after the join

Each thread is an ordinary turn of the chat, so the joined text is an ordinary chat as well: re-prefilled it is just
what the model knows, and only the stitches ask something new of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..engine.branch import Branch
from ..engine.operations import All, Decode, Extend, Join, Start
from ..engine.request import Program
from ..engine.sampling import Sampling
from .moves import fork

OUTLINE = "{question}\n\nFirst write only an outline of the answer: a numbered list of three or four short headings."
# Small models do what they are shown, not what they are told.
EXAMPLE = "How do I make a good cup of tea?"
EXAMPLE_OUTLINE = "1. Fresh water\n2. Good leaves\n3. The right heat\n4. Enough time"
POINT = 'Now write two or three sentences about point {number}, "{point}".'
CONCLUDE = "Now put all points together: answer the question in one short paragraph."
# Put in the assistant's mouth: a small model goes on as it was begun, and not always as it was asked.
FIRST, ABOUT, IN_SHORT = "1.", "As for {point},", "In short,"
OUTLINE_TOKENS = 120
LONGEST_POINT = 12  # words: small models write a paragraph where a heading was asked for


class Talk(Protocol):
    """How to speak to a model; a ``Tokenizer`` with a chat template is one. See there."""

    @property
    def ends(self) -> frozenset[int]: ...

    def encode(self, text: str, start: bool = True) -> list[int]: ...

    def chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]: ...

    def turn(self, text: str) -> list[int]: ...


def skeleton(
    question: str,
    talk: Talk,
    how: str = "stitch",
    sampling: Sampling | None = None,
    width: int = 8,
    max_tokens: int | None = None,
) -> Program:
    """Answer a question by outline, threads and conclusion. Gives the root branch, whose ``completion`` is the
    conclusion, or the outline if it has no points to fork into. ``max_tokens``: of each thread, and of the conclusion.
    """
    method = Skeleton(question, talk, width, max_tokens)
    root = yield Start(method.prompt, sampling or Sampling())
    threads = yield from method.plan(root)
    if threads:
        yield All([method.think(thread) for thread in threads])
        yield Join(root, threads, how, then=method.then)
        yield from method.conclude(root, how)
    return root


@dataclass(frozen=True)
class Skeleton:
    """The steps of ``skeleton``, one by one."""

    question: str
    talk: Talk
    width: int = 8
    max_tokens: int | None = None

    @property
    def prompt(self) -> list[int]:
        shown = [
            {"role": "user", "content": OUTLINE.format(question=EXAMPLE)},
            {"role": "assistant", "content": EXAMPLE_OUTLINE},
        ]
        asked = {"role": "user", "content": OUTLINE.format(question=self.question)}
        return self.talk.chat([*shown, asked]) + self.talk.encode(FIRST, start=False)

    @property
    def then(self) -> list[int]:
        """What the joined branch goes on with; the last thread has ended its turn."""
        return self._next_turn(CONCLUDE, IN_SHORT, ended=bool(self.talk.ends))

    def plan(self, root: Branch) -> Program:
        """Write the outline and fork into its points. Gives the threads; none if there are no points."""
        (done,) = yield Decode([root], until=self.talk.ends, max_tokens=OUTLINE_TOKENS)
        points = read_points(FIRST + done.text, min(self.width, root.request.limits.width))
        if not points:
            return []
        ended = root.history[-1] in self.talk.ends
        seeds = [
            self._next_turn(
                POINT.format(number=number, point=point), ABOUT.format(point=point[:1].lower() + point[1:]), ended
            )
            for number, point in enumerate(points, start=1)
        ]
        return (yield from fork(root, seeds))

    def think(self, thread: Branch) -> Program:
        """Write out one point. A thread cut short by a limit is closed, so that what is joined is well formed."""
        yield Decode([thread], until=self.talk.ends, max_tokens=self.max_tokens)
        if self.talk.ends and thread.history[-1] not in self.talk.ends:
            yield Extend(thread, self.talk.turn("")[:1])

    def conclude(self, joined: Branch, how: str) -> Program:
        yield Decode([joined], until=self.talk.ends, max_tokens=self.max_tokens)

    def _next_turn(self, text: str, begun: str, ended: bool) -> list[int]:
        """The user says ``text``, and the answer is begun; without the end of the turn before if that has ended."""
        ids = self.talk.turn(text) + self.talk.encode(begun, start=False)
        return ids[1:] if ended and ids[0] in self.talk.ends else ids


def read_points(text: str, width: int) -> list[str]:
    """The points of a numbered list, each once and cut to twelve words, at most ``width``. Whatever the model wrote has
    a meaning: lines that are not numbered are left out."""
    points: dict[str, None] = {}
    for line in text.splitlines():
        found = re.match(r"\s*\d+\s*[.):]\s*(.*)", line)
        words = re.sub(r"<\|[^|]*\|>", "", found[1]).split() if found else []
        point = " ".join(words[:LONGEST_POINT]).strip(" *_\"':.,;")
        if point and len(points) < width:
            points[point] = None
    return list(points)
