"""What stands where an engine has keys and values: nothing is held, and there is always room."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from ..kv.cache import KVCache
from ..kv.pool import BlockPool
from ..kv.span import Piece, Span
from ..model.checks import LARGEST
from ..model.config import ModelConfig

UNKNOWN = torch.empty(1, 0), 0  # in the place of logits: a server of text has some, and does not tell


class NoPool(BlockPool):
    """Of no layers and no blocks: whatever is asked of it fits."""

    def __init__(self) -> None:
        super().__init__(1, 1, 0, 0, 0)

    def blocks_for(self, tokens: int) -> int:
        return 0


class NoKeys(KVCache):
    """What holds keys and values where there are none."""

    def __init__(self) -> None:
        super().__init__(NoPool(), reuse_prefixes=False)

    def hold(self, pieces: Iterable[Piece], times: int = 1) -> None:
        pass

    def drop(self, pieces: Iterable[Piece]) -> None:
        pass

    def drop_open(self, span: Span) -> None:
        pass


def text_config(context: int, vocabulary: int) -> ModelConfig:
    """What is known of the model: which tokens there are, and how many it can see; what is not known is as many as a
    model can have."""
    return ModelConfig(min(vocabulary, LARGEST), 1, 1, 1, 1, 1, 2, max_position_embeddings=min(context, LARGEST))


def no_copy(source: Span, target: Span, by: int) -> None:
    raise AssertionError("there is nothing to copy")
