// Paged attention: softmax(q K^T / sqrt(D)) V for rows that see runs of a paged pool, many rows the same run.
//
// The plan is cut into units of work: up to 64 query vectors (rows x query heads of one KV head) that see the
// same run, and a chunk of its tokens. A thread block does one unit for one KV head and leaves a state per
// query vector (its value, its log-sum-exp); `merge_states` makes a row's output of its states.
//
//   v1  a warp for each query vector, straight from global memory. Every vector reads all of K and V for itself:
//       8 branches on one prefix cost 8 times the bytes.
//   v2  tiles of 64 tokens in shared memory, read from the pool ONCE for all vectors of the unit, and used
//       16 vectors x 16 tokens at a time, so that a number loaded is used several times. Bytes no longer grow
//       with the branches. But the block waits while a tile comes, and memory waits while it computes.
//   v3  asynchronous copies into two tiles: one comes while the other is used, nothing waits in turn. With it
//       comes the cutting into chunks (split-KV): one long prefix gives work to all processors of the GPU. Now
//       bytes are the limit, unless there are many vectors: each number of K or V costs 2 operations per vector.
//       8 branches x 3 query heads on float16 make 24 operations per byte, which the ordinary cores cannot
//       keep up with at the memory speed of a large GPU.
//   v4  tensor cores take the two products (16-bit storage, compute capability 8.0 on): 16 vectors cost what
//       one costs. Three tiles, as computing a tile now takes less time than fetching it. q and the weights are
//       rounded to 16 bits for the products; sums stay float32.
//
// v2, v3 and v4 are one kernel (attention_tiled.cuh): the number of tiles is an argument, and the two products come in
// two ways (attention_products.cuh). This file has v1, the merging, and the choice.
#include <algorithm>
#include <sstream>
#include <stdexcept>

#include "attention_tile.cuh"
#include "attention_tiled.h"
#include "dispatch.cuh"

