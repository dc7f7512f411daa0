#include "attention.h"

#include <algorithm>
#include <utility>

#include "kernels.h"
#include "memory.h"
#include "parallel.h"

namespace miniapr {

CutPlan::CutPlan(Plan checked, int64_t pool, int64_t size, int64_t query_heads)
    : plan(std::move(checked)),
      pool_blocks(pool),
      block_size(size),
      group(query_heads),
      run_state(plan.first.size()),
      run_chunk(plan.first.size()) {
    if (block_size < 1) fail("k_cache: block size ", block_size);
    if (group < 1) fail("q has ", group, " heads for each of k_cache");
    plan.check_pool(pool_blocks, block_size);
    for (int64_t run = 0; run < plan.runs(); ++run) cut_run(run);
    for (const Unit& unit : units) {
        const int64_t rows = (unit.edge_end - unit.edge_begin) * group;
        most_rows = std::max(most_rows, rows);
        // A key and a value for each row; and loading both costs about as much as using them for 12 rows.
        work += std::max<int64_t>(0, unit.end - unit.begin) * 2 * (rows + 12);
    }
}

void CutPlan::cut_run(int64_t run) {
    const int64_t edges = plan.edge_ptr[run + 1] - plan.edge_ptr[run], most = std::max<int64_t>(1, max_rows / group);
    const int64_t groups = ceil_div(edges, most), end = plan.run_end[run];
    // Tiles start at multiples of tile_tokens from the run's first block on, whatever `first` is.
    const int64_t chunk = groups > 1 ? ceil_div(end, tile_tokens) * tile_tokens : chunk_tokens;
    run_state[run] = states;
    run_chunk[run] = chunk;
    if (!edges) return;
    for (int64_t begin = 0; begin < end; begin += chunk) {
        for (int64_t g = 0; g < groups; ++g) {
            Unit unit{};
            unit.run = static_cast<int32_t>(run);
            unit.edge_begin = static_cast<int32_t>(plan.edge_ptr[run] + edges * g / groups);
            unit.edge_end = static_cast<int32_t>(plan.edge_ptr[run] + edges * (g + 1) / groups);
            unit.begin = std::max(begin, plan.first[run] / tile_tokens * tile_tokens);
            unit.state = states + unit.edge_begin - plan.edge_ptr[run];
            int64_t seen = 0;
            for (int32_t e = unit.edge_begin; e < unit.edge_end; ++e)
                seen = std::max<int64_t>(seen, plan.edge_visible[e]);
            unit.end = std::min(plan.first[run] + seen, begin + chunk);
            units.push_back(unit);
        }
        states += edges;
    }
}

namespace {

void check(const CutPlan& cut, const Queries& q, const Cache& cache, const Turns& turns) {
    const Plan& plan = cut.plan;
    if (q.rows != plan.rows()) fail("q has ", q.rows, " rows, the plan has ", plan.rows());
    if (cache.heads < 1 || q.heads != cut.group * cache.heads)
        fail("q has ", q.heads, " heads, the plan was cut for ", cut.group, " for each of the ", cache.heads, " of k_cache");
    if (cache.head_dim < 2 || cache.head_dim % 2) fail("k_cache: head size ", cache.head_dim, " is not even");
    if (cache.blocks != cut.pool_blocks || cache.block_size != cut.block_size)
        fail("k_cache has ", cache.blocks, " blocks of ", cache.block_size, ", the plan was checked for ",
             cut.pool_blocks, " of ", cut.block_size);
    if (plan.shifted && turns.count < static_cast<int64_t>(plan.shifts.size()))
        fail("shift_cos has ", turns.count, " rows for ", plan.shifts.size(), " shifts in the plan");
}

}  // namespace

void paged_attention(const CutPlan& cut, const Queries& q, const Cache& cache, const Turns& turns, void* out,
                     int threads) {
    check(cut, q, cache, turns);
    Job job{cut, cut.plan, q, cache, turns, out, nullptr, nullptr, cut.group};
    const Kernels& kernel = kernels();
    const int type = static_cast<int>(cache.storage);
    const int64_t element = cache.storage == Storage::f64 ? 8 : 4;
    // Going on from head to head and from unit to unit, the next tile is known and fetched in time: so heads are shared
    // out only as far as the threads need it, and small units are taken together.
    const int64_t units = static_cast<int64_t>(cut.units.size()), enough = 16 * int64_t(threads);
    const int64_t stretches = std::min(units, enough);
    const int64_t shares = std::clamp<int64_t>(ceil_div(2 * threads, std::max<int64_t>(units, 1)), 1, cache.heads);
    const int64_t items = stretches * shares;
    const int workers = worth_threads(threads, items, cut.work * cache.heads * cache.head_dim);
    const int64_t scratch = ceil_div(kernel.scratch_bytes[type](job), 64) * 64;
    auto value = aligned_memory(cut.states * q.heads * cache.head_dim * element);
    auto lse = aligned_memory(cut.states * q.heads * element);
    auto own = aligned_memory(scratch * workers);
    job.value = value.get();
    job.lse = lse.get();
    parallel_for(items, workers, [&](int64_t i, int worker) {
        const int64_t stretch = i / shares, part = i % shares;
        const Unit* unit = cut.units.data();
        const Share share{unit + units * stretch / stretches, unit + units * (stretch + 1) / stretches,
                          cache.heads * part / shares, cache.heads * (part + 1) / shares};
        kernel.attend[type](job, share, static_cast<char*>(own.get()) + worker * scratch);
    });
    const int mergers = worth_threads(threads, q.rows, cut.states * q.heads * cache.head_dim);
    parallel_for(q.rows, mergers, [&](int64_t row, int) { kernel.merge[type](job, row); });
}

}  // namespace miniapr
