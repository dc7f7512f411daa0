"""The operations as plain calls: a tree driven by a person, one operation at a time.

    root = engine.start("3 7 8 -> 29 :")
    engine.decode([root], until=["</plan>"])
    left, right = engine.fork(root, 2)

Each call runs a program of one operation and steps the engine until it is done; whatever else runs on
the engine gets on meanwhile.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from ..kv.cache import KVCache
from . import commits, operations
from .branch import Branch, Completion, Limits
from .branching import Branching
from .commits import Commit
from .joins import Join
from .request import Operation, Program, Request, Task
from .sampling import Sampling
from .scheduler import Scheduler


def _only(operation: Operation) -> Program:
    return (yield operation)


class ByHand(ABC):
    """What :class:`~miniapr.engine.engine.Engine` offers to a person at a prompt."""

    kv: KVCache
    branching: Branching
    scheduler: Scheduler
    told: Any

    @abstractmethod
    def tell(self) -> None: ...

    @abstractmethod
    def submit(self, program: Program | None = None, limits: Limits | None = None) -> Request: ...

    @abstractmethod
    def drive(self, request: Request) -> None: ...

    @abstractmethod
    def end(self, request: Request, state: str) -> None: ...

    def start(
        self,
        prompt: str | Sequence[int],
        sampling: Sampling | None = None,
        limits: Limits | None = None,
    ) -> Branch:
        """A new tree. Its blocks are kept until ``release``, unless others need them: then they are computed again."""
        request = self.submit(limits=limits)
        try:
            branch: Branch = self.perform(request, operations.Start(prompt, sampling or Sampling()))
        except ValueError:
            self.end(request, "aborted")
            raise
        return branch

    def decode(
        self,
        branches: Sequence[Branch],
        until: Iterable[int | str] = (),
        stop: str | Sequence[str] = (),
        max_tokens: int | None = None,
        keep_stop: bool = False,
    ) -> list[Completion]:
        """See :class:`~miniapr.engine.operations.Decode`."""
        if not branches:
            return []
        operation = operations.Decode(branches, until, stop, max_tokens, keep_stop)
        done: list[Completion] = self.perform(branches[0].request, operation)
        return done

    def settle(self, branch: Branch) -> Branch:
        """Compute a branch up to its last token: then ``branch.logits`` says what comes next."""
        self.perform(branch.request, operations.Settle([branch]))
        return branch

    def extend(self, branch: Branch, tokens: str | Sequence[int]) -> Branch:
        """Append given text or tokens."""
        self.perform(branch.request, operations.Extend(branch, tokens))
        return branch

    def fork(self, branch: Branch, seeds: int | Sequence[Sequence[int]]) -> list[Branch]:
        """See :class:`~miniapr.engine.operations.Fork`."""
        children: list[Branch] = self.perform(branch.request, operations.Fork(branch, seeds))
        return children

    def join(
        self,
        parent: Branch,
        branches: Sequence[Branch],
        how: str | Join = "stitch",
        then: Sequence[int] = (),
        keep: bool = False,
    ) -> Branch:
        """See :class:`~miniapr.engine.operations.Join`."""
        joined: Branch = self.perform(parent.request, operations.Join(parent, branches, how, then, keep))
        return joined

    def release(self, branch: Branch) -> None:
        """Let a branch and its children go; with its last branch the tree ends."""
        self.branching.close(branch, "released")
        if branch.request.by_hand and not branch.request.alive:
            self.end(branch.request, "finished")
        self.tell()

    def commit(self, branch: Branch) -> Commit:
        """Remember the whole tree of a branch as it is now, to come back by ``checkout``. Costs no computing and no
        copying; its blocks are kept until ``forget``, unless others need them: then they are computed again."""
        self._by_hand(branch.request)
        return commits.commit(self, branch.request)

    def checkout(self, commit: Commit) -> None:
        """Put the tree back to where it was: its branches go on as if nothing had happened since. Branches that did
        not exist then are "undone", until a checkout of a later commit."""
        self._by_hand(commit.request)
        commits.checkout(self, commit)

    def forget(self, commit: Commit) -> None:
        """Let a commit's blocks go."""
        commits.forget(self, commit)

    def perform(self, request: Request, operation: Operation) -> Any:
        """One operation on a tree driven by hand. A ValueError leaves the tree as it was."""
        self._by_hand(request)
        request.task = Task(_only(operation), request)
        try:
            self.drive(request)
        finally:  # also after Ctrl-C between two steps: nobody decodes on unasked
            request.task.close()
            for branch in request.alive:
                branch.end("aborted")
        error, request.hand_error = request.hand_error, None
        if error:
            raise error
        return request.task.value

    @staticmethod
    def _by_hand(request: Request) -> None:
        if request.state != "running":
            raise ValueError(f"request {request.id} was {request.state}")
        if not request.by_hand or not request.idle:
            raise ValueError(f"request {request.id} is driven by a program")
