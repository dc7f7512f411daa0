"""What a branch needs, said to a server, and what comes, understood: in token ids, or in text."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from ..engine.branch import Branch, Goal
from ..model.tokenizer import Tokenizer
from .answers import Chunk, ServerError


@dataclass(frozen=True)
class Speech:
    """``as_text``: prompts and answers are text, since the server does not speak in token ids, or they are not known.

    context  how many tokens the model can see
    most     tokens of one completion
    """

    tokenizer: Tokenizer
    as_text: bool
    context: int
    most: int

    def body(self, branch: Branch) -> dict[str, Any]:
        """What is still missing of a decoding branch, as the body of a completion."""
        goal, sampling, cost = branch.goal, branch.sampling, branch.request.cost
        assert goal
        left = goal.begun + goal.limit - len(branch.generated), branch.request.limits.tokens - cost.decoded
        body: dict[str, Any] = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": random.Random(f"{sampling.seed}/{branch.path}/{len(branch.generated)}").getrandbits(31),
            "max_tokens": max(1, min(*left, self.context - branch.position, self.most)),
        }
        body |= {"top_k": sampling.top_k} if sampling.top_k else {}
        body |= {"min_p": sampling.min_p} if sampling.min_p else {}
        stops = list(goal.stream.stops) if goal.stream else []
        if self.as_text:
            stops += self._unseen(goal)
            body["prompt"] = self.tokenizer.decode(branch.history)
        else:
            ends = sorted(goal.tokens)
            body |= {"prompt": branch.history, "return_token_ids": True, "ignore_eos": True, "stop_token_ids": ends}
        return body | ({"stop": stops} if stops else {})

    def tokens(self, chunk: Chunk) -> list[int]:
        """Raises ServerError for what this vocabulary does not have."""
        if self.as_text:
            return self.tokenizer.encode(chunk.text, start=False)
        if chunk.ids is None and chunk.text:
            raise ServerError(-1, "the server does not return token ids: ask it in text")
        ids, size = chunk.ids or [], len(self.tokenizer)
        if max(ids, default=0) >= size:
            raise ServerError(-1, f"the server sent token {max(ids)}, which is not in the vocabulary of {size}")
        return ids

    def end_token(self, goal: Goal, reason: str | int | None) -> int | None:
        """The token that ended a text, which servers of text cut off, and many do not name: if it can only be one of
        those that were to end it, the first of them, else none."""
        if not self.as_text:
            return None
        names = self._unseen(goal)
        if isinstance(reason, str) or (goal.stream and goal.stream.stops):
            return names.get(str(reason))
        return next(iter(names.values()), None)

    def _unseen(self, goal: Goal) -> dict[str, int]:
        """The tokens that are to end it and that a server of text does not show, by their names: control tokens. Any
        other is seen when it comes, and was no end of its own if it never comes."""
        return {self.tokenizer.decode([id]): id for id in sorted(goal.tokens) if id in self.tokenizer.control}
