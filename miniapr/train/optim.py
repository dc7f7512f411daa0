"""Muon for the matrices inside the blocks, AdamW for everything else.

Muon (Jordan et al. 2024, github.com/KellerJordan/Muon) replaces the momentum of a weight matrix by the
nearest orthogonal matrix, found by five Newton-Schulz steps: every direction is learned at the same pace,
which trains a tiny model in about half the tokens. Embeddings, head, norms and voices are no linear maps between
hidden spaces; they take AdamW (Loshchilov & Hutter 2019).
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # quintic chosen for the fastest growth of small singular values


def fast_bfloat16() -> bool:
    """Whether this CPU multiplies in bfloat16. One that only emulates it is several times slower than in float32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def orthogonalize(matrices: Tensor, steps: int = 5) -> Tensor:
    """The orthogonal factor of each matrix, roughly: singular values land near 1, in about [0.7, 1.2].

    matrices [N, R, C] -> [N, R, C], in bfloat16 where that is faster (the iteration forgives rounding).
    """
    a, b, c = COEFFICIENTS
    x = matrices.bfloat16() if matrices.is_cuda or fast_bfloat16() else matrices
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x  # the smaller side first: the Gram matrix is then the smaller one
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)  # the largest singular value is at most 1
    for _ in range(steps):
        gram = x @ x.mT  # [N, R, R]
        x = a * x + (b * gram + c * gram @ gram) @ x
    x = x.mT if tall else x
    out: Tensor = x.to(matrices.dtype)
    return out


class Optimizer:
    """Both update rules over the named parameters of one model.

    Owns one momentum per block matrix and two moments per other parameter; ``tensors`` and ``load`` move them
    to and from a checkpoint by name. Never keeps gradients.

    muon_rate  None: AdamW for the matrices too
    """

    def __init__(
        self,
        model: nn.Module,
        muon_rate: float | None = 0.02,
        adam_rate: float = 4e-3,
        *,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.95),
        decay: float = 0.0,
    ) -> None:
        self.muon_rate, self.adam_rate, self.momentum = muon_rate, adam_rate, momentum
        self.betas, self.decay, self.step_count = betas, decay, 0
        named = dict(model.named_parameters())
        self.matrices = {
            name: p
            for name, p in named.items()
            if muon_rate is not None and p.ndim == 2 and ".layers." in name and name.endswith("weight")
        }
        self.others = {name: p for name, p in named.items() if name not in self.matrices}
        self.state = {f"muon.{name}": torch.zeros_like(p) for name, p in self.matrices.items()}
        for moment in ("first", "second"):
            self.state |= {f"{moment}.{name}": torch.zeros_like(p) for name, p in self.others.items()}

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """One update from the gradients, at ``scale`` times the base rates."""
        self.step_count += 1
        if self.muon_rate is not None:
            self._muon(scale * self.muon_rate)
        self._adam(scale * self.adam_rate)

    def _muon(self, rate: float) -> None:
        groups: dict[torch.Size, list[str]] = defaultdict(list)
        for name, p in self.matrices.items():
            groups[p.shape].append(name)
        for shape, names in groups.items():
            parameters: list[Tensor] = [self.matrices[name] for name in names]
            gradients = [_gradient(p) for p in parameters]
            momenta = [self.state[f"muon.{name}"] for name in names]
            torch._foreach_lerp_(momenta, gradients, 1 - self.momentum)
            updates = torch._foreach_lerp(gradients, momenta, self.momentum)  # Nesterov
            # A matrix that writes into more dimensions than it reads from needs a longer step for the same
            # effect.
            length = rate * max(1.0, shape[0] / shape[1]) ** 0.5
            directions = orthogonalize(torch.stack(tuple(updates)))  # [N, R, C]
            torch._foreach_mul_(parameters, 1 - rate * self.decay)
            torch._foreach_add_(parameters, list(directions.unbind()), alpha=-length)

    def _adam(self, rate: float) -> None:
        parameters = list(self.others.values())
        gradients = [_gradient(p) for p in parameters]
        first = [self.state[f"first.{name}"] for name in self.others]
        second = [self.state[f"second.{name}"] for name in self.others]
        beta1, beta2 = self.betas
        torch._foreach_lerp_(first, gradients, 1 - beta1)
        torch._foreach_lerp_(second, torch._foreach_mul(gradients, gradients), 1 - beta2)
        correct1, correct2 = 1 - beta1**self.step_count, 1 - beta2**self.step_count
        for p, m, v in zip(parameters, first, second, strict=True):
            p.addcdiv_(m / correct1, (v / correct2).sqrt_().add_(1e-10), value=-rate)

    def tensors(self) -> dict[str, Tensor]:
        """All state by name, for a checkpoint."""
        return dict(self.state)

    def load(self, tensors: dict[str, Tensor], step_count: int) -> None:
        """Take state back from a checkpoint. Raises KeyError naming what is missing."""
        self.step_count = step_count
        for name, tensor in self.state.items():
            tensor.copy_(tensors[name])


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