namespace miniapr {
namespace {

// v1. Lanes are 32 tokens for the scores, then dimensions for the values. Any head size.
template <class S>
__global__ void __launch_bounds__(attention_threads) attend_alone(Attention a) {
    if (static_cast<int>(blockIdx.x) >= a.work[0]) return;
    const Unit unit = unit_of(a);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, head = blockIdx.y;
    const Run<S> run(a, unit, head);
    DYNAMIC_SHARED(float, memory);
    float *q = memory + warp * (2 * a.depth + 32), *out = q + a.depth, *weights = out + a.depth;
    for (int i = warp; i < unit.vectors; i += attention_warps) {
        const StatePlace at(a, unit, head, i);
        const int end = min(unit.end, at.edge[1]);
        for (int d = lane; d < a.depth; d += 32) {
            q[d] = query_entry<S>(a, at.edge, at.q_head, d) * score_scale(a.depth);
            out[d] = 0.0f;
        }
        __syncwarp();
        Softmax softmax;
        for (int begin = unit.begin; begin < end; begin += 32) {
            const int slot = begin + lane;
            const bool seen = slot >= unit.first && slot < end;
            float score = minus_infinity();
            if (seen) {
                const S* k = run.k(run.find(slot));
                score = 0.0f;
                for (int d = 0; d < a.depth; ++d) score += q[d] * to_float(k[int64_t(d) * a.block_size]);
            }
            const float factor = softmax.raise(warp_max(score));
            weights[lane] = softmax.weight(score);
            __syncwarp();
            for (int d = lane; d < a.depth; d += 32) {
                float sum = out[d] * factor;
                for (int t = max(unit.first - begin, 0); t < min(end - begin, 32); ++t)
                    sum += weights[t] * to_float(run.v(run.find(begin + t))[d]);
                out[d] = sum;
            }
            __syncwarp();
        }
        softmax.sum = warp_sum(softmax.sum);
        for (int d = lane; d < a.depth; d += 32) a.value[at.state * a.depth + d] = out[d] * softmax.inverse();
        if (!lane) a.lse[at.state] = softmax.lse();
        __syncwarp();
    }
}

// One block for a row's query head: its warps share the states, so that their loads are on their way together.
template <class T>
__global__ void __launch_bounds__(attention_threads) merge_states(Attention a) {
    const int row = blockIdx.x, q_head = blockIdx.y, q_heads = a.heads * a.group;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int32_t *row_ptr = a.work + a.work[1] + row, *list = a.work + a.work[2] + row_ptr[0];
    const int states = row_ptr[1] - row_ptr[0];
    DYNAMIC_SHARED(float, part);  // [warps][D]
    auto lse = [&](int i) { return a.lse[int64_t(list[i]) * q_heads + q_head]; };
    float top = minus_infinity(), total = 0.0f;
    for (int i = lane; i < states; i += 32) top = fmaxf(top, lse(i));
    top = warp_max(top);
    const float base = top == minus_infinity() ? 0.0f : top;
    for (int i = lane; i < states; i += 32) total += __expf(lse(i) - base);
    total = warp_sum(total);
    for (int d = 2 * lane; d < a.depth; d += 64) {
        Vector<float, 2> sum = {};
#pragma unroll 8
        for (int i = warp; i < states; i += attention_warps) {
            const float weight = __expf(lse(i) - base);
            const auto value = load_vector<2>(a.value + (int64_t(list[i]) * q_heads + q_head) * a.depth + d);
            sum.at[0] += weight * value.at[0], sum.at[1] += weight * value.at[1];
        }
        store_vector(part + warp * a.depth + d, sum);
    }
    __syncthreads();
    for (int d = threadIdx.x; d < a.depth; d += attention_threads) {
        float sum = 0.0f;
        for (int w = 0; w < attention_warps; ++w) sum += part[w * a.depth + d];
        // No state, or only empty ones: zeros, never 0 / 0.
        static_cast<T*>(a.out)[(int64_t(row) * q_heads + q_head) * a.depth + d] =
            from_float<T>(total == 0.0f ? 0.0f : sum / total);
    }
}

Divisor divisor(uint32_t d) {
    int bits = 0;
    while (uint64_t(1) << bits < d) ++bits;
    return {static_cast<uint32_t>(((uint64_t(1) << (31 + bits)) + d - 1) / d), 31 + bits};
}

template <class... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
    std::ostringstream why;
    (why << ... << parts);
    throw std::invalid_argument(why.str());
}

template <class S>
bool fit_any(Choice& choice, int depth, const Gpu& gpu) {
    const size_t room = gpu.shared_bytes;
    if (choice.version == 4) {
        if constexpr (sizeof(S) == 2) {
            if (gpu.capability < 80) return false;
            if (depth <= 64) return fit_tensor<S, 64>(choice, depth, room);
            if (depth <= 80) return fit_tensor<S, 80>(choice, depth, room);
            if (depth <= 96) return fit_tensor<S, 96>(choice, depth, room);
            return depth <= 128 && fit_tensor<S, 128>(choice, depth, room);
        }
        return false;
    }
    if (depth <= 64) return fit_ordinary<S, 64>(choice, depth, room);
    if (depth <= 128) return fit_ordinary<S, 128>(choice, depth, room);
    return depth <= 256 && fit_ordinary<S, 256>(choice, depth, room);
}

// The version that was asked for, or the best that there is room for. A q in float32 asks for products in
// float32. Before capability 8.0 there are no asynchronous copies, so two tiles would only take room from others.
template <class S>
Choice choose(int version, int depth, bool q_is_float) {
    if (version < 0 || version > 4) refuse("version = ", version, ", expected 1 to 4, or 0 for the best");
    const Gpu here = gpu();
    const int best = here.capability < 80 ? 2 : q_is_float ? 3 : 4;
    for (int v = version ? version : best; v >= 2; --v) {
        Choice choice{v, nullptr, {}, 0};
        if (fit_any<S>(choice, depth, here)) return choice;
        if (version)
            refuse("version = ", version, " cannot do head size ", depth, " in ", 8 * sizeof(S), " bits with ",
                   here.shared_bytes, " bytes of shared memory and compute capability ", here.capability);
    }
    const size_t alone = sizeof(float) * attention_warps * (2 * static_cast<size_t>(depth) + 32);
    if (alone > here.shared_bytes)
        refuse("head size ", depth, " takes ", alone, " bytes of shared memory, there are ", here.shared_bytes);
    return {1, nullptr, {}, alone};
}

}  // namespace

void paged_attention(Attention a, const AttentionRoom& room, Type type, int version, Stream stream) {
    with_type(type, [&](auto as) {
        using S = typename decltype(as)::type;
        const int64_t size = sizeof(S);
        Choice choice = choose<S>(version, a.depth, a.q_is_float);
        a.per_block = divisor(static_cast<uint32_t>(a.block_size));
        // Whether 16 bytes never cross a block, and are where 16 bytes can be loaded.
        choice.layout.wide = in_vectors({a.block_size * size, a.depth * size, a.k_block * size, a.v_block * size,
                                         address(a.k), address(a.v)});
        const Launch units{"paged_attention", grid(room.units, a.heads), attention_threads, choice.bytes, stream};
        if (choice.kernel) launch(units, choice.kernel, a, choice.layout);
        else launch(units, attend_alone<S>, a);
        const size_t sums = sizeof(float) * attention_warps * static_cast<size_t>(a.depth);
        const Launch rows{"merge_states", grid(room.rows, a.heads * a.group), attention_threads, sums, stream};
        if (a.q_is_float) launch(rows, merge_states<float>, a);
        else launch(rows, merge_states<S>, a);
    });
}

int64_t attention_blocks(Type type, int depth, bool q_is_float) {
    int64_t blocks = 0;
    with_type(type, [&](auto as) {
        const Choice choice = choose<typename decltype(as)::type>(0, depth, q_is_float);
        const Gpu here = gpu();
        // A processor has about 1 KiB more than one block may have, and keeps 1 KiB for each block.
        const size_t together = (here.shared_bytes + 1024) / (choice.bytes + 1024);
        blocks = here.processors * static_cast<int64_t>(std::clamp<size_t>(together, 1, 4));
    });
    return blocks;
}

}  // namespace miniapr
