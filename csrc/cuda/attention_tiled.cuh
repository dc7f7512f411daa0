// The kernel of versions 2 to 4 (paged_attention.cu says what they are), for attention_<Width>.cu to compile.
#pragma once

#include <algorithm>
#include <type_traits>

#include "attention_products.cuh"
#include "attention_tiled.h"

namespace miniapr {

__device__ __forceinline__ void wait_for_all_but(int groups) {
    if (groups >= 2) async_wait<2>();
    else if (groups == 1) async_wait<1>();
    else async_wait<0>();
}

// v2, v3, v4. The block's four warps share the unit's vectors, 16 each at most; where fewer warps are enough for
// the vectors, the others take a part of the tokens ("slices"), and their sums are added up at the end.
template <class S, int Width, int tokens, template <class, int> class Cores>
__global__ void __launch_bounds__(attention_threads) attend(Attention a, Layout layout) {
    if (static_cast<int>(blockIdx.x) >= a.work[0]) return;
    using Q = typename Cores<S, Width>::Q;
    constexpr int q_pitch = Cores<S, Width>::q_pitch;
    const Unit unit = unit_of(a);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, head = blockIdx.y;
    const int groups = unit.vectors > 32 ? 4 : unit.vectors > 16 ? 2 : 1, slices = attention_warps / groups;
    const int rows = (unit.vectors + groups - 1) / groups, group = warp / slices, slice = warp % slices;
    const int tiles = (unit.end - unit.begin + tokens - 1) / tokens;
    using Tiles = Tile<S, Width, tokens>;
    const Run<S> run(a, unit, head);
    DYNAMIC_SHARED(S, memory);
    auto fetch = [&](int i, int stage) {
        const Tiles tile(memory + stage * Tiles::elements);
        const int begin = unit.begin + i * tokens;
        if (i < tiles && layout.wide) tile.template fetch<true>(run, unit, begin);
        else if (i < tiles) tile.template fetch<false>(run, unit, begin);
        async_commit();  // also where there was nothing to copy: groups are counted
    };

    if (a.depth < Width) {
        for (int i = threadIdx.x; i < layout.stages * Tiles::elements; i += attention_threads) memory[i] = from_float<S>(0.0f);
        __syncthreads();
    }
    for (int i = 0; i < layout.stages - 1; ++i) fetch(i, i);

    // The queries, while the first tiles are on their way: row r of group g is vector g * rows + r.
    Q* q = reinterpret_cast<Q*>(reinterpret_cast<char*>(memory) + layout.q_at);
    for (int row = threadIdx.x / 8; row < groups * 16; row += attention_threads / 8) {
        const int vector = row / 16 * rows + row % 16;
        const bool real = row % 16 < rows && vector < unit.vectors;
        const StatePlace at(a, unit, head, real ? vector : 0);
        for (int d = threadIdx.x % 8; d < Width; d += 8)
            q[row * q_pitch + d] = from_float<Q>(real && d < a.depth ? query_entry<S>(a, at.edge, at.q_head, d) : 0.0f);
    }
    __syncthreads();
    Cores<S, Width> cores(q + group * 16 * q_pitch, lane, a.depth);

    int end[2];  // of this thread's two rows
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        const int row = lane / 4 + 8 * i, vector = group * rows + row;
        end[i] = row < rows && vector < unit.vectors ? min(unit.end, StatePlace(a, unit, head, vector).edge[1]) : 0;
    }
    int last = max(end[0], end[1]);  // of the warp's
    for (int distance = 4; distance < 32; distance *= 2) last = max(last, __shfl_xor_sync(whole_warp, last, distance));
    const float scale = score_scale(a.depth);
    Sums<Width> sums;

