# %% [markdown]
# # 3 Paged attention, three times
#
# In [chapter 2](02_kv_cache.ipynb) a text's keys lay in blocks all over the pool. To attend, we collected them:
# `keys[read]` copied the whole past into one new tensor, in every layer of every step. This chapter gets rid of the
# copy. You write one operation three times: in **torch**, where it is easy to understand; in **C++**, where it is
# fast; and in **CUDA**, for a GPU.
#
# Difference to the last chapter: the same keys in the same blocks, but nobody collects them.
#
# The C++ part needs a C++ compiler. The CUDA part runs on your GPU if you have one. If you have none, the same source
# runs on the CPU, in an emulator: slow, but it shows whether the kernel is right. No GPU time is shown that was not
# measured on yours.

# %%
# Installs miniapr where it is missing (on Colab, say): see chapter 0.
try:
    import miniapr
except ImportError:
    import os
    import subprocess
    import sys

    subprocess.run([sys.executable, "-m", "pip", "install", "-q", os.environ.get("MINIAPR", "..")], check=True)
    import miniapr

import math
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch

from miniapr import kernels, ops
from miniapr.kernels.compiling import cpu, cuda, emulated
from miniapr.kernels.loading import compile_module
from miniapr.ops import reference
from miniapr.show import draw

# %% [markdown]
# ## What there is to read
#
# A pool with blocks of 4 tokens, two key heads `H`, and 8 numbers in a head `D`. The layout is that of the engine:
#
# - `k_cache [blocks, H, D, 4]`: inside a block, keys are **transposed**. All 4 first numbers, then all 4 second
#   numbers, and so on.
# - `v_cache [blocks, H, 4, D]`: values are not.
#
# Why transposed? A processor works on several *neighbouring* numbers at once. A score is `q[0] * k[0] + q[1] * k[1]
# + ...`. With this layout, one instruction multiplies `q[0]` with the first number of many keys.
#
# Two texts lie in the pool, with 6 and 3 tokens. Every slot that no text uses holds NaN.

