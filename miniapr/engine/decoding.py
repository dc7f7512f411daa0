"""From logits to the next token of every branch that decodes, and where decoding ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..model.tokenizer import Tokenizer
from ..ops import Operations
from .branch import Branch, Tree
from .events import Log
from .request import Request
from .sampling import Token, sample, together, uniforms

Fail = Callable[[Tree, Exception], None]


class Decoding:
    """Samples for all branches at once. An error of one row ends that row's request (``fail``) and no other.

    context  positions that the model has
    Never does: compute logits, or keep anything of a branch.
    """

    def __init__(self, tokenizer: Tokenizer, ops: Operations, context: int, log: Log) -> None:
        self.tokenizer, self.ops, self.context, self.log = tokenizer, ops, context, log

    def step(self, requests: Iterable[Request], fail: Fail) -> None:
        """One token for each of their branches that can have one, the oldest request first."""
        ready: list[Branch] = []
        for request in requests:
            left = request.limits.tokens - request.cost.decoded  # so that no step decodes more than was allowed
            for branch in request.task.needs() if request.task else ():
                if branch.goal is None or branch.row is None:
                    continue
                if len(branch.generated) == branch.goal.begun and self._stop_if_reached(branch):
                    continue  # it begins at its end; any other was looked at when it got its last token
                if left <= 0:
                    self._stop(branch, "length")
                    continue
                ready.append(branch)
                left -= 1
        if not ready:
            return
        try:
            self._choose(ready, fail)
        except Exception:  # one row's fault must not be another's: choose one by one
            for branch in ready:
                try:
                    if branch.goal and branch.row:
                        self._choose([branch], fail)
                except Exception as error:
                    fail(branch.request, error)

    def _choose(self, branches: list[Branch], fail: Fail) -> None:
        warm = [branch for branch in branches if branch.sampling.temperature]
        for branch in warm:
            if branch.key is None:
                branch.key = branch.sampling.key(branch.path)
        numbers = iter(uniforms([b.key or 0 for b in warm], [b.drawn for b in warm]).tolist())
        drawn = [next(numbers) if branch.sampling.temperature else 0.0 for branch in branches]
        logits = together([branch.row for branch in branches if branch.row])  # [M, V]
        tokens = sample(logits, [branch.sampling for branch in branches], drawn, self.ops)
        for branch in warm:
            branch.drawn += 1
        for branch, token in zip(branches, tokens, strict=True):
            try:
                if branch.goal:  # its tree may have failed at a branch before it
                    self._accept(branch, token)
            except Exception as error:
                fail(branch.request, error)

    def _accept(self, branch: Branch, token: Token) -> None:
        span, goal = branch.span, branch.goal
        branch.sampled_at = len(span.tokens)
        span.tokens.append(token.id)
        branch.generated.append(token)
        branch.row = None
        branch.critical += 1
        branch.request.cost.decoded += 1
        text = goal.stream.push(token.id) if goal and goal.stream else None
        if self.log.on:
            self._tell_decoded(branch, token, text)
        self._stop_if_reached(branch)

    def _tell_decoded(self, branch: Branch, token: Token, text: str | None) -> None:
        decode = self.tokenizer.decode
        text = decode([token.id]) if text is None else text
        # What cannot be sampled has no finite logarithm, which JSON has no word for.
        said = [(id, max(logprob, -1e9), decode([id])) for id, logprob in token.alternatives]
        more = {"alternatives": said} if said else {}
        self.log.emit("decoded", branch.request, branch, token=token.id, text=text, logprob=token.logprob, **more)

    def _stop_if_reached(self, branch: Branch) -> bool:
        reason = branch.reached(self.context)
        if reason:
            self._stop(branch, reason)
        return reason is not None

    def _stop(self, branch: Branch, reason: str) -> None:
        branch.end(reason)
        self.log.emit("stopped", branch.request, branch, reason=reason)
