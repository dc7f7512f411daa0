// Linear layers for few rows: x [rows, K] times weights in panels (miniapr/ops/packed.py).
//
//              panel p: 16 columns of the result
//              k=0  │w w w ... w│   one load
//   x[r][k] ·  k=1  │w w w ... w│                       acc[r][0..15] += x[r][k] * w[k][0..15]
//   broadcast  ...                                      12 rows x 2 panels of accumulators in registers
//
// Each thread reads its panels from beginning to end, so for few rows the time is that of reading the weights.
// With more rows than accumulators a pair of panels is used again while it is in the second-level cache.
// The norm before and the sum or the gate after are done here too: as operations of their own they would cost
// more than the arithmetic.
#pragma once

#include <cstdint>
#include <vector>

#include "common.h"

namespace miniapr {

constexpr int64_t panel_columns = 16;

struct Part {  // one weight
    const void* panels;
    int64_t columns;  // N
};

struct LinearItem {  // two panels, or one: columns [column, column + 16) of the result and of the second panel
    const void* panel[2];
    int64_t column[2], width[2];
    int panels;
};

// Everything has the storage type; [rows, ...] with the last dimension contiguous.
struct Linear {
    const void* x;
    int64_t rows, x_stride, depth;
    const void* norm;  // [depth], or nullptr
    double eps;
    std::vector<Part> parts;
    bool gated;  // two parts: out = silu(x gate) * (x up)
    const void* add;
    int64_t add_stride;
    void* out;  // [rows, columns], contiguous
    int64_t columns;
    Storage storage;

    // bfloat16 panels hold pairs of k.
    int64_t padded_depth() const { return storage == Storage::bf16 ? (depth + 1) / 2 * 2 : depth; }
};

void linear(const Linear& job, int threads);

// Turn each head of row n by row n of the tables [rows, D / 2], in the type of the arithmetic. out is contiguous.
struct Heads {
    const void* x;
    int64_t rows, heads, head_dim, row_stride, head_stride;
    Storage storage;
    const void* norm;  // [heads, D]: an RMSNorm of each head before it is turned; or nullptr
    double eps;
};
void rope(const Heads& heads, const void* cos, const void* sin, bool interleaved, void* out, int threads);

}  // namespace miniapr
