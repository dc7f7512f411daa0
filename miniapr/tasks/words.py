"""The words of the models that know roles: one token for an integer, a step, a verdict, a control word.

A step is one token too, a *label*: ``a*c`` is the product of the first and the third of the numbers that are left. So
a plan costs a token a thread, and an answer a token a step.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

from tokenizers import Tokenizer

from .countdown import OPERATORS
from .vocabulary import HIT, LIMIT, MISS, word_level

PLACES = "abcd"  # of the numbers that are left
LABELS = {f"{PLACES[i]}{op}{PLACES[j]}": (i, op, j) for i, j in combinations(range(len(PLACES)), 2) for op in OPERATORS}
SURE, LIKELY, NEVER = "sure", "likely", "never"
PARTS = ("left", "right")
ROLES = (
    "chain", "value", "propose", "sequential", "adaptive", "child", "parent", "sort", "merge", "path", "worker",
)  # fmt: skip
# Those that came later: a vocabulary has the words of those that its model knows, behind all others, so no id moves.
LATER = ("organizer", "outline")
WORDS = (*LABELS, "->", ":", ",", HIT, MISS, SURE, LIKELY, NEVER, *PARTS, "<unk>")
# Without a word between the items of a plan: each token of it is one.
CONTROL = {
    "bos": "<bos>",
    "eos": "<eos>",
    "pad": "<pad>",
    "plan": "<plan>",
    "plan_end": "</plan>",
    "thread": "<thread>",
    "thread_end": "</thread>",
    "join": "<join>",
    **{role: f"<{role}>" for role in ROLES},
}


def control(roles: Iterable[str] = ()) -> dict[str, str]:
    """The control words of a model that knows these roles."""
    known = set(roles)
    return {**CONTROL, **{role: f"<{role}>" for role in LATER if role in known}}


def build_tokenizer(roles: Iterable[str] = ()) -> Tokenizer:
    """The tokenizer of these words, and of those roles that came later; the id of the integer n is n."""
    return word_level([*map(str, range(LIMIT + 1)), *WORDS], control(roles).values())
