// The attention plan cut into units of work and laid out for the GPU: one int32 buffer, made once per step
// on the host and brought over by one copy. Kernels take every count from it, so a captured CUDA graph is
// replayed for another step after the buffer was overwritten with that step's list.
//
//   header     [8]          units, where row_ptr begins, where row_state begins, the rest unused
//   unit       [units][8]   see Unit
//   edge       [edges][3]   the query row; its end; its row of the rotation tables, -1 if not moved
//   row_ptr    [rows + 1]   row n merges the states row_state[row_ptr[n]..row_ptr[n + 1] - 1]
//   row_state  [states]
//   blocks     []           of every run, as far as it is seen
//
// "Slots" and "end" count from the start of a run's first block. A state is what one chunk of one edge
// leaves behind: for each query head a value [D] and its log-sum-exp.
#pragma once

#include <cstdint>
#include <vector>

namespace miniapr {

class Plan;

// One thread block's work, for one KV head. Query vector i of a run is query head i % group of the KV head,
// of edge i / group of the run.
struct Unit {
    int32_t blocks;     // where the run's block ids begin in the buffer
    int32_t first;      // slots below are not the run's
    int32_t begin, end; // slots to go through; begin is a multiple of chunk_grain
    int32_t edges;      // where the run's edges begin in the buffer
    int32_t vector, vectors;
    int32_t state;      // of the run's first edge in this chunk; the next edge has the next state
};

constexpr int chunk_grain = 64;   // chunks begin at multiples of this many slots
constexpr int unit_vectors = 64;  // query vectors in a unit at most

struct Pool {
    int64_t blocks, block_size;
};

struct WorkList {
    std::vector<int32_t> buffer;
    int64_t rows = 0, units = 0, states = 0;
};

// group: query heads per KV head. parallel: units per KV head that keep the GPU busy. rows: at least the
// plan's; rows beyond see nothing. Throws std::invalid_argument where the plan does not fit the pool.
WorkList cut_plan(const Plan& plan, const Pool& pool, int64_t group, int64_t parallel, int64_t rows);

}  // namespace miniapr
