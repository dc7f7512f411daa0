"""The operations in plain PyTorch: any dtype, any device, nothing hidden. The other backends are
measured against this one.

Layout of one layer of the pool (``NB`` blocks of ``B`` tokens, ``H`` key/value heads of ``D``):

    k_cache  [NB, H, D, B]   keys are transposed inside a block, so that one query scores B keys at once
    v_cache  [NB, H, B, D]

A slot is ``block * B + offset``. ``copy_blocks`` and ``shift_keys`` act on all layers: [L, NB, ...].
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .packed import Norm, Weight, plain
from .plan import AttentionPlan

name = "reference"


def write_kv(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, slots: Tensor) -> None:
    """Store new keys and values of one layer.

    k, v   [N, H, D]
    slots  [N] int64, -1: this row is not stored
    """
    block_size = v_cache.shape[2]
    kept = slots >= 0
    block, offset = slots[kept] // block_size, slots[kept] % block_size  # [M]
    k_cache[block, :, :, offset] = k[kept].to(k_cache.dtype)  # [M, H, D]
    v_cache[block, :, offset, :] = v[kept].to(v_cache.dtype)  # [M, H, D]


def paged_attention(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    plan: AttentionPlan,
    shift_cos: Tensor,
    shift_sin: Tensor,
    interleaved: bool,
) -> Tensor:
    """Softmax attention of every row over all the runs that it sees; each run is read once.

    q                     [N, Hq, D], already rotated to its own position
    shift_cos, shift_sin  [S, D / 2], the rotation by *minus* each of plan.shifts
    returns               [N, Hq, D]

    The state of a partial result is (value, log-sum-exp), natural logarithm; states merge exactly
    (FlashInfer, Ye et al. 2025, section 3). The state of "saw nothing" is (0, -inf); merging such
    states gives it again, so a row without edges returns zeros, never 0/0 (faults F65, F71).
    """
    rows, q_heads, head_dim = q.shape
    kv_heads, block_size = k_cache.shape[1], k_cache.shape[3]
    work = torch.promote_types(q.dtype, torch.float32)
    query = q[plan.edge_row.long()].to(work)  # [E, Hq, D]
    if plan.shifted:
        turn = plan.edge_shift.long()
        query = rotate(query, shift_cos[turn, None].to(work), shift_sin[turn, None].to(work), interleaved)
    query = query.view(-1, kv_heads, q_heads // kv_heads, head_dim) / math.sqrt(head_dim)  # [E, H, G, D]

    # 1. The state of every edge, run by run.
    value, lse = torch.empty_like(query), query.new_empty(query.shape[:3])  # [E, H, G, D], [E, H, G]
    known = (name, block_size, q.device)
    if known not in plan.prepared:
        plan.prepared[known] = list(_runs(plan, block_size, q.device))
    for edges, block, here, hidden in plan.prepared[known]:
        keys = k_cache[block].permute(0, 3, 1, 2).flatten(0, 1)[here].to(work)  # [n, H, D]
        values = v_cache[block].permute(0, 2, 1, 3).flatten(0, 1)[here].to(work)  # [n, H, D]
        score = torch.einsum("ehgd,nhd->ehgn", query[edges], keys)
        score = score.masked_fill(hidden[:, None, None], -math.inf)
        lse[edges] = score.logsumexp(-1)
        value[edges] = torch.einsum("ehgn,nhd->ehgd", (score - lse[edges, ..., None]).exp(), values)

    # 2. Merge the states of each row.
    value, lse = value.flatten(1, 2), lse.flatten(1, 2)  # [E, Hq, D], [E, Hq]
    row = plan.edge_row.to(q.device, torch.int64)
    nothing = lse.new_full((rows, q_heads), -math.inf)
    top = nothing.scatter_reduce(0, row[:, None].expand_as(lse), lse, "amax")  # [N, Hq]
    weight = (lse - top[row]).exp()  # [E, Hq]
    total = lse.new_zeros(rows, q_heads).index_add(0, row, weight)
    out: Tensor = value.new_zeros(rows, q_heads, head_dim).index_add(0, row, value * weight[..., None])
    return (out / total.clamp_min(1e-30)[..., None]).to(q.dtype)  # a row with an edge has total >= 1


def _runs(plan: AttentionPlan, block_size: int, device: torch.device) -> Iterator[tuple[slice, Tensor, slice, Tensor]]:
    """Of each run that is seen: its edges, the blocks [b], which of their tokens, and what is hidden from whom [e, n].

    Nothing beyond the last visible token is touched: a slot not yet written may hold NaN, and NaN times a weight of
    zero is NaN (fault F65).
    """
    block_ptr, edge_ptr, first = plan.block_ptr.tolist(), plan.edge_ptr.tolist(), plan.first.tolist()
    for run in range(plan.runs):
        edges = slice(edge_ptr[run], edge_ptr[run + 1])
        visible = plan.edge_visible[edges].to(device)  # [e]; a plan lies on the host
        if len(visible):
            length = int(visible.max())
            end = block_ptr[run] + -(-(first[run] + length) // block_size)
            here = slice(first[run], first[run] + length)
            hidden = torch.arange(length, device=device) >= visible[:, None]
            yield edges, plan.blocks[block_ptr[run] : end].long(), here, hidden


def copy_blocks(k_cache: Tensor, v_cache: Tensor, source: Tensor, target: Tensor) -> None:
    """Copy whole blocks in all layers: ``source[i]`` to ``target[i]``.

    k_cache         [L, NB, H, D, B]
    v_cache         [L, NB, H, B, D]
    source, target  [M] int64; no block may be in both, nor twice in target (fault F25: chains)
    """
    k_cache[:, target] = k_cache[:, source]
    v_cache[:, target] = v_cache[:, source]


def shift_keys(
    k_cache: Tensor, blocks: Tensor, turn: Tensor, shift_cos: Tensor, shift_sin: Tensor, interleaved: bool
) -> None:
    """Turn every key of the given blocks, in all layers, in place. Values carry no position.

    k_cache               [L, NB, H, D, B]
    blocks                [M] int64, each once
    turn                  [M] int64, which row of the tables applies to each block
    shift_cos, shift_sin  [S, D / 2], the rotation by each shift
    """
    work = torch.promote_types(k_cache.dtype, torch.float32)
    keys = k_cache[:, blocks].transpose(-1, -2).to(work)  # [L, M, H, B, D]
    cos, sin = shift_cos[turn, None, None].to(work), shift_sin[turn, None, None].to(work)  # [M, 1, 1, D/2]
    k_cache[:, blocks] = rotate(keys, cos, sin, interleaved).transpose(-1, -2).to(k_cache.dtype)


def copy_and_shift(
    k_cache: Tensor,
    v_cache: Tensor,
    source: Tensor,
    target: Tensor,
    turn: Tensor,
    shift_cos: Tensor,
    shift_sin: Tensor,
    interleaved: bool,
) -> None:
    """``copy_blocks``, then ``shift_keys`` of the targets: a moved copy of a piece."""
    copy_blocks(k_cache, v_cache, source, target)
    shift_keys(k_cache, target, turn, shift_cos, shift_sin, interleaved)


def linear(x: Tensor, weights: Sequence[Weight], norm: Norm | None = None, add: Tensor | None = None) -> Tensor:
    """x, normed if there is a norm, times each weight; the results side by side, and ``add`` on top.

    x        [..., K]
    weights  [N_i, K] each, as they are or packed
    add      [..., sum N_i], or a bias [sum N_i]
    returns  [..., sum N_i]
    """
    x = normed(x, norm) if norm else x
    out = torch.cat([F.linear(x, plain(weight)) for weight in weights], -1)
    return out if add is None else add + out


def swiglu(x: Tensor, gate: Weight, up: Weight, norm: Norm | None = None) -> Tensor:
    """silu(x gate^T) * (x up^T), x normed if there is a norm (Shazeer 2020): [..., K] -> [..., N]"""
    x = normed(x, norm) if norm else x
    return F.silu(F.linear(x, plain(gate))) * F.linear(x, plain(up))


def normed(x: Tensor, norm: Norm) -> Tensor:
    """The norm over the last dimension: with a bias a LayerNorm, without one an RMSNorm."""
    if norm.bias is None:
        return rms_norm(x, norm)
    return F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps)


def rms_norm(x: Tensor, norm: Norm) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension; the mean in float32 at least."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + norm.eps)).to(x.dtype) * norm.weight


def rope(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool, norm: Norm | None = None) -> Tensor:
    """Every head of a row, normed if there is a norm, turned to the row's position (RoFormer, Su et al. 2021,
    section 3.2).

    x         [..., heads, D]
    cos, sin  [..., D / 2], float32 at least
    norm      its weight is [heads, D]: each head is normed by itself
    """
    x = normed(x, norm) if norm else x
    return rotate(x, cos.unsqueeze(-2), sin.unsqueeze(-2), interleaved).to(x.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
    """Turn each pair of the last dimension: (i, i + D/2), or (2i, 2i + 1) if ``interleaved``.

    x         [..., D]
    cos, sin  broadcastable to [..., D / 2]
    """
    if interleaved:
        a, b = x[..., 0::2], x[..., 1::2]  # [..., D / 2]
        return torch.stack((a * cos - b * sin, b * cos + a * sin), dim=-1).flatten(-2)
    a, b = x.chunk(2, dim=-1)  # [..., D / 2]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def sample(
    logits: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor, uniform: Tensor
) -> tuple[Tensor, Tensor]:
    """A token for each row, by inverting the cumulative distribution, the likeliest token first, at the row's own
    number: so who else is in the batch changes nothing. Equal logits keep the order of their ids.

    logits       [M, V]
    temperature  [M] float64; 0: the likeliest token, whatever else is asked for
    top_k        [M] int64: keep the k likeliest, 0: all
    top_p        [M] float64: then the smallest set of likeliest tokens that holds this much probability (Holtzman et
                 al. 2020)
    min_p        [M] float64: then those at least this fraction as likely as the likeliest (Nguyen et al. 2024)
    uniform      [M] float64 in [0, 1)
    returns      tokens [M] int64, logprobs [M] float64 of the softmax of the logits as they are; on the host. A row
                 that holds NaN or +inf, or -inf only, has nothing to choose from: token -1, NaN.
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    tokens, warm = wide.argmax(-1), (temperature > 0).nonzero()[:, 0]  # [M], [W]
    if len(warm):  # where the logits are: sorting a vocabulary on the host costs more than a step of the model
        rows, where = warm.to(logits.device), logits.device
        heat, *cuts = (x[warm, None].to(where) for x in (temperature, top_k, top_p, min_p, uniform))  # [W, 1] each
        centred = (wide - wide.amax(-1, keepdim=True))[rows].double()  # [W, V]
        tokens[rows] = _draw(centred / heat, *cuts)
    picked = wide.log_softmax(-1).gather(1, tokens[:, None])[:, 0].double()  # [M]
    both = torch.stack((tokens.double(), picked)).cpu()  # [2, M]; one wait for the device. No id is beyond 2^53
    return both[0].long().masked_fill(both[1].isnan(), -1), both[1]


def _draw(logits: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor, uniform: Tensor) -> Tensor:
    """logits [W, V] float64, everything else [W, 1] -> [W] int64"""
    logits, order = logits.sort(dim=-1, descending=True, stable=True)
    cut = (torch.arange(logits.shape[1], device=logits.device) >= top_k) & (top_k > 0)
    p = logits.masked_fill(cut, -math.inf).softmax(-1)
    # Probability before each token: the first token always stays, even if it alone exceeds top_p.
    p = p.masked_fill(p.cumsum(-1) - p >= top_p, 0)
    p = p.masked_fill(p < min_p * p[:, :1], 0)
    edge = p.cumsum(-1)
    index = torch.searchsorted(edge, uniform * edge[:, -1:], right=True)  # [W, 1]
    last = (p > 0).sum(-1, keepdim=True) - 1  # rounding must not pick a token that was cut
    return order.gather(1, torch.minimum(index, last).clamp_min(0))[:, 0]
