// What the versions of paged attention share: where a query is, where a slot is, tiles of KV in shared
// memory, and the online softmax.
#pragma once

#include "attention_plan.h"
#include "device.cuh"
#include "paged_attention.h"

namespace miniapr {

constexpr int attention_warps = 4, attention_threads = 32 * attention_warps;
constexpr unsigned whole_warp = ~0u;

__device__ __forceinline__ float minus_infinity() { return __uint_as_float(0xff800000u); }

template <class F>
__device__ __forceinline__ float across_warp(float x, const F& f) {
    for (int distance = 16; distance; distance /= 2) x = f(x, __shfl_xor_sync(whole_warp, x, distance));
    return x;
}
__device__ __forceinline__ float warp_max(float x) {
    return across_warp(x, [](float a, float b) { return fmaxf(a, b); });
}
__device__ __forceinline__ float warp_sum(float x) {
    return across_warp(x, [](float a, float b) { return a + b; });
}

__device__ __forceinline__ Unit unit_of(const Attention& a) {
    const int32_t* at = a.work + 8 + 8 * int64_t(blockIdx.x);
    const auto low = load_vector<4>(at), high = load_vector<4>(at + 4);
    return {low.at[0], low.at[1], low.at[2], low.at[3], high.at[0], high.at[1], high.at[2], high.at[3]};
}

// Entry i of a query vector, turned by minus the edge's shift: the row sees the keys as moved.
template <class S>
__device__ float query_entry(const Attention& a, const int32_t* edge, int q_head, int i) {
    const int64_t at = edge[0] * a.q_row + q_head * a.q_head;
    auto q = [&](int j) {
        return a.q_is_float ? static_cast<const float*>(a.q)[at + j] : to_float(static_cast<const S*>(a.q)[at + j]);
    };
    if (edge[2] < 0) return q(i);
    const int half = a.depth / 2;
    const bool second = a.interleaved ? i % 2 : i >= half;
    const int pair = a.interleaved ? i / 2 : second ? i - half : i;
    const int partner = a.interleaved ? i ^ 1 : second ? i - half : i + half;
    const float cos = a.cos[int64_t(edge[2]) * half + pair], sin = a.sin[int64_t(edge[2]) * half + pair];
    return second ? q(i) * cos + q(partner) * sin : q(i) * cos - q(partner) * sin;
}

// Where the keys and values of a unit's run lie in the pool, for one KV head. 64 bits: a pool is large.
template <class S>
struct Run {
    const Attention& a;
    const int32_t* blocks;
    const S *k_head, *v_head;

    struct Place {
        uint32_t block, offset;
    };

    __device__ Run(const Attention& a, const Unit& unit, int head) : a(a), blocks(a.work + unit.blocks) {
        const int64_t inside = int64_t(head) * a.depth * a.block_size;
        k_head = static_cast<const S*>(a.k) + inside;
        v_head = static_cast<const S*>(a.v) + inside;
    }
    __device__ __forceinline__ Place find(uint32_t slot) const {
        const uint32_t at = static_cast<uint32_t>(uint64_t(slot) * a.per_block.factor >> a.per_block.shift);
        return {static_cast<uint32_t>(__ldg(blocks + at)), slot - at * a.block_size};
    }
    // Dimension 0 of a key: the next is block_size further on.
    __device__ __forceinline__ const S* k(Place p) const { return k_head + p.block * a.k_block + p.offset; }
    __device__ __forceinline__ const S* v(Place p) const { return v_head + p.block * a.v_block + p.offset * a.depth; }
};

// Tiles of K [Width][tokens] and V [tokens][Width] in shared memory. Each row is 16 bytes longer than it need be,
// or all rows would begin in the same memory bank and a warp that reads a column would wait 8 times.
// Width is the head size, rounded up to what is compiled; what lies between holds zeros.
template <class S, int Width, int tokens>
struct Tile {
    static constexpr int pad = 16 / sizeof(S), k_pitch = tokens + pad, v_pitch = Width + pad;
    static constexpr int elements = Width * k_pitch + tokens * v_pitch;
    S *k, *v;

    __device__ explicit Tile(S* memory) : k(memory), v(memory + Width * k_pitch) {}

