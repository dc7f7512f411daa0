"""What an operation is given: text or tokens, and branches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import index
from typing import Any

from ..model.tokenizer import Tokenizer
from .branch import Branch

Tokens = str | Sequence[int | str]  # text (control tokens cannot enter this way), or ids and names of tokens


def token_ids(tokenizer: Tokenizer, given: Any) -> list[int]:
    """Ids of text that goes on after other tokens, or of a sequence (a list, an array, a tensor) of ids of any integer
    kind and names of tokens. Raises ValueError for anything else."""
    if isinstance(given, str):
        return list(tokenizer.encode(given, start=False))
    try:
        items = given.tolist() if hasattr(given, "tolist") else list(given)
        return [token_id(tokenizer, item) for item in items]
    except TypeError as error:
        raise ValueError(f"tokens are text or a sequence of ids, not {given!r}") from error


def token_id(tokenizer: Tokenizer, given: Any) -> int:
    """The id of a token: itself, or its name. Raises ValueError for what is neither."""
    if isinstance(given, str):
        return tokenizer.id(given)
    try:
        if isinstance(given, bool):
            raise TypeError
        return index(given)
    except TypeError as error:
        raise ValueError(f"a token is an id or a name, not {given!r}") from error


def branches_of(given: Any) -> list[Branch]:
    """Raises ValueError for anything but branches, or one given twice."""
    branches = list(given) if isinstance(given, Iterable) else [given]
    for branch in branches:
        if not isinstance(branch, Branch):
            raise ValueError(f"a branch is wanted, not {branch!r}")
    if len(set(branches)) != len(branches):
        raise ValueError("a branch is given twice")
    return branches