# %%
torch.manual_seed(0)
BLOCK, H, D, Q_HEADS = 4, 2, 8, 4  # four query heads: two share one key head
tables, lengths = [[5, 1], [2]], [6, 3]
k_cache, v_cache = torch.full((8, H, D, BLOCK), math.nan), torch.full((8, H, BLOCK, D), math.nan)
for table, length in zip(tables, lengths, strict=True):
    slots = torch.tensor([table[i // BLOCK] * BLOCK + i % BLOCK for i in range(length)])
    reference.write_kv(torch.randn(length, H, D), torch.randn(length, H, D), k_cache, v_cache, slots)
q = torch.randn(2, Q_HEADS, D)  # one new row for each text

written = ~v_cache[:, 0, :, 0].isnan()  # [blocks, 4]
assert written.sum() == 9
draw.matrix(written, [f"block {b}" for b in range(8)], range(BLOCK), "Slots that hold a token")

# %% [markdown]
# The second slot of a half-full block looks harmless. It is not: `0 * NaN` is NaN. An attention weight of zero does
# **not** remove what was never written. So a kernel must not *touch* it. (Exercise 3.2 is about engines that did.)
#
# ## Who reads what: a plan
#
# A kernel gets the tables as plain lists of integers. The engine makes them once per step, for all layers; it is
# called a **plan**:
#
# - a **run** is a table: a list of blocks;
# - an **edge** says: this row sees the first `visible` tokens of this run.
#
# Here each row has one edge. But a row may have several, and two rows may see the same run. That is all that forks
# will need in chapter 4, so the kernel you write now will do for them.

# %%
builder = ops.PlanBuilder()
for row, (table, length) in enumerate(zip(tables, lengths, strict=True)):
    builder.see(f"text {row}", table, first=0, visible=length, shift=0, rows=1, ramp=0)
    builder.end_rows(1)
plan = builder.build()
print("blocks      ", plan.blocks.tolist(), "  one table after the other")
print("block_ptr   ", plan.block_ptr.tolist(), "  run r has blocks[block_ptr[r] : block_ptr[r + 1]]")
print("edge_row    ", plan.edge_row.tolist(), "  edge 0 belongs to row 0, edge 1 to row 1")
print("edge_visible", plan.edge_visible.tolist())
assert plan.blocks.tolist() == [5, 1, 2] and plan.block_ptr.tolist() == [0, 2, 3]
assert plan.edge_visible.tolist() == lengths

# %% [markdown]
# ## First in torch, with the copy
#
# What we had: collect, then attend. This is our judge.


# %%
def collected(q, k_cache, v_cache):
    """q [rows, Q_HEADS, D] -> the same shape; each row attends to its own text."""
    out = torch.empty_like(q)
    for row, (table, length) in enumerate(zip(tables, lengths, strict=True)):
        keys = k_cache[table].permute(0, 3, 1, 2).flatten(0, 1)[:length]  # [length, H, D]: a copy
        values = v_cache[table].permute(0, 2, 1, 3).flatten(0, 1)[:length]  # [length, H, D]: a copy
        keys, values = (x.repeat_interleave(Q_HEADS // H, 1) for x in (keys, values))  # [length, Q_HEADS, D]
        weight = (torch.einsum("hd,nhd->hn", q[row], keys) / math.sqrt(D)).softmax(-1)
        out[row] = torch.einsum("hn,nhd->hd", weight, values)
    return out


truth = collected(q, k_cache, v_cache)
assert not truth.isnan().any()

# %% [markdown]
# ## A softmax that does not wait
#
# Without the copy we see one block after the other. But softmax wants *all* scores before it gives the first weight:
# it divides by the sum of all of them. Is there a way to add up values before the sum is known?
#
# Yes: **divide at the end.** Keep the sum of `exp(score)` and the sum of `exp(score) * value`; their quotient is the
# result. Only one thing goes wrong. Look at a score of 100:

# %%
print(torch.tensor(100.0).exp(), (torch.tensor(100.0) - 100).exp())
assert torch.tensor(100.0).exp().isinf()

# %% [markdown]
# `exp(100)` is too large for float32. So everyone subtracts the largest score first, which changes nothing in the
# quotient. But the largest score is not known yet either! So keep the largest **so far**, and when a larger one
# comes, correct the two sums: they were made with the old one, so multiply them by `exp(old - new)`.
#
# Three numbers and a vector are enough, however long the text is. This is the **online softmax**.
#
# Work it out by hand first. Scores 1, 3, 2, one at a time. After the score 3 has come, what is the sum?


# %%
def online(scores):
    top, total = -math.inf, 0.0
    for score in scores:
        new = max(top, score)
        total = total * math.exp(top - new) + math.exp(score - new)
        top = new
        print(f"score {score}: largest {top}, sum {total:.4f}")
    return top, total


top, total = online([1, 3, 2])
assert math.isclose(total, sum(math.exp(s - 3) for s in (1, 3, 2)))
assert math.isclose(math.exp(1 - 3) + 1, 1.1353, abs_tol=1e-4)  # after the second: the old 1 was worth exp(1 - 3)

# %% [markdown]
# Now the whole thing. For each row and each of its edges, block by block. `keys` and `values` below are *views*: slices
# of the pool, no copy.


# %%
def paged(q, k_cache, v_cache, plan):
    """q [rows, Q_HEADS, D] -> the same shape."""
    heads, size = k_cache.shape[1], k_cache.shape[3]
    out = torch.zeros_like(q)
    for row in range(plan.rows):
        query = q[row].view(heads, -1, q.shape[-1]) / math.sqrt(q.shape[-1])  # [H, G, D]
        top = torch.full(query.shape[:2], -math.inf, dtype=q.dtype)  # [H, G]
        total, value = torch.zeros_like(top), torch.zeros_like(query)  # [H, G], [H, G, D]
        for edge in plan.row_edges[plan.row_ptr[row] : plan.row_ptr[row + 1]].tolist():
            run = int((plan.edge_ptr <= edge).sum()) - 1
            first, visible = int(plan.first[run]), int(plan.edge_visible[edge])
            for number, block in enumerate(plan.blocks[plan.block_ptr[run] : plan.block_ptr[run + 1]].tolist()):
                begin, end = max(0, first - number * size), min(size, first + visible - number * size)
                if begin >= end:
                    continue
                keys, values = k_cache[block, :, :, begin:end], v_cache[block, :, begin:end]  # [H, D, n], [H, n, D]
                score = query @ keys  # [H, G, n]
                new = torch.maximum(top, score.amax(-1))
                factor, weight = (top - new).exp(), (score - new[..., None]).exp()
                total = total * factor + weight.sum(-1)
                value = value * factor[..., None] + weight @ values
                top = new
        if plan.row_ptr[row] < plan.row_ptr[row + 1]:  # a row that sees nothing stays zero, never 0 / 0
            out[row] = (value / total[..., None]).flatten(0, 1)
    return out


difference = float((paged(q, k_cache, v_cache, plan) - truth).abs().max())
print(f"largest difference to the collected one: {difference:.0e}")
assert difference < 1e-5

# %% [markdown]
# Right, and the NaN next door were never touched. But Python goes through it block by block; that is slow.
#
# ## Then in C++
#
# The same loops. In C++ a loop costs nothing, so the innermost ones go over single numbers. The compiler gets one
# file. First the part that all versions share: what a kernel is given. No torch in it, only addresses and sizes:

# %%
HEADER = r"""
#pragma once
#include <cstdint>

struct Job {
    const float *q, *k, *v;         // q [edges, heads, D]; k [blocks, H, D, B]; v [blocks, H, B, D]
    const int32_t *blocks, *begins; // of edge e: blocks[begins[e]], blocks[begins[e] + 1], ...
    const int32_t *first, *visible; // of edge e: its first slot in its first block, and how many tokens it sees
    const int32_t *row_ptr, *row_edges;
    float *out;                     // [rows, heads, D]
    int64_t rows, heads, group, D, B;  // group: query heads that share a key head
};

void attend(const Job& job);
"""

BINDINGS = r"""
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <vector>
#include "job.h"

template <class T> T* at(uint64_t address) { return reinterpret_cast<T*>(address); }

PYBIND11_MODULE(NAME, m) {
    m.def("attend", [](const std::vector<uint64_t>& a, const std::vector<int64_t>& n) {
        attend({at<const float>(a[0]), at<const float>(a[1]), at<const float>(a[2]), at<const int32_t>(a[3]),
                at<const int32_t>(a[4]), at<const int32_t>(a[5]), at<const int32_t>(a[6]), at<const int32_t>(a[7]),
                at<const int32_t>(a[8]), at<float>(a[9]), n[0], n[1], n[2], n[3], n[4]});
    });
}
"""

# %% [markdown]
# And the kernel. Read it beside the torch version. What is `at` in the line `const int64_t at = ...`, and why is it
# 64 bits wide? (Exercise 3.3 is about an engine that took 32.)

# %%
KERNEL = r"""
#include <algorithm>
#include <cmath>
#include <vector>
#include "job.h"

void attend(const Job& j) {
    const float scale = 1 / std::sqrt(float(j.D));
    std::vector<float> score(j.B), value(j.D);
    for (int64_t row = 0; row < j.rows; ++row)
        for (int64_t head = 0; head < j.heads; ++head) {
            float top = -INFINITY, total = 0;
            std::fill(value.begin(), value.end(), 0.0f);
            for (int32_t e = j.row_ptr[row]; e < j.row_ptr[row + 1]; ++e) {
                const int32_t edge = j.row_edges[e], end = j.first[edge] + j.visible[edge];
                const float* q = j.q + (edge * j.heads + head) * j.D;
                for (int64_t number = 0; number * j.B < end; ++number) {
                    const int64_t block = j.blocks[j.begins[edge] + number];
                    const int64_t at = (block * (j.heads / j.group) + head / j.group) * j.D * j.B;
                    const float *k = j.k + at, *v = j.v + at;
                    const int64_t from = std::max<int64_t>(0, j.first[edge] - number * j.B);
                    const int64_t to = std::min<int64_t>(j.B, end - number * j.B);

                    for (int64_t t = from; t < to; ++t) score[t] = 0;
                    for (int64_t d = 0; d < j.D; ++d)            // neighbours in t: many at once
                        for (int64_t t = from; t < to; ++t) score[t] += q[d] * scale * k[d * j.B + t];

                    float larger = top;
                    for (int64_t t = from; t < to; ++t) larger = std::max(larger, score[t]);
                    const float factor = std::exp(top - larger);
                    for (int64_t d = 0; d < j.D; ++d) value[d] *= factor;
                    total *= factor;
                    top = larger;
                    for (int64_t t = from; t < to; ++t) {
                        const float weight = std::exp(score[t] - top);
                        total += weight;
                        for (int64_t d = 0; d < j.D; ++d) value[d] += weight * v[t * j.D + d];
                    }
                }
            }
            for (int64_t d = 0; d < j.D; ++d)
                j.out[(row * j.heads + head) * j.D + d] = total > 0 ? value[d] / total : 0;
        }
}
"""

# %% [markdown]
# Compile it from here. `miniapr.kernels` writes a small file for **ninja**, which calls the compiler and loads
# what comes out. A compiler's error would be shown as it is.

# %%
folder = Path(tempfile.mkdtemp(prefix="miniapr-chapter-3-"))


def source(name, text):
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


source("cpp/job.h", HEADER)
source("cpp/bindings.cpp", BINDINGS.replace("NAME", "_native"))
source("cpp/attend.cpp", KERNEL)
begun = time.perf_counter()
native = compile_module(cpu(folder / "cpp"), folder / "cpp" / "build")
print(f"compiled in {time.perf_counter() - begun:.1f} s")

# %% [markdown]
# To call it, hand over addresses. `backend` makes of a compiled kernel an object that has everything that the engine
# wants of a **backend**: our own `paged_attention`, and the rest from the reference in plain torch. Where keys count
# as moved (chapter 7), the query is turned first; an edge therefore has a query of its own.


# %%
def backend(module, name, device="cpu"):
    """The reference with ``paged_attention`` taken from a compiled module, in float32."""

    def paged_attention(q, k_cache, v_cache, plan, shift_cos, shift_sin, interleaved):
        query, turn = q[plan.edge_row.long().to(q.device)], plan.edge_shift.long().to(q.device)  # [E, heads, D], [E]
        if plan.shifted:
            query = reference.rotate(query, shift_cos[turn, None], shift_sin[turn, None], interleaved)
        run = torch.repeat_interleave(torch.arange(plan.runs), plan.edge_ptr.diff().long())  # [E], of each edge
        lists = (plan.blocks, plan.block_ptr[run], plan.first[run], plan.edge_visible, plan.row_ptr, plan.row_edges)
        out = torch.empty_like(q)
        tensors = [query.float(), k_cache, v_cache, *lists, out]
        tensors = [tensor.to(device).contiguous() for tensor in tensors[:-1]] + [out]
        heads, group = q.shape[1], q.shape[1] // k_cache.shape[1]
        sizes = [plan.rows, heads, group, k_cache.shape[2], k_cache.shape[3]]
        module.attend([tensor.data_ptr() for tensor in tensors], sizes)
        return out

    rest = {name: value for name, value in vars(reference).items() if not name.startswith("_")}
    return SimpleNamespace(
        **{**rest, "paged_attention": paged_attention, "name": name, "dtypes": (torch.float32,), "device": device}
    )


mine = backend(native, "my C++")
no_turns = torch.ones(1, D // 2), torch.zeros(1, D // 2)
difference = float((mine.paged_attention(q, k_cache, v_cache, plan, *no_turns, False) - truth).abs().max())
print(f"largest difference to the collected one: {difference:.0e}")
assert difference < 1e-5

# %% [markdown]
# Right for two texts. For all others? `kernels.check` tries an operation, or all of them, on awkward sizes: blocks of 1
# and of 3, rows that see nothing, runs that begin inside a block, moved keys, NaN wherever nobody may look. It compares
# with the reference, computed in float64.

# %%
table = kernels.check(mine, ["paged_attention"])
print(table)
assert all(row.ok for row in table.rows)

# %% [markdown]
# **Guess first.** In the kernel, someone writes `t < j.B` in place of `t < to` in the last loop, "because the weights
# there are zero anyway". Does the check see it?

# %%
BROKEN = KERNEL.replace("t < to; ++t) {", "t < j.B; ++t) {")
BROKEN = BROKEN.replace("std::exp(score[t] - top);", "t < to ? std::exp(score[t] - top) : 0;")
assert BROKEN != KERNEL
source("cpp/attend.cpp", BROKEN)
broken = backend(compile_module(cpu(folder / "cpp"), folder / "cpp" / "build"), "broken")
(row,) = kernels.check(broken, ["paged_attention"]).rows
print(row)
assert not row.ok and math.isinf(row.error)

# %% [markdown]
# It does: zero times NaN is NaN, and the check counts that as an infinite error. With zeros in unused slots, as most
# tests have them, the bug would have passed.
#
# Does the engine run on it? A backend is an argument. Same prompt, same text:

# %%
bundle = miniapr.load()
prompt = bundle.tokenizer.ids(["<bos>", "<adaptive>"]) + bundle.tokenizer.encode("8 7 3 -> 29 :")
texts = []
for use in (mine, "reference"):
    engine = miniapr.Engine(bundle.model, bundle.tokenizer, backend=use)
    root = engine.start(prompt)
    engine.decode([root], max_tokens=30)
    texts.append(root.text)
print(texts[0])
assert texts[0] == texts[1]

# %% [markdown]
# The model writes with your kernel.
#
# ## How fast is it?
#
# A new row reads every key and value that it sees once. That is the least there is to do, so there is a **limit**:
# bytes divided by the bandwidth of the memory. `kernels.time` measures both in one run and gives the share of the limit
# that was reached. Below, one row that sees 4,096 tokens, and eight rows that all see the *same* 4,096.
#
# **Guess first.** With your kernel, how much longer do eight rows take than one?


# %%
def attention_times(use):
    return {row.size: row for row in kernels.time(use, ["paged_attention"], repeats=5).rows}


shipped = ops.load("auto")  # the C++ kernels that came with the package where they are compiled, else plain torch
measured = {name: attention_times(use) for name, use in (("mine", mine), (shipped.name, shipped))}
for name, rows in measured.items():
    for size in ("1 rows share 4096 tokens", "8 rows share 4096 tokens"):
        print(f"{name:10} {size}  {rows[size].microseconds:8.0f} us  {rows[size].share:4.0%} of the limit")

# %%
eight = {n: t["8 rows share 4096 tokens"].microseconds / t["1 rows share 4096 tokens"].microseconds
         for n, t in measured.items()}  # fmt: skip
print({name: f"{ratio:.1f} times" for name, ratio in eight.items()})

# %% [markdown]
# With yours, eight rows take several times as long as one: each row goes through all of the text for itself, though
# it is the same text. (Not quite eight times, as the second row finds much of it in the processor's cache.) The
# shipped kernel, if it is compiled here, takes far less: it reads each run **once** for all rows that see it. The
# plan says already that the rows share. Chapter 5 makes use of it.
#
# What else does the shipped one do? It works on tiles of several rows and many tokens that stay in registers, picks
# its instructions when the program starts, and shares the work out to threads. It is `csrc/attention.cpp` and the
# files around it.
#
# You can change it, too. `kernels.sources` copies all of the package's kernels, `kernels.build` compiles the copy and
# loads it beside all others. Long runs are cut into **chunks** of 512 tokens, so that several threads can work on one.
# Let us take 64.

# %%
mine_too = kernels.sources(folder / "kernels")
begun = time.perf_counter()
kernels.build(mine_too)
print(f"everything {time.perf_counter() - begun:.1f} s")

attention = mine_too / "attention.cpp"
text = attention.read_text()
assert text.count(": chunk_tokens;") == 1
attention.write_text(text.replace(": chunk_tokens;", ": 64;"))
begun = time.perf_counter()
chunks = kernels.build(mine_too)
print(f"what has changed {time.perf_counter() - begun:.1f} s")

# %%
table = kernels.check(chunks, ["paged_attention"])
print(table)
assert all(row.ok for row in table.rows)
for name, use in ((f"{shipped.name}, as it came", shipped), ("chunks of 64", chunks)):
    print(f"{name:20} {attention_times(use)['8 rows share 4096 tokens'].microseconds:6.0f} us")

# %% [markdown]
# Still right. Slower or faster? On your machine you have seen it; one run decides little, so run the cell again.
#
# ## Then in CUDA
#
# A GPU has thousands of threads. They come in groups of 32, **warps**, which walk in step. Who does what?
#
# - A warp takes **one row and one head**. Our two outer loops disappear: they become the grid of the launch.
# - For the scores, its 32 threads, *lanes*, take 32 tokens. Neighbouring lanes read neighbouring addresses, because
#   keys are transposed; the memory then delivers all of them at once. On a GPU this matters even more than on a CPU.
# - For the values, the lanes take dimensions: 32 numbers of one value.
# - Between the two, all lanes must know the largest score. `__shfl_xor_sync` hands a number from lane to lane: with
#   lane ^ 16, then ^ 8, ^ 4, ^ 2, ^ 1, and after five steps everybody has the largest.
#
# **Guess first.** The weights go through shared memory: each lane writes one, then all lanes read all 32. What can
# go wrong without the `__syncwarp()` in between?

# %%
CUDA_KERNEL = r"""
#include "device.cuh"
#include "job.h"

using namespace miniapr;

constexpr unsigned all = ~0u;  // lanes of a warp

__global__ void attend_warp(Job j) {
    const int row = blockIdx.x, head = blockIdx.y, lane = threadIdx.x;
    const float scale = rsqrtf(float(j.D));
    SHARED(float, weights, [32]);
    float top = __uint_as_float(0xff800000u), total = 0;  // -infinity
    float value[8] = {};  // dimensions lane, lane + 32, ...: room for 256

    for (int e = j.row_ptr[row]; e < j.row_ptr[row + 1]; ++e) {
        const int edge = j.row_edges[e], first = j.first[edge], end = first + j.visible[edge];
        const float* q = j.q + (int64_t(edge) * j.heads + head) * j.D;
        for (int begin = first; begin < end; begin += 32) {
            auto place = [&](int slot) {  // of the key head, in the block where this slot lies
                const int64_t block = j.blocks[j.begins[edge] + slot / j.B];
                return (block * (j.heads / j.group) + head / j.group) * j.D * j.B;
            };
            // 1. Lanes are tokens.
            const int slot = begin + lane;
            float score = __uint_as_float(0xff800000u);
            if (slot < end) {
                const float* k = j.k + place(slot) + slot % j.B;
                score = 0;
                for (int d = 0; d < j.D; ++d) score += q[d] * scale * k[d * j.B];
            }
            // 2. All lanes together: the largest score, and the sum of the weights.
            float larger = fmaxf(top, score);
            for (int step = 16; step; step /= 2) larger = fmaxf(larger, __shfl_xor_sync(all, larger, step));
            const float weight = __expf(score - larger), factor = __expf(top - larger);
            float sum = weight;
            for (int step = 16; step; step /= 2) sum += __shfl_xor_sync(all, sum, step);
            total = total * factor + sum;
            top = larger;
            weights[lane] = weight;
            __syncwarp();  // every weight is written before one is read
            // 3. Lanes are dimensions.
            for (int i = 0, d = lane; d < j.D; ++i, d += 32) {
                value[i] *= factor;
                for (int t = 0; t < 32 && begin + t < end; ++t)
                    value[i] += weights[t] * j.v[place(begin + t) + (begin + t) % j.B * j.D + d];
            }
            __syncwarp();  // every weight is read before the next ones are written
        }
    }
    for (int i = 0, d = lane; d < j.D; ++i, d += 32)
        j.out[(int64_t(row) * j.heads + head) * j.D + d] = total > 0 ? value[i] / total : 0;
}

void attend(const Job& j) {
    const dim3 grid(static_cast<unsigned>(j.rows), static_cast<unsigned>(j.heads));
    launch({"attend_warp", grid, dim3(32), 0, 0}, attend_warp, j);
}
"""

# %% [markdown]
# `device.cuh` comes with the package. Under `nvcc` it is CUDA. Under an ordinary compiler, each thread becomes a
# **fibre** that runs until it has to wait for the others; so the same text runs without a GPU.

# %%
source("cuda/job.h", HEADER)
source("cuda/bindings.cpp", BINDINGS.replace("NAME", "_cuda"))
source("cuda/attend.cu", CUDA_KERNEL)
for name in ("device.cuh", "emulate.h", "emulate.cpp"):
    shutil.copy(kernels.own_sources() / "cuda" / name, folder / "cuda")


def compile_cuda(make):
    """``make`` is ``cuda`` (nvcc, for a GPU) or ``emulated`` (the C++ compiler, for the CPU)."""
    files = [folder / "cuda" / name for name in ("bindings.cpp", "attend.cu")]
    files += [folder / "cuda" / "emulate.cpp"] if make is emulated else []
    return compile_module(replace(make(folder), sources=files), folder / "cuda" / "build")


device, make = ("cuda", cuda) if torch.cuda.is_available() else ("cpu", emulated)
try:
    compiled = compile_cuda(make)
except kernels.BuildError as error:
    if make is emulated:
        raise
    print(f"There is a GPU, but its compiler said: {error}")
    device, make = "cpu", emulated
    compiled = compile_cuda(make)
print("on this machine's GPU" if device == "cuda" else "no GPU (or no nvcc): the same source, in the emulator")

# %%
on_gpu = backend(compiled, "my CUDA" if device == "cuda" else "my CUDA (emulated)", device)
there = [tensor.to(device) for tensor in (q, k_cache, v_cache)]
turns = [tensor.to(device) for tensor in no_turns]
difference = float((on_gpu.paged_attention(*there, plan, *turns, False).cpu() - truth).abs().max())
print(f"{on_gpu.name}: largest difference to the collected one {difference:.0e}")
assert difference < 1e-5

# %% [markdown]
# And on awkward sizes: forty rows that see one run of 100 tokens in blocks of 3, and each some of its own.

# %%
builder = ops.PlanBuilder()
for row in range(40):
    builder.see("shared", list(range(34)), first=2, visible=60 + row, shift=0, rows=1, ramp=0)
    builder.see(row, [40 + row], first=0, visible=1 + row % 3, shift=0, rows=1, ramp=0)
    builder.end_rows(1)
awkward = builder.build()
wide = torch.randn(40, Q_HEADS, 40), torch.randn(80, H, 40, 3), torch.randn(80, H, 3, 40)
wanted = reference.paged_attention(*wide, awkward, torch.ones(1, 20), torch.zeros(1, 20), False)
for use, where in ((mine, "cpu"), (on_gpu, device)):
    tensors = [tensor.to(where) for tensor in (*wide, torch.ones(1, 20), torch.zeros(1, 20))]
    got = use.paged_attention(*tensors[:3], awkward, *tensors[3:], False).cpu()
    print(f"{use.name:20} largest difference to the reference {float((got - wanted).abs().max()):.0e}")
    assert torch.allclose(got, wanted, atol=1e-5)

# %% [markdown]
# Now leave out the first `__syncwarp()`. On many GPUs the wrong kernel gives the right numbers on most days. The
# emulator lets one lane run as far as it can before the next one starts. So a lane reads weights that nobody has
# written yet, every time.

# %%
racy = CUDA_KERNEL.replace("__syncwarp();  // every weight is written before one is read", "")
assert racy != CUDA_KERNEL
source("cuda/attend.cu", racy)
racing = backend(compile_cuda(emulated), "without the barrier")
try:
    got = racing.paged_attention(*wide, awkward, torch.ones(1, 20), torch.zeros(1, 20), False)
    wrong = not torch.allclose(got, wanted, atol=1e-5)
    print("rows that are wrong:", int((~torch.isclose(got, wanted, atol=1e-5)).flatten(1).any(-1).sum()), "of 40")
except RuntimeError as error:
    wrong = True
    print(error)
assert wrong

# %% [markdown]
# ## And its speed?

# %%
if device == "cuda":
    print(*attention_times(on_gpu).values(), sep="\n")
else:
    print("Not measured: there is no GPU here. An emulator's time says nothing about a GPU.")

# %% [markdown]
# The package's own CUDA kernel, `csrc/cuda/paged_attention.cu`, begins where yours ends: yours is its version 1.
# Versions 2 to 4 read each tile once for all rows, fetch the next tile while this one is used, and use tensor cores.
#
# ## What we have now
#
# One operation that reads keys where they lie. It does not care whose blocks they are, in which order they lie, or
# whether somebody else reads them too. So nothing stands in the way of *sharing* them, and that is a
# [fork](04_fork.ipynb).
#
# ## Exercises
#
# - **3.1 One pass.** Attention over blocks that come one at a time. `miniapr learn check 3.1`
# - **3.2 Nothing times NaN**. Answers turn to NaN on a server that has been up for a while.
#   `miniapr learn check 3.2`
# - **3.3 The large pool**. Wrong answers, but only on machines with much memory. `miniapr learn check 3.3`
#
# ## References
#
# - Kwon et al. 2023, *Efficient Memory Management for Large Language Model Serving with PagedAttention*.
# - Milakov and Gimelshein 2018, *Online normalizer calculation for softmax*: the two sums that are corrected.
# - Dao et al. 2022, *FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness*: tiles.
# - Ye et al. 2025, *FlashInfer: Efficient and Customizable Attention Engine for LLM Inference Serving*: plans.
# - In this package: `miniapr/ops/reference.py`, then `csrc/attention.h`, then `csrc/cuda/paged_attention.cu`.
