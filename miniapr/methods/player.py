"""How a problem is put to a model, and how its words are read back: one player for each (task, model) pair.

A method knows no task and a task knows no method; what they say to each other goes through roles. The usual ones:

    role      ask(problem, *texts)             read(problem, text) gives
    chain     the prompt                       the answer, None if there is none; or a State that has it
    step      the prompt                       a State: where the text so far has come to; None: nowhere
    propose   the text so far                  steps to go on with, as lists of tokens
    value     the text so far                  how good it looks: 0 (hopeless) to 1 (sure)
    vote      the texts, one each              the number of the best, None for an invalid vote
    skeleton, point, split, sort, merge, apart, improve, parent, child, call, ...: see the methods that need them
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..engine.branch import Branch
from ..engine.sampling import Sampling
from .grammar import Control
from .outcome import Candidate


class LacksRole(ValueError):
    """A player does not play what is needed. ``needs``: all that is."""

    def __init__(self, message: str, needs: Iterable[str]) -> None:
        super().__init__(message)
        self.needs = tuple(needs)


@dataclass(frozen=True)
class State:
    """Where a line of thought stands.

    key     equal for two lines that stand at the same place: the second is a duplicate
    final   it has come to its end; then ``answer`` is what it answers
    value   known without asking anyone, such as that of a line that says itself that it failed
    unsaid  it has no step left and did not say yet how it ended: a search has it written on (by ``chain``), and reads
            it again, before anyone judges it
    """

    key: Hashable
    final: bool = False
    answer: str | None = None
    value: float | None = None
    unsaid: bool = False


@dataclass(frozen=True)
class Role:
    """One way of asking.

    ask    (problem, *texts) -> tokens that put the question
    read   (problem, text) -> what the text means. Never raises, whatever the model wrote
    ends   tokens that end what is written
    stop   strings that end it
    most   tokens of one answer; None: as many as the budget has
    """

    ask: Callable[..., Sequence[int]]
    read: Callable[[Any, str], Any]
    ends: frozenset[int] = frozenset()
    stop: tuple[str, ...] = ()
    most: int | None = None


@dataclass(frozen=True)
class Player:
    """A model that plays a task.

    check     the task's exact verifier: (problem, answer) -> whether it is right
    sampling  where tries must differ; where one line is written, it is written greedily
    control   of a model that forks by itself
    context   tokens that the model can see; None: nobody knows
    """

    name: str
    roles: Mapping[str, Role]
    check: Callable[[Any, str | None], bool] | None = None
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=1.0))
    control: Control | None = None
    context: int | None = None

    def __getitem__(self, role: str) -> Role:
        self.require((role,))
        return self.roles[role]

    def lacks(self, needs: Iterable[str]) -> list[str]:
        """What of it this player cannot do."""
        have = {*self.roles, *(["exact"] if self.check else []), *(["control"] if self.control else [])}
        return sorted(set(needs) - have)

    def require(self, needs: Iterable[str], who: str = "") -> None:
        """Raises LacksRole, in one sentence, for what this player cannot do. ``who`` needs it, if that is known."""
        needs = tuple(needs)
        if missing := self.lacks(needs):
            wanted = f", which {who} needs" if who else ""
            raise LacksRole(f"{self.name} does not play {', '.join(missing)}{wanted}", needs)

    @property
    def greedy(self) -> Sampling:
        return replace(self.sampling, temperature=0.0)

    def seeded(self, seed: int) -> Player:
        """The same player with other dice."""
        return replace(self, sampling=replace(self.sampling, seed=seed))

    def answer(self, problem: Any, text: str, role: str = "chain") -> str | None:
        """The answer that a text holds."""
        found = self[role].read(problem, text)
        return found.answer if isinstance(found, State) else found

    def candidate(self, problem: Any, branch: Branch, score: float | None = None, role: str = "chain") -> Candidate:
        """What a branch has come to, read by a role."""
        text = written(branch)
        return Candidate(self.answer(problem, text, role), text, score, branch.id)


def written(branch: Branch) -> str:
    """All that was written since the prompt, by the branch and by those it forked from, in the order it sees it."""
    root = branch
    while root.parent:
        root = root.parent
    return branch.request.tokenizer.decode(branch.history[root.first :])