    // Starts copying slots begin..begin + tokens - 1. Every thread copies some pieces of 16 bytes, or of single
    // numbers where blocks or addresses are no whole number of those. A value that nobody may see becomes zero:
    // it may be NaN, and a weight of zero would not remove it. The score of such a key is replaced later.
    template <bool wide>
    __device__ __forceinline__ void fetch(const Run<S>& run, const Unit& unit, int begin) const {
        constexpr int step = wide ? pad : 1;
        [[maybe_unused]] constexpr int unroll = wide ? Width : 1;  // single numbers are not worth the code
        constexpr int pieces = tokens / step, k_rows = attention_threads / pieces;  // of a row of K; rows at once
        constexpr int v_rows = attention_threads / 8;                               // eight threads for a row of V
        const int thread = threadIdx.x, depth = run.a.depth, block_size = run.a.block_size;
        auto copy = [](S* to, const S* from, bool real) {
            if constexpr (wide) async_copy16(to, from, real ? 16 : 0);
            else *to = real ? *from : from_float<S>(0.0f);
        };
        // First all that has to be looked up, so that the lookups wait for memory together.
        const int k_slot = begin + thread % pieces * step, v_slot = begin + thread / 8;
        const auto k_place = run.find(k_slot < unit.end ? k_slot : begin);
        typename Run<S>::Place v_place[tokens / v_rows];
#pragma unroll
        for (int i = 0; i < tokens / v_rows; ++i) {
            const int slot = v_slot + i * v_rows;
            v_place[i] = run.find(slot < unit.end ? slot : begin);
        }

        const S* from = run.k(k_place) + thread / pieces * block_size;
#pragma unroll(unroll)
        for (int i = 0; i < Width; i += k_rows, from += k_rows * block_size) {
            const int d = i + thread / pieces;
            if (d < depth) copy(k + d * k_pitch + k_slot - begin, from, k_slot < unit.end);
        }
#pragma unroll
        for (int i = 0; i < tokens / v_rows; ++i) {
            const int slot = v_slot + i * v_rows;
            const S* from = run.v(v_place[i]);
#pragma unroll(unroll)
            for (int j = 0; j < Width; j += 8 * step) {
                const int d = j + thread % 8 * step;
                if (d < depth) copy(v + (slot - begin) * v_pitch + d, from + d, slot >= unit.first && slot < unit.end);
            }
        }
    }
};

// The softmax of one row, a few scores at a time (in units of log2, since exp2 is what the GPU has).
struct Softmax {
    float top = minus_infinity(), sum = 0.0f;

    // The factor for everything summed so far, now that the largest score is at least `score`.
    __device__ float raise(float score) {
        const float before = top;
        top = fmaxf(top, score);
        const float factor = top == before ? 1.0f : exp2f(before - top);  // the first time: exp2(-inf) = 0
        sum *= factor;
        return factor;
    }
    // -inf: not seen. NaN stays NaN: a key that is seen and is NaN must show.
    __device__ float weight(float score) {
        const float w = exp2f(score - (top == minus_infinity() ? 0.0f : top));
        sum += w;
        return w;
    }
    // Natural logarithm. "Saw nothing" is (0, -inf), so that merging needs no special case.
    __device__ float lse() const { return sum == 0.0f ? minus_infinity() : (top + log2f(sum)) * 0.693147180559945f; }
    __device__ float inverse() const { return sum == 0.0f ? 0.0f : 1.0f / sum; }
};

// Scores are scaled by 1 / sqrt(D) and, for exp2, by log2(e).
__device__ __forceinline__ float score_scale(int depth) { return 1.442695040888963f * rsqrtf(float(depth)); }

// Where the state of query vector i of a unit goes.
struct StatePlace {
    const int32_t* edge;
    int q_head;
    int64_t state;  // state * q heads + q head

    __device__ StatePlace(const Attention& a, const Unit& unit, int head, int i) {
        const int vector = unit.vector + i, e = vector / a.group;
        edge = a.work + unit.edges + 3 * e;
        q_head = head * a.group + vector - e * a.group;
        state = (int64_t(unit.state) + e) * (a.heads * a.group) + q_head;
    }
};

}  // namespace miniapr
