// Attention over a paged pool in which many query rows share runs of KV.
//
//   run 0  [blocks 7 2 9 ...........................]   seen by rows 0..7   (8 branches, one prefix)
//   run 1  [4 1]  row 0     run 2  [3]  row 1     ...   seen by one row each (the branches' own tokens)
//
// Work is cut into units: (run, up to max_rows query vectors that see it, one KV head, one chunk of
// tokens). A unit goes through its tokens in tiles. For each tile of K and V, which is loaded once:
//
//          K tile [D][tile]            V tile [tile][D]
//   q      +--------------+           +-----------+
//   rows   |  score += q[d] * K[d]    |  out += p[t] * V[t]      6 rows x 4 vectors in registers,
//   x G    +--------------+           +-----------+              one broadcast operand
//            lanes = tokens             lanes = dimensions
//
// with the online softmax between the two: a running maximum m and sum l per row, and `out` rescaled
// whenever m grows. A unit leaves a state (out / l, m + ln l) per row; the states of a row (its runs, and
// the chunks of each) are merged by their log-sum-exp at the end. "Saw nothing" is (0, -inf).
//
// How a row's tokens are cut depends on its own runs only, so what else is in the batch changes nothing.
// The one exception: a run that more than a unit's rows see is not cut into chunks (it has parallelism
// enough, and the states of a long prefill would need more memory than its KV).
#pragma once

#include <cstdint>
#include <vector>

#include "common.h"
#include "plan.h"

namespace miniapr {

constexpr int64_t tile_tokens = 64;
constexpr int64_t chunk_tokens = 512;  // a multiple of tile_tokens
constexpr int64_t max_rows = 192;      // query vectors in a unit

struct Cache {  // one layer; [heads, D, B] and [heads, B, D] contiguous inside a block
    const void *k, *v;
    int64_t k_block, v_block;  // elements from one block to the next
    int64_t blocks, heads, head_dim, block_size;
    Storage storage;
};

struct Queries {  // [rows, heads, D], the last dimension contiguous
    const void* data;
    int64_t rows, heads, row_stride, head_stride;
    bool narrow;  // q and out are bfloat16, otherwise in the type of the arithmetic
};

struct Turns {  // [count, D / 2] each, contiguous
    const void *cos, *sin;
    int64_t count;
    bool interleaved;
};

struct Unit {
    int32_t run, edge_begin, edge_end;
    int64_t begin, end;  // slots, counted from the start of the run's first block
    int64_t state;       // of edge_begin; the next edge has the next state
};

struct Share {  // what one worker does in a row
    const Unit *begin, *end;
    int64_t head, last_head;
};

// A plan cut into units for one pool and one number of query heads per KV head: once per step, for all layers.
struct CutPlan {
    CutPlan(Plan plan, int64_t pool_blocks, int64_t block_size, int64_t group);

    Plan plan;
    int64_t pool_blocks, block_size, group;
    std::vector<Unit> units;
    std::vector<int64_t> run_state;  // [R] number of a run's first state
    std::vector<int64_t> run_chunk;  // [R] slots per chunk; chunk c of edge e has state first + c * edges + e
    int64_t states = 0;
    int64_t most_rows = 0;  // query vectors in the largest unit
    int64_t work = 0;       // multiply-adds for one dimension of one KV head

private:
    void cut_run(int64_t run);
};

struct Job {
    const CutPlan& cut;
    const Plan& plan;
    Queries q;
    Cache cache;
    Turns turns;
    void* out;    // [rows, heads, D], contiguous
    void* value;  // [states, heads, D]
    void* lse;    // [states, heads]
    int64_t group;  // query heads per KV head
};

// The tables have the type of the arithmetic: double for f64 storage, float otherwise.
void paged_attention(const CutPlan& cut, const Queries& q, const Cache& cache, const Turns& turns, void* out,
                     int threads);

}  // namespace miniapr
