"""Graph-of-Thoughts by prompts, on any question: smaller questions, their answers, and one answer that has read them
(Besta et al. 2023, arXiv 2308.09687, whose own prompts are for sorting, counting and merging documents)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..methods.player import Role
from ..methods.skeleton import IN_SHORT, read_points
from .speech import Speech

# With three tries of everything and a value for each, these come to less than a budget of 1000 tokens.
PARTS, SPLIT_TOKENS, PART_TOKENS, MERGE_TOKENS = 3, 60, 60, 90
SPLIT = "Don't answer yet. Write a numbered list of two or three smaller questions, each about one part of {what}."
ANSWER = "Now answer only this part, in one or two sentences: {asked}"
MERGE = "Now put the answers to its parts together: answer the question in one short paragraph."
MERGE_PART = "Now put the answers to its parts together, in one short paragraph: {asked}"
TOLD = "{question}\n\nWhat was found about its parts:\n{answers}\n\n" + MERGE
IMPROVE = "Is anything in this wrong or missing? Write it again, and better."


@dataclass(frozen=True)
class Part:
    """A smaller question, and the one it is a part of. As a text it stands alone: who reads no more knows what it is
    about."""

    asked: str
    whole: Any

    def __str__(self) -> str:
        return f"{self.whole}\n\nAnswer only this part of it, in one or two sentences: {self.asked}"


def graph(speech: Speech) -> dict[str, Role]:
    """The roles of the method. A Part is asked behind the list that it stands in, any other question alone. A text
    that is no list of at least two divides nothing, and of a longer one the first are taken."""

    def split(part: Any, depth: str) -> Sequence[int]:
        if isinstance(part, Part):
            return speech.goes_on(f"{part.asked}\n\n{SPLIT.format(what='this')}", "1.")
        return speech.says(f"{part}\n\n{SPLIT.format(what='this question')}", "1.")

    def parts(part: Any, text: str) -> list[Part]:
        return [Part(asked, part) for asked in read_points(f"1.{speech.plain(text)}", PARTS)]

    def answer(part: Any) -> Sequence[int]:
        return speech.goes_on(ANSWER.format(asked=part.asked)) if isinstance(part, Part) else speech.says(str(part))

    def merge(part: Any) -> Sequence[int]:
        asked = MERGE_PART.format(asked=part.asked) if isinstance(part, Part) else MERGE
        return speech.goes_on(asked, IN_SHORT)

    def merged(part: Any, text: str) -> str | None:
        said = speech.plain(text)
        return f"{IN_SHORT} {said}" if said else None

    def told(part: Any, *answers: str) -> Sequence[int]:
        lines = "\n".join(f"- {speech.plain(one)}" for one in answers if one)
        return speech.says(TOLD.format(question=part, answers=lines or "(nothing)"), IN_SHORT)

    def improve(part: Any, text: str) -> Sequence[int]:
        return speech.goes_on(IMPROVE)

    ends = speech.ends
    return {
        "split": Role(split, parts, ends, most=SPLIT_TOKENS),
        "sort": Role(answer, speech.answer, ends, most=PART_TOKENS),
        "merge": Role(merge, merged, ends, most=MERGE_TOKENS),
        "apart": Role(told, lambda part, text: str(part)),
        "improve": Role(improve, speech.answer, ends, most=MERGE_TOKENS),
    }
