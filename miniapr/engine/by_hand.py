"""The operations as plain calls: a tree driven by a person, one operation at a time.

    root = engine.start("3 7 8 -> 29 :")
    engine.decode([root], until=["</plan>"])
    left, right = engine.fork(root, 2)

Each call runs a program of one operation and steps the engine until it is done; whatever else runs on
the engine gets on meanwhile.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from ..kv.cache import KVCache
from . import operations
from .branch import Branch, Completion, Limits, Tree
from .branching import Branching
from .commits import Commit, Commits
from .events import Census
from .joins import Join
from .operations import Tokens
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
    commits: Commits
    census: Census
    lock: threading.RLock

    @abstractmethod
    def submit(self, program: Program | None = None, limits: Limits | None = None) -> Request: ...

    @abstractmethod
    def drive(self, request: Request) -> None: ...

    @abstractmethod
    def end(self, tree: Tree, state: str) -> None: ...

    def start(
        self,
        prompt: Tokens,
        sampling: Sampling | None = None,
        limits: Limits | None = None,
    ) -> Branch:
        """A new tree. Its blocks are kept until ``release``, unless others need them: then they are computed again."""
        request = self.submit(limits=limits)
        try:
            branch: Branch = self.perform(request, operations.Start(prompt, sampling or Sampling()))
        except Exception:
            self.end(request, "aborted")
            raise
        return branch

    def decode(
        self,
        branches: Sequence[Branch],
        until: str | Iterable[int | str] = (),
        stop: str | Sequence[str] = (),
        max_tokens: int | None = None,
        keep_stop: bool = False,
    ) -> list[Completion]:
        """See :class:`~miniapr.engine.operations.Decode`."""
        if len(branches) == 0:
            return []
        operation = operations.Decode(branches, until, stop, max_tokens, keep_stop)
        done: list[Completion] = self.perform(branches[0], operation)
        return done

    def settle(self, branch: Branch) -> Branch:
        """Compute a branch up to its last token: then ``branch.logits`` says what comes next."""
        self.perform(branch, operations.Settle([branch]))
        return branch

    def extend(self, branch: Branch, tokens: Tokens) -> Branch:
        """Append given text or tokens."""
        self.perform(branch, operations.Extend(branch, tokens))
        return branch

    def fork(
        self,
        branch: Branch,
        seeds: int | Sequence[Tokens],
        keep: int | None = None,
        voices: Sequence[int] | None = None,
    ) -> list[Branch]:
        """See :class:`~miniapr.engine.operations.Fork`."""
        children: list[Branch] = self.perform(branch, operations.Fork(branch, seeds, keep, voices))
        return children

    def weave(self, branches: Sequence[Branch], positions: str = "shared", slot: int | None = None) -> list[Branch]:
        """See :class:`~miniapr.engine.operations.Weave`."""
        woven: list[Branch] = self.perform(branches[0], operations.Weave(branches, positions, slot))
        return woven

    def share(self, branch: Branch) -> Branch:
        """See :class:`~miniapr.engine.operations.Share`."""
        self.perform(branch, operations.Share(branch))
        return branch

    def join(
        self,
        parent: Branch,
        branches: Sequence[Branch],
        how: str | Join = "stitch",
        then: Tokens = (),
        keep: bool = False,
    ) -> Branch:
        """See :class:`~miniapr.engine.operations.Join`."""
        joined: Branch = self.perform(parent, operations.Join(parent, branches, how, then, keep))
        return joined

    def release(self, branch: Branch) -> None:
        """Let a branch and its children go; with its last branch the tree ends."""
        with self.lock:
            self.branching.close(branch, "released")
            request = self.scheduler.requests.get(branch.request.id)
            if request and request.by_hand and not request.living:
                self.end(request, "finished")
            self.census.tell()

    def commit(self, branch: Branch) -> Commit:
        """Remember the whole tree of a branch as it is now, to come back by ``checkout``. Costs no computing and no
        copying; its blocks are kept until ``forget``, unless others need them: then they are computed again."""
        with self.lock:
            return self.commits.commit(self._by_hand(branch))

    def checkout(self, commit: Commit) -> None:
        """Put the tree back to where it was: its branches go on as if nothing had happened since. Branches that did
        not exist then are "undone", until a checkout of a later commit."""
        with self.lock:
            request = self._by_hand(next(iter(commit.branches)))
            self.commits.checkout(commit)
            self.scheduler.rest(request)

    def forget(self, commit: Commit) -> None:
        """Let a commit's blocks go."""
        with self.lock:
            self.commits.forget(commit)

    def perform(self, branch: Branch | Tree, operation: Operation) -> Any:
        """One operation on a tree driven by hand. A mistake of the user's leaves the tree as it was."""
        with self.lock:
            request = self._by_hand(branch)
            request.task = Task(_only(operation), request)
            self.scheduler.wake(request)
        try:
            self.drive(request)
        finally:  # also after Ctrl-C between two steps: nobody decodes on unasked
            with self.lock:
                request.task.close()
                for one in request.living:
                    one.end("aborted")
                self.scheduler.rest(request)
        error, request.hand_error = request.hand_error, None
        if error:
            raise error
        return request.task.value

    def _by_hand(self, what: Branch | Tree) -> Request:
        """The request that is driven by hand. Raises ValueError for any other."""
        if not isinstance(what, Branch | Tree):
            raise ValueError(f"a branch is wanted, not {what!r}")
        tree = what.request if isinstance(what, Branch) else what
        request = self.scheduler.requests.get(tree.id)
        if request is None or request is not tree:
            ended = f"request {tree.id} was {tree.state}"
            raise ValueError(ended if tree.state != "running" else f"request {tree.id} is another engine's")
        if not request.by_hand or not request.idle:
            raise ValueError(f"request {request.id} is driven by a program")
        return request
