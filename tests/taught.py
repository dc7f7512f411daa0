"""A model that writes what the teacher would: demonstrations as a script, so that a run can be compared with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from scripted import Scripted

from miniapr.model.bundle import Bundle
from miniapr.model.tokenizer import Tokenizer
from miniapr.tasks.trace import Trace, Words
from miniapr.tasks.words import CONTROL, LATER, build_tokenizer, control


def texts(trace: Trace, before: Words = ()) -> Iterator[Words]:
    """What is read and written, once for each stretch of writing: all that the model sees by then, in its order."""
    yield (seen := (*before, *trace.given, *trace.written))
    for thread in trace.threads:
        yield from texts(thread, seen)
    if trace.then:
        yield from texts(trace.then, (*seen, *(word for thread in trace.threads for word in whole(thread))))


def whole(trace: Trace) -> Iterator[str]:
    """The text as it is read in line."""
    for one in trace:
        yield from (*one.given, *one.written)


class Taught(Scripted):
    """``demonstrate``: the trace of a prompt, given its words up to the colon that ends it or, of a child, the step."""

    def __init__(self, demonstrate: Callable[[Words], Trace], **options: Any) -> None:
        self.known: dict[Words, list[Words]] = {}
        self.demonstrate = demonstrate
        super().__init__(self._next, **options)
        self.words = self.tokenizer = Tokenizer(build_tokenizer(LATER))  # type: ignore[assignment]

    @property
    def bundle(self) -> Bundle:
        return Bundle("taught", None, self.words, control(LATER), {"ranges": {}})  # type: ignore[arg-type]

    def _next(self, words: list[str]) -> str:
        end = words.index(":") + 1 + (words[1] == CONTROL["child"])
        prompt = tuple(words[:end])
        if prompt not in self.known:
            self.known[prompt] = list(texts(self.demonstrate(prompt)))
        for text in self.known[prompt]:
            if text[: len(words)] == tuple(words) and len(text) > len(words):
                return text[len(words)]
        if tuple(words) in self.known[prompt]:
            return CONTROL["eos"]  # it has ended; what is computed after it is not sampled
        raise AssertionError(f"the teacher has never seen: {' '.join(words)}")
