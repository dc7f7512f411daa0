"""Any chat model: methods that were made for prompts, by prompts. It shows what a method does and costs; how good the
answers are is the model's affair."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..engine.sampling import Sampling
from ..methods.player import Player, Role, State
from ..methods.skeleton import ABOUT, CONCLUDE, IN_SHORT, OUTLINE, POINT, read_points
from ..model.bundle import Bundle
from .game import Game
from .parts import graph
from .speech import Speech
from .team import team

STEP_TOKENS, LINE_SENTENCES = 40, 3
SO_FAR = "{question}\n\nThe answer so far: {text}\n\n"
PROPOSE = SO_FAR + "Write three different ways to go on, one sentence each: a numbered list."
VALUE = "{question}\n\nAn answer: {text}\n\nIs this answer right? Say only: sure, likely or impossible."
VALUED = "This answer is"  # as small models begin anyway, and then have no tokens left for the word
VOTE = "{question}\n\n{choices}\n\nWhich of these is best? Say only its number."
ROUTE = (
    "{question}\n\nDon't answer yet. Can the answer be a list of points, each written without reading the others? "
    "Say only yes or no."
)
# ParaThinker's own words, in place of its tokens
THOUGHT = "Thought {}: "
SUMMARY = "By analyzing multiple reasoning processes above, I concluded that: The final answer is"
VALUES = {"sure": 1.0, "likely": 1 / 20, "impossible": 0.001 / 20}


def talking(bundle: Bundle, temperature: float = 1.0) -> Game:
    """A step is a sentence, a line of thought has three. Raises ValueError for a model without a chat template."""
    talk = bundle.tokenizer
    speech = Speech(talk)
    sentence = frozenset(talk.encode(mark)[-1] for mark in ".!?")
    roles = {**_lines(speech, sentence), **_outlines(speech), **graph(speech), **team(speech)}
    return Game(Player(f"the model {bundle.name}", roles, None, Sampling(temperature=temperature)), str)


def _lines(speech: Speech, sentence: frozenset[int]) -> dict[str, Role]:
    """Answers, written whole or by the step, and questions about them. ``sentence``: tokens that end one."""
    plain, ends = speech.plain, speech.ends

    def state(question: str, text: str) -> State | None:
        said = plain(text)
        final = len(re.findall(r"[.!?](?:\s|$)", said)) >= LINE_SENTENCES or speech.ended(text)
        return State(said, final, said if final else None) if said else None

    def vote(question: str, *texts: str) -> Sequence[int]:
        choices = "\n".join(f"{i}. {plain(text)}" for i, text in enumerate(texts, start=1))
        return speech.says(VOTE.format(question=question, choices=choices))

    def number(question: str, text: str) -> int | None:
        found = re.search(r"\d{1,3}", text)
        return int(found[0]) - 1 if found else None

    def value(question: Any, text: str) -> float:
        """Of a text with none of the words, 0."""
        return VALUES.get(_first_of(VALUES, text) or "", 0.0)

    def proposals(question: str, text: str) -> list[list[int]]:
        return [speech.words(f" {point}.") for point in read_points(f"1.{plain(text)}", 8)]

    def path(question: str, number: str = "") -> Sequence[int]:
        return speech.words(THOUGHT.format(number)) if number else speech.says(question)

    whole = speech.asks("{question}")
    return {
        "chain": Role(whole, speech.answer, ends),
        "step": Role(whole, state, ends | sentence, most=STEP_TOKENS),
        "propose": Role(speech.asks(PROPOSE, "1."), proposals, ends, most=120),
        "value": Role(speech.asks(VALUE, VALUED), value, ends, most=4),
        "vote": Role(vote, number, ends, most=4),
        "path": Role(path, lambda question, text: plain(text), ends, most=200),
        "summary": Role(lambda question: speech.words(f"\n\n{SUMMARY}"), speech.answer, ends),
    }


def _outlines(speech: Speech) -> dict[str, Role]:
    """An outline and its points, asked apart or in one conversation."""
    plain, ends = speech.plain, speech.ends

    def point(question: str, outline: str, number: str, point: str) -> Sequence[int]:
        asked = POINT.format(number=number, point=point)
        said = f"{question}\n\nAn outline of the answer:\n1.{plain(outline)}\n\n{asked}"
        return speech.says(said, ABOUT.format(point=point))

    def expand(question: str, outline: str, number: str, point: str) -> Sequence[int]:
        return speech.goes_on(POINT.format(number=number, point=point), ABOUT.format(point=point))

    def written(question: str, text: str) -> str:
        return plain(text)

    def points(question: str, text: str) -> list[str]:
        return read_points(f"1.{plain(text)}", 8)

    def suits(question: str, text: str) -> bool:
        """A reply that is neither yes nor no is a no: it is answered as any question is."""
        return _first_of(("yes", "no"), text) == "yes"

    return {
        "route": Role(speech.asks(ROUTE), suits, ends, most=4),
        "skeleton": Role(speech.asks(OUTLINE, "1."), points, ends, most=120),
        "point": Role(point, written, ends, most=120),
        "expand": Role(expand, written, ends, most=120),
        "conclude": Role(
            lambda question: speech.goes_on(CONCLUDE, IN_SHORT),
            lambda question, text: f"{IN_SHORT} {plain(text)}",
            ends,
        ),
    }


def _first_of(words: Sequence[str] | dict[str, float], text: str) -> str | None:
    """Which of these words a text says first, in whatever case."""
    found = re.search(rf"\b({'|'.join(words)})\b", text.lower())
    return found[1] if found else None
