// The operations as they are called from outside: addresses in, nothing out. Types, shapes, strides and devices are
// checked in miniapr/ops/native.py; every index is checked below, before any work. bindings.cpp gives them to Python.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "attention.h"
#include "copies.h"
#include "linear.h"
#include "plan.h"
#include "sample.h"

namespace miniapr {

using Address = uintptr_t;

template <class T = void>
inline T* at(Address address) {
    return reinterpret_cast<T*>(address);
}

inline Storage storage_of(int code) {
    if (code < 0 || code > 2) fail("storage = ", code, ", expected 0, 1 or 2");
    return static_cast<Storage>(code);
}

inline CutPlan make_plan(const std::array<Address, 10>& a, int64_t listed, int64_t runs, int64_t edges, int64_t rows,
                         int64_t shifts, int64_t pool_blocks, int64_t block_size, int64_t group) {
    Plan plan({at<int32_t>(a[0]), at<int32_t>(a[1]), at<int32_t>(a[2]), at<int32_t>(a[3]), at<int32_t>(a[4]),
               at<int32_t>(a[5]), at<int32_t>(a[6]), at<int32_t>(a[7]), at<int32_t>(a[8]), at<int32_t>(a[9]), listed,
               runs, edges, rows, shifts});
    return {std::move(plan), pool_blocks, block_size, group};
}

inline void attend_all(const CutPlan& plan, Address q, int64_t rows, int64_t heads, int64_t row_stride,
                       int64_t head_stride, bool narrow, Address k_cache, Address v_cache, int64_t k_block,
                       int64_t v_block, int64_t blocks, int64_t kv_heads, int64_t head_dim, int64_t block_size,
                       int storage, Address cos, Address sin, int64_t turns, bool interleaved, Address out,
                       int threads) {
    Cache cache{at(k_cache), at(v_cache), k_block,    v_block,           blocks,
                kv_heads,    head_dim,    block_size, storage_of(storage)};
    paged_attention(plan, {at(q), rows, heads, row_stride, head_stride, narrow}, cache,
                    {at(cos), at(sin), turns, interleaved}, at(out), threads);
}

inline void write_tokens(Address k, int64_t k_row, int64_t k_head, Address v, int64_t v_row, int64_t v_head,
                         Address k_cache, Address v_cache, int64_t k_block, int64_t v_block, int64_t blocks,
                         int64_t heads, int64_t head_dim, int64_t block_size, Address slots, int64_t rows, int storage,
                         int threads) {
    write_kv({at(k), k_row, k_head}, {at(v), v_row, v_head},
             {at(k_cache), at(v_cache), k_block, v_block, blocks, heads, head_dim, block_size},
             at<const int64_t>(slots), rows, element_size(storage_of(storage)), threads);
}

// (address, layer stride, block stride) and (layers, blocks, heads, head_dim, block_size)
using Place = std::array<int64_t, 3>;
using Sizes = std::array<int64_t, 5>;

inline Stack stack(const Place& p, const Sizes& n, int storage) {
    return {at(static_cast<Address>(p[0])), p[1], p[2], n[0], n[1], n[2], n[3], n[4], storage_of(storage)};
}

inline void copy_all(const Place& k, const Place& v, const Sizes& sizes, int storage, Address source, Address target,
                     int64_t count, int threads) {
    copy_blocks(stack(k, sizes, storage), stack(v, sizes, storage), at<const int64_t>(source),
                at<const int64_t>(target), count, threads);
}

inline void shift_all(const Place& k, const Sizes& sizes, int storage, Address blocks, Address turn, int64_t count,
                      Address cos, Address sin, int64_t turns, bool interleaved, int threads) {
    shift_keys(stack(k, sizes, storage), at<const int64_t>(blocks), count,
               {at<const int64_t>(turn), at(cos), at(sin), turns, interleaved}, threads);
}

inline void copy_and_shift_all(const Place& k, const Place& v, const Sizes& sizes, int storage, Address source,
                               Address target, Address turn, int64_t count, Address cos, Address sin, int64_t turns,
                               bool interleaved, int threads) {
    copy_and_shift(stack(k, sizes, storage), stack(v, sizes, storage), at<const int64_t>(source),
                   at<const int64_t>(target), count, {at<const int64_t>(turn), at(cos), at(sin), turns, interleaved},
                   threads);
}

// x and add: (address, row stride); norm 0: none; weights: (address of the panels, columns)
inline void multiply_all(Address x, int64_t x_stride, int64_t rows, int64_t depth, Address norm, double eps,
                         const std::vector<std::pair<Address, int64_t>>& weights, bool gated, Address add,
                         int64_t add_stride, Address out, int storage, int threads) {
    Linear job{at(x), rows, x_stride, depth, at(norm), eps, {}, gated, at(add), add_stride, at(out), 0,
               storage_of(storage)};
    for (auto [panels, columns] : weights) {
        job.parts.push_back({at(panels), columns});
        job.columns += columns;
    }
    if (gated) job.columns /= 2;
    linear(job, threads);
}

inline void turn_heads(Address x, int64_t row_stride, int64_t head_stride, int64_t rows, int64_t heads,
                       int64_t head_dim, int storage, Address norm, double eps, Address cos, Address sin,
                       bool interleaved, Address out, int threads) {
    rope({at(x), rows, heads, head_dim, row_stride, head_stride, storage_of(storage), at(norm), eps}, at(cos), at(sin),
         interleaved, at(out), threads);
}

inline void sample_all(Address logits, int64_t rows, int64_t row_stride, int64_t vocabulary, int storage,
                       Address temperature, Address top_k, Address top_p, Address min_p, Address uniform,
                       Address tokens, Address logprobs, int threads) {
    sample({at(logits), rows, row_stride, vocabulary, storage_of(storage), at<double>(temperature), at<int64_t>(top_k),
            at<double>(top_p), at<double>(min_p), at<double>(uniform)},
           at<int64_t>(tokens), at<double>(logprobs), threads);
}

}  // namespace miniapr
