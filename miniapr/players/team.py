"""Several who think at the same time, by prompts: Group Think's thinkers, Hogwild!'s workers.

Group Think's prompts are not published. Of Hogwild!'s the headers, the beginnings, the nudge and the last words are its
own (Rodionov et al. 2025, arXiv 2504.06261, appendix C and its code); its rules are told in short, without examples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..methods.player import Role, State
from .speech import Ask, Speech

THINKERS = (
    "{question}\n\nSeveral thinkers work on this together, and read each other's words as they are written. Each does "
    "what no other does yet, and says the answer as soon as anyone has it."
)
TEAM = (
    "{question}\n\nYou work on this as one of a team. All write at the same time, each under a name, and read what the "
    "others write as they write it: first come the steps that are done, then what the others are about to say, then "
    "your own step. Divide the work, don't repeat what others do, and use what they find."
)
NAMES = ("Alice", "Bob", "Carol", "Dave", "Erin", "Frank", "Grace", "Heidi")
HEADERS = {
    "past": "### Past steps\n\n",
    "others": "### Work in progress (others)\n\n",
    "own": "<...>\n\n### Work in progress (own)\n\n",
}
STEP_ENDS = tuple(f"{mark}\n\n" for mark in ".?!…。？！")
NUDGE = "Quick check: am I doing redundant work? (yes/no): "
FINISH = (
    "Wait, given the limited time, I have to give an answer right now. Considering all that was found, the answer is"
)


def team(speech: Speech) -> dict[str, Role]:
    """The roles of both methods. Who ends its turn is done."""

    def begins(prompt: str, beginning: Callable[..., str]) -> Ask:
        """Asked for no more than the question: the prompt. For the number of a branch: the words by which it begins."""

        def ask(question: str, *numbers: str) -> Sequence[int]:
            if numbers:
                return speech.words(beginning(*map(int, numbers)))
            return speech.says(prompt.format(question=question))

        return ask

    def step_of(number: int, step: int) -> str:
        name = NAMES[(number - 1) % len(NAMES)]
        greeting = f"Hi, I'm {name}. " + ("Here's how we can" if number == 1 else "") if step == 1 else ""
        return f"**{name} [{step}]:** {greeting}"

    def at_work(question: str, text: str) -> State | None:
        said = speech.plain(text)
        return State(said, speech.ended(text), said) if said else None

    ends = speech.ends
    return {
        "thinker": Role(begins(THINKERS, "Thinker {}: ".format), speech.answer, ends),
        "teammate": Role(begins(TEAM, step_of), at_work, ends, stop=STEP_ENDS),
        "header": Role(lambda question, name: speech.words(HEADERS[name]), lambda question, text: text),
        "nudge": Role(lambda question: speech.words(NUDGE), lambda question, text: text),
        "finish": Role(lambda question: speech.words(f"\n\n{FINISH}"), speech.answer, ends),
    }
