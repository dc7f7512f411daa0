// The attention plan (miniapr/ops/plan.py), checked and copied once per step.
//
// A copy, because it is small and a kernel that trusts its indices must know that nobody changes them.
#pragma once

#include <cstdint>
#include <vector>

namespace miniapr {

struct PlanArrays {  // addresses and lengths as they come from Python
    const int32_t *blocks, *block_ptr, *first, *edge_ptr, *edge_row, *edge_visible, *edge_shift, *row_ptr, *row_edges,
        *shifts;
    int64_t listed, runs, edges, rows, distinct_shifts;
};

class Plan {
public:
    explicit Plan(const PlanArrays& arrays);

    // What depends on the pool: every block that is needed exists. Blocks listed beyond the last visible
    // token are not looked at.
    void check_pool(int64_t blocks_in_pool, int64_t block_size) const;

    int64_t runs() const { return static_cast<int64_t>(first.size()); }
    int64_t rows() const { return static_cast<int64_t>(row_ptr.size()) - 1; }

    std::vector<int32_t> blocks, block_ptr, first, edge_ptr, edge_row, edge_visible, edge_shift, row_ptr, row_edges;
    std::vector<int32_t> shifts;
    std::vector<int32_t> edge_run;  // [E]
    std::vector<int32_t> run_end;   // [R] first + the most that any edge sees: slots beyond are never read
    bool shifted = false;
};

}  // namespace miniapr
