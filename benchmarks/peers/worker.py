"""What every peer's process does: answer one line of JSON with one line of JSON. Only the standard library.

    {"top": [tokens]}                              -> {"top": [[token, log-probability], ...]}, the 20 likeliest
    {"prefix": n, "branches": k, "seed": tokens}   -> {"ready": what it chose, in words}
    {"burst": n}                                   -> {"seconds": [n numbers]}, one decoded token of each branch each

A peer is a class with the methods ``top``, ``prepare`` and ``step``. Prefix and branches are prepared outside the
clock; what is timed is one token for every branch, the logits of all of them included.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any, Protocol


class Peer(Protocol):
    def top(self, tokens: list[int]) -> list[list[float]]: ...

    def prepare(self, prefix: list[int], branches: int) -> str: ...

    def step(self) -> None: ...


def serve(peer: Peer) -> None:
    """Answer until the input ends. The answers have a channel of their own: libraries print what they like."""
    answers = os.fdopen(int(os.environ["MINIAPR_PEER_ANSWERS"]), "w")

    def answer(**what: Any) -> None:
        answers.write(json.dumps(what) + "\n")
        answers.flush()

    answer(ready="loaded")
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if "top" in asked:
                answer(top=peer.top(asked["top"]))
            elif "prefix" in asked:
                answer(ready=peer.prepare(asked["prefix"], asked["branches"]))
            else:
                answer(seconds=[_seconds(peer) for _ in range(asked["burst"])])
        except Exception as error:
            answer(error=f"{type(error).__name__}: {error}")


def _seconds(peer: Peer) -> float:
    begun = time.perf_counter()
    peer.step()
    return time.perf_counter() - begun


def top(logits: Any, count: int = 20) -> list[list[float]]:
    """The likeliest tokens with their log-probabilities, of a numpy row of logits."""
    import numpy as np

    row = np.asarray(logits, dtype=np.float64)
    row = row - row.max()
    row -= np.log(np.exp(row).sum())
    order = np.argsort(-row)[:count]
    return [[int(token), float(row[token])] for token in order]
