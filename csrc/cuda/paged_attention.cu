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
// v2, v3 and v4 are one kernel: the number of tiles is an argument, and the two products come in two ways
// (attention_products.cuh).
#include <algorithm>
#include <sstream>
#include <stdexcept>

#include "attention_products.cuh"
#include "dispatch.cuh"

namespace miniapr {
namespace {

__device__ __forceinline__ Unit unit_of(const Attention& a) {
    const int32_t* at = a.work + 8 + 8 * int64_t(blockIdx.x);
    const auto low = load_vector<4>(at), high = load_vector<4>(at + 4);
    return {low.at[0], low.at[1], low.at[2], low.at[3], high.at[0], high.at[1], high.at[2], high.at[3]};
}

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

// How a launch uses shared memory.
struct Layout {
    int stages;  // how many tiles
    int q_at;    // bytes; on the tensor cores, q lies where the last tile will come
    bool wide;   // copies of 16 bytes
};

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

// What is compiled, and what a launch of it needs.

using Kernel = void (*)(Attention, Layout);

struct Choice {
    int version;
    Kernel kernel;  // none for v1
    Layout layout;
    size_t bytes;
};

template <class... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
    std::ostringstream why;
    (why << ... << parts);
    throw std::invalid_argument(why.str());
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
    if (fit<S, Width, 64, OrdinaryCores>(choice, depth, available)) return true;
    if constexpr (Width > 64) return fit<S, Width, 16, OrdinaryCores>(choice, depth, available);  // small GPUs
    return false;
}

template <class S>
bool fit_any(Choice& choice, int depth, const Gpu& gpu) {
    const size_t room = gpu.shared_bytes;
    if (choice.version == 4) {
        if constexpr (sizeof(S) == 2) {
            if (gpu.capability < 80) return false;
            if (depth <= 64) return fit<S, 64, 64, TensorCores>(choice, depth, room);
            if (depth <= 80) return fit<S, 80, 64, TensorCores>(choice, depth, room);
            if (depth <= 96) return fit<S, 96, 64, TensorCores>(choice, depth, room);
            return depth <= 128 && fit<S, 128, 64, TensorCores>(choice, depth, room);
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
