#include "plan.h"

#include <algorithm>

#include "common.h"

namespace miniapr {
namespace {

std::vector<int32_t> copy(const int32_t* values, int64_t count) {
    return count ? std::vector<int32_t>(values, values + count) : std::vector<int32_t>();
}

void check_pointers(const char* name, const std::vector<int32_t>& pointer, int64_t end) {
    if (pointer.front() != 0) fail(name, "[0] = ", pointer.front(), ", expected 0");
    for (size_t i = 1; i < pointer.size(); ++i)
        if (pointer[i] < pointer[i - 1])
            fail(name, " decreases at ", i, ": ", pointer[i - 1], " then ", pointer[i]);
    if (pointer.back() != end) fail(name, " ends at ", pointer.back(), ", expected ", end);
}

}  // namespace

Plan::Plan(const PlanArrays& a)
    : blocks(copy(a.blocks, a.listed)),
      block_ptr(copy(a.block_ptr, a.runs + 1)),
      first(copy(a.first, a.runs)),
      edge_ptr(copy(a.edge_ptr, a.runs + 1)),
      edge_row(copy(a.edge_row, a.edges)),
      edge_visible(copy(a.edge_visible, a.edges)),
      edge_shift(copy(a.edge_shift, a.edges)),
      row_ptr(copy(a.row_ptr, a.rows + 1)),
      row_edges(copy(a.row_edges, a.edges)),
      shifts(copy(a.shifts, a.distinct_shifts)),
      edge_run(static_cast<size_t>(a.edges)),
      run_end(copy(a.first, a.runs)) {
    check_pointers("plan.block_ptr", block_ptr, a.listed);
    check_pointers("plan.edge_ptr", edge_ptr, a.edges);
    check_pointers("plan.row_ptr", row_ptr, a.edges);
    for (int64_t run = 0; run < a.runs; ++run) {
        require_in("plan.first", run, first[run], 0, INT32_MAX);
        for (int32_t e = edge_ptr[run]; e < edge_ptr[run + 1]; ++e) {
            require_in("plan.edge_row", e, edge_row[e], 0, a.rows);
            require_in("plan.edge_visible", e, edge_visible[e], 1, INT32_MAX - int64_t(first[run]));
            require_in("plan.edge_shift", e, edge_shift[e], 0, a.distinct_shifts);
            edge_run[e] = static_cast<int32_t>(run);
            run_end[run] = std::max(run_end[run], first[run] + edge_visible[e]);
        }
    }
    std::vector<bool> seen(static_cast<size_t>(a.edges));
    for (int64_t row = 0; row < a.rows; ++row)
        for (int32_t i = row_ptr[row]; i < row_ptr[row + 1]; ++i) {
            int32_t e = row_edges[i];
            require_in("plan.row_edges", i, e, 0, a.edges);
            if (edge_row[e] != row || seen[e])
                fail("plan.row_edges[", i, "] = ", e, " does not belong to row ", row, " or is listed twice");
            seen[e] = true;
        }
    shifted = std::any_of(shifts.begin(), shifts.end(), [](int32_t s) { return s != 0; });
}

void Plan::check_pool(int64_t blocks_in_pool, int64_t block_size) const {
    for (int64_t run = 0; run < runs(); ++run) {
        if (edge_ptr[run] == edge_ptr[run + 1]) continue;
        require_in("plan.first", run, first[run], 0, block_size);
        int64_t needed = ceil_div(run_end[run], block_size), listed = block_ptr[run + 1] - block_ptr[run];
        if (needed > listed)
            fail("plan.edge_visible: run ", run, " needs ", needed, " blocks of ", block_size, " but lists ", listed);
        for (int64_t i = block_ptr[run]; i < block_ptr[run] + needed; ++i)
            require_in("plan.blocks", i, blocks[i], 0, blocks_in_pool);
    }
}

}  // namespace miniapr