    for (int i = 0, stage = 0; i < tiles; ++i) {
        if (layout.stages > 1) wait_for_all_but(layout.stages - 2);
        __syncthreads();  // tile i has come for all, and all are done with the tile that is overwritten next
        fetch(i + layout.stages - 1, stage ? stage - 1 : layout.stages - 1);
        if (layout.stages == 1) {
            async_wait<0>();
            __syncthreads();
        }
        const Tiles tile(memory + stage * Tiles::elements);
        if (++stage == layout.stages) stage = 0;
        const int begin = unit.begin + i * tokens;
        for (int t = slice * 16; t < tokens && begin + t < last; t += slices * 16) {
            float s[2][4] = {};
            cores.scores(tile.k + t, Tiles::k_pitch, s);
#pragma unroll
            for (int j = 0; j < 8; ++j) {
                const int slot = begin + t + j / 4 * 8 + lane % 4 * 2 + j % 2;
                float& score = s[j / 4][j % 4];
                // Overwritten, not added to: the score of a slot that is not seen may be NaN.
                score = slot >= unit.first && slot < end[j % 4 / 2] ? score * scale : minus_infinity();
            }
            sums.weigh(s);
            cores.values(s, tile.v + t * Tiles::v_pitch, Tiles::v_pitch, sums.out);
        }
    }

    if (slices > 1) {  // slices leave their sums where the tiles were; slice 0 of each group takes them in
        __syncthreads();
        float* box = reinterpret_cast<float*>(memory) + lane;
        if (slice) sums.leave(box + warp * Sums<Width>::numbers * 32);
        __syncthreads();
        if (slice) return;
        for (int other = 1; other < slices; ++other) sums.take(box + (warp + other) * Sums<Width>::numbers * 32);
    }
    sums.finish();
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        const int row = lane / 4 + 8 * i, vector = group * rows + row;
        if (row >= rows || vector >= unit.vectors) continue;
        const int64_t state = StatePlace(a, unit, head, vector).state;
        const float inverse = sums.softmax[i].inverse();
#pragma unroll
        for (int n = 0; n < Width / 8; ++n) {
            const int d = n * 8 + lane % 4 * 2;
            const Vector<float, 2> pair = {{sums.out[n][2 * i] * inverse, sums.out[n][2 * i + 1] * inverse}};
            if (d < a.depth) store_vector(a.value + state * a.depth + d, pair);
        }
        if (lane % 4 == 0) a.lse[state] = sums.softmax[i].lse();
    }
}

template <class S, int Width, int tokens, template <class, int> class Cores>
bool fit(Choice& choice, int depth, size_t available) {
    using C = Cores<S, Width>;
    constexpr bool q_stays = std::is_same_v<C, OrdinaryCores<S, Width>>;
    constexpr size_t tile = sizeof(S) * Tile<S, Width, tokens>::elements;
    const size_t sums = tokens > 16 ? sizeof(float) * attention_threads * Sums<Width>::numbers : 0;
    const size_t q = sizeof(typename C::Q) * unit_vectors * C::q_pitch;
    const int most = choice.version - 1;  // tiles
    for (int stages = most; stages >= std::min(most, 2); --stages) {
        // Zeros between the head size and Width must not be overwritten by q.
        const size_t q_at = q_stays || depth < Width ? stages * tile : (stages - 1) * tile;
        const size_t bytes = std::max({stages * tile, q_at + q, sums});
        if (bytes > available) continue;
        choice.kernel = attend<S, Width, tokens, Cores>;
        choice.layout = {stages, static_cast<int>(q_at), false};
        choice.bytes = bytes;
        return true;
    }
    return false;
}

template <class S, int Width>
bool fit_ordinary(Choice& choice, int depth, size_t available) {
    if constexpr (Width * sizeof(S) <= 512)  // no GPU has room for two larger tiles of 64 tokens
        if (fit<S, Width, 64, OrdinaryCores>(choice, depth, available)) return true;
    if constexpr (Width > 64) return fit<S, Width, 16, OrdinaryCores>(choice, depth, available);  // small GPUs
    return false;
}

template <class S, int Width>
bool fit_tensor(Choice& choice, int depth, size_t available) {
    return fit<S, Width, 64, TensorCores>(choice, depth, available);
}

}  // namespace miniapr
