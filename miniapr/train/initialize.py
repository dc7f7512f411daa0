"""A start that already knows what a number is.

Addition is easy for a network whose number embeddings are waves: the sum of two angles is a rotation (trained
networks find this basis by themselves, Nanda et al., arXiv 2301.05217), and multiplication is addition of
logarithms. Giving the embeddings and the head these features at the start, trainable like all else, saves the
minutes it takes to discover them. From a small random start the same budget learned nothing at all.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..model.config import ModelConfig
from ..model.decoder import Decoder
from ..ops.packed import plain
from ..tasks.vocabulary import LIMIT

PERIODS = (2, 3, 4, 5, 7, 8, 10, 11, 13, 16, 20, 25, 32, 40, 50, 64, 80, 100, 128, 200, 256, 400, 512, 800)
LOG_PERIODS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 12.0, 16.0)  # in units of log2


def number_features(count: int, width: int) -> Tensor:
    """Waves of n and of log n for n = 0..count-1: [count, width], zero where the features end."""
    n = torch.arange(count, dtype=torch.float64)
    turns = [n / period for period in PERIODS] + [torch.log2(n + 1) / period for period in LOG_PERIODS]
    waves = [wave(2 * math.pi * turn) for turn in turns for wave in (torch.cos, torch.sin)]
    features = torch.zeros(count, width, dtype=torch.float64)
    used = min(width, len(waves))
    features[:, :used] = torch.stack(waves[:used], dim=1)
    return features.float()


def initialize(config: ModelConfig, seed: int) -> Decoder:
    """A decoder with numbers as waves and everything else random, from ``seed`` alone.

    Matrices inside the blocks: std 1/sqrt(fan in), and zero for those that write into the residual stream,
    so the model starts as a table of bigrams. Voices are zero: at first all speak alike. Other embeddings:
    std 0.7; much less and the verdict is never learned.
    """
    generator = torch.Generator().manual_seed(seed)
    model = Decoder(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim < 2:
                continue
            if name.endswith(("o_proj.weight", "down_proj.weight", "voices")):
                parameter.zero_()
            else:
                std = 0.7 if "embed_tokens" in name else parameter.shape[1] ** -0.5
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
        waves = number_features(LIMIT + 1, config.hidden_size)
        for matrix, share in ((model.model.embed_tokens, 0.7), (model.lm_head, config.hidden_size**-0.5)):
            plain(matrix.weight)[: LIMIT + 1].mul_(0.3).add_(waves * share)
    return model
