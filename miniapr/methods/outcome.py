"""What a method comes to: an answer, who chose it, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Candidate:
    """One line of thought that could have been the answer. ``score``: the judge's, higher is better."""

    answer: str | None
    text: str
    score: float | None = None
    branch: int | None = None


@dataclass(frozen=True)
class Thought:
    """A branch as it ended: a node of the tree. ``parent``: the branch it forked from. ``text``: what it was given and
    wrote itself; what it joined is told where it was written."""

    branch: int
    parent: int | None
    text: str
    decoded: int
    end: str  # "joined", "released" (by the method, before its end), "ended" (with all others, at its end), "aborted"
    joins: tuple[int, ...] = ()  # branches that it took up


@dataclass(frozen=True)
class Costs:
    """What a run took, in exact counts of the engine (of a server: as far as it tells).

    decoded          tokens sampled, in all branches, for whatever purpose
    critical         of these, the longest chain of tokens that had to wait for one another
    prefilled        tokens computed other than just sampled
    recomputed       of those, tokens whose keys and values had existed before
    reused           tokens whose keys and values were taken over as they are: at a fork the prefix, once for each
                     child, at a join, and from the prefix cache. A child that never writes counts as well, so a
                     search that forks one for each proposed step and drops many has more of it than ``resent``
    resent           tokens that a client of a text-only server would have sent: the whole text, for every decoding. Of
                     a weave too few: to see each other's words as they are written, clients would send them one by one
    saved            ``resent`` less ``prefilled``: what such a server without a prefix cache would have computed more
                     than was computed here, since branches share what they see (forks, joins that recompute nothing)
                     and keep it when they go on after a stop. Questions to the model (values, votes) count like all
                     else: put once, forked for each answer. Below 0 where more was computed than anybody would have
                     sent: a prompt without an answer, what was computed again when the pool was full
    largest_context  tokens that one token had before it, at most
    most_blocks      of the pool in use at the same time
    passes, seconds  forward passes, and the time in them
    """

    decoded: int = 0
    critical: int = 0
    prefilled: int = 0
    recomputed: int = 0
    reused: int = 0
    resent: int = 0
    saved: int = field(init=False)
    largest_context: int = 0
    most_blocks: int = 0
    passes: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "saved", self.resent - self.prefilled)


@dataclass(frozen=True)
class Outcome:
    """How a method ends.

    answer      None: it has none
    candidates  all that it chose from, the chosen one included
    judge       who chose: "none" (there was nothing to choose), "vote", "confidence", "value" (the model's own),
                or "exact" (the task's verifier: best-of-N with it is pass@N)
    spent       the budget ended it: the answer is the best so far
    note        what was done otherwise than the method has it, and why; empty: nothing
    """

    answer: str | None
    candidates: tuple[Candidate, ...] = ()
    judge: str = "none"
    spent: bool = False
    costs: Costs = field(default_factory=Costs)
    tree: tuple[Thought, ...] = ()
    note: str = ""
