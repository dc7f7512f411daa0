"""Any chat model: methods that were made for prompts, by prompts. It shows what a method does and costs; how good the
answers are is the model's affair."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ..engine.sampling import Sampling
from ..methods.player import Player, Role, State
from ..methods.skeleton import ABOUT, CONCLUDE, IN_SHORT, OUTLINE, POINT, read_points
from ..model.bundle import Bundle
from .game import Game

STEP_TOKENS, LINE_SENTENCES = 40, 3
SO_FAR = "{question}\n\nThe answer so far: {text}\n\n"
PROPOSE = SO_FAR + "Write three different ways to go on, one sentence each: a numbered list."
VALUE = "{question}\n\nAn answer: {text}\n\nIs this answer right? Say only: sure, likely or impossible."
VOTE = "{question}\n\n{choices}\n\nWhich of these is best? Say only its number."
# ParaThinker's own words, in place of its tokens
THOUGHT = "Thought {}: "
SUMMARY = "By analyzing multiple reasoning processes above, I concluded that: The final answer is"
# Group Think's prompts are not published; Hogwild!'s words are its own, as far as they are.
THINKERS = (
    "{question}\n\nSeveral thinkers work on this together, and read each other's words as they are written. Each does "
    "what no other does yet, and says the answer as soon as anyone has it."
)
TEAM = (
    "{question}\n\nYou work on this as one of a team. All write at the same time, each under a name, and read what the "
    "others write as they write it. Divide the work, don't repeat what others do, and use what they find."
)
NAMES = ("Alice", "Bob", "Carol", "Dave", "Erin", "Frank", "Grace", "Heidi")
NUDGE = "Quick check: am I doing redundant work? (yes/no): "
FINISH = (
    "Wait, given the limited time, I have to give an answer right now. Considering all that was found, the answer is"
)
VALUES = {"sure": 1.0, "likely": 1 / 20, "impossible": 0.001 / 20}


def talking(bundle: Bundle, temperature: float = 1.0) -> Game:
    """A step is a sentence, a line of thought has three. Raises ValueError for a model without a chat template."""
    talk = bundle.tokenizer
    ends = talk.ends
    sentence = frozenset(talk.encode(mark)[-1] for mark in ".!?")

    def asks(prompt: str, begun: str = "") -> Callable[..., Sequence[int]]:
        def ask(question: str, text: str = "", *more: str) -> Sequence[int]:
            said = prompt.format(question=question, text=plain(text) or "(nothing yet)")
            return [*talk.chat([{"role": "user", "content": said}]), *(talk.encode(begun) if begun else [])]

        return ask

    def plain(text: str) -> str:
        """Without the marks of the chat."""
        return re.sub(r"<\|[^|]*\|>", "", text).strip()

    def state(question: str, text: str) -> State | None:
        said = plain(text)
        count = len(re.findall(r"[.!?](?:\s|$)", said))
        final = count >= LINE_SENTENCES or len(said) < len(text.strip())  # the turn has ended
        return State(said, final, said if final else None) if said else None

    def vote(question: str, *texts: str) -> Sequence[int]:
        choices = "\n".join(f"{i}. {plain(text)}" for i, text in enumerate(texts, start=1))
        return talk.chat([{"role": "user", "content": VOTE.format(question=question, choices=choices)}])

    def number(question: str, text: str) -> int | None:
        found = re.search(r"\d{1,3}", text)
        return int(found[0]) - 1 if found else None

    def value(question: str, text: str) -> float:
        word = re.search("|".join(VALUES), text.lower())
        return VALUES[word[0]] if word else 0.0

    def proposals(question: str, text: str) -> list[list[int]]:
        return [talk.encode(f" {point}.") for point in read_points(f"1.{text}", 8)]

    def point(question: str, outline: str, number: str, point: str) -> Sequence[int]:
        said = (
            f"{question}\n\nAn outline of the answer:\n1.{plain(outline)}\n\n{POINT.format(number=number, point=point)}"
        )
        return [*talk.chat([{"role": "user", "content": said}]), *talk.encode(ABOUT.format(point=point))]

    def expand(question: str, outline: str, number: str, point: str) -> Sequence[int]:
        asked = POINT.format(number=number, point=point)
        return [*talk.turn(asked), *talk.encode(ABOUT.format(point=point))]

    def begins(prompt: str, beginning: Callable[..., str]) -> Callable[..., Sequence[int]]:
        """Asked for no more than the question: the prompt. For the number of a branch: the words by which it begins."""

        def ask(question: str, *numbers: str) -> Sequence[int]:
            if numbers:
                return talk.encode(beginning(*map(int, numbers)))
            return talk.chat([{"role": "user", "content": prompt.format(question=question)}])

        return ask

    def step_of(number: int, step: int) -> str:
        name = NAMES[(number - 1) % len(NAMES)]
        greeting = f"Hi, I'm {name}. " + ("Here's how we can" if number == 1 else "") if step == 1 else ""
        return f"**{name} [{step}]:** {greeting}"

    def at_work(question: str, text: str) -> State | None:
        """Done where the turn has ended."""
        said = plain(text)
        return State(said, len(said) < len(text.strip()), said or None) if said else None

    whole = asks("{question}")
    roles = {
        "chain": Role(whole, lambda question, text: plain(text) or None, ends),
        "step": Role(whole, state, ends | sentence, most=STEP_TOKENS),
        "propose": Role(asks(PROPOSE, "1."), proposals, ends, most=120),
        "value": Role(asks(VALUE), value, ends, most=4),
        "vote": Role(vote, number, ends, most=4),
        "skeleton": Role(asks(OUTLINE, "1."), lambda question, text: read_points("1." + text, 8), ends, most=120),
        "point": Role(point, lambda question, text: plain(text), ends, most=120),
        "expand": Role(expand, lambda question, text: plain(text), ends, most=120),
        "path": Role(begins("{question}", THOUGHT.format), lambda question, text: plain(text), ends, most=200),
        "summary": Role(
            lambda question: talk.encode(f"\n\n{SUMMARY}"), lambda question, text: plain(text) or None, ends
        ),
        "thinker": Role(begins(THINKERS, "Thinker {}: ".format), lambda question, text: plain(text) or None, ends),
        "teammate": Role(begins(TEAM, step_of), at_work, ends, stop=("\n\n",)),
        "nudge": Role(lambda question: talk.encode(NUDGE), lambda question, text: text),
        "finish": Role(lambda question: talk.encode(f"\n\n{FINISH}"), lambda question, text: plain(text) or None, ends),
        "conclude": Role(
            lambda question: [*talk.turn(CONCLUDE), *talk.encode(IN_SHORT)],
            lambda question, text: f"{IN_SHORT} {plain(text)}",
            ends,
        ),
    }
    player = Player(f"the model {bundle.name}", roles, None, Sampling(temperature=temperature))
    return Game(player, str)
