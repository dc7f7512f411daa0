#include "attention.h"

#include <algorithm>

#include "kernels.h"
#include "memory.h"
#include "parallel.h"

namespace miniapr {
namespace {

void check(const Plan& plan, const Queries& q, const Cache& cache, const Turns& turns) {
    if (q.rows != plan.rows()) fail("q has ", q.rows, " rows, the plan has ", plan.rows());
    if (cache.heads < 1 || q.heads % cache.heads)
        fail("q has ", q.heads, " heads, not a multiple of the ", cache.heads, " of k_cache");
    if (cache.head_dim < 2 || cache.head_dim % 2) fail("k_cache: head size ", cache.head_dim, " is not even");
    if (cache.block_size < 1) fail("k_cache: block size ", cache.block_size);
    if (plan.shifted && turns.count < static_cast<int64_t>(plan.shifts.size()))
        fail("shift_cos has ", turns.count, " rows for ", plan.shifts.size(), " shifts in the plan");
    plan.check_pool(cache.blocks, cache.block_size);
}

void cut_run(Job& job, int64_t run) {
    const Plan& plan = job.plan;
    int64_t edges = plan.edge_ptr[run + 1] - plan.edge_ptr[run], most = std::max<int64_t>(1, max_rows / job.group);
    int64_t groups = ceil_div(edges, most), end = plan.run_end[run];
    // Tiles start at multiples of tile_tokens from the run's first block on, whatever `first` is.
    int64_t chunk = groups > 1 ? ceil_div(end, tile_tokens) * tile_tokens : chunk_tokens;
    job.run_state[run] = job.states;
    job.run_chunk[run] = chunk;
    if (!edges) return;
    for (int64_t begin = 0; begin < end; begin += chunk) {
        for (int64_t g = 0; g < groups; ++g) {
            Unit unit{};
            unit.run = static_cast<int32_t>(run);
            unit.edge_begin = static_cast<int32_t>(plan.edge_ptr[run] + edges * g / groups);
            unit.edge_end = static_cast<int32_t>(plan.edge_ptr[run] + edges * (g + 1) / groups);
            unit.begin = std::max(begin, plan.first[run] / tile_tokens * tile_tokens);
            unit.state = job.states + unit.edge_begin - plan.edge_ptr[run];
            int64_t seen = 0;
            for (int32_t e = unit.edge_begin; e < unit.edge_end; ++e)
                seen = std::max<int64_t>(seen, plan.edge_visible[e]);
            unit.end = std::min(plan.first[run] + seen, begin + chunk);
            job.units.push_back(unit);
        }
        job.states += edges;
    }
}

int64_t multiply_adds(const Job& job) {
    int64_t total = 0;
    for (const Unit& unit : job.units)
        // Loading a token costs about as much as scoring it for 8 rows.
        total += std::max<int64_t>(0, unit.end - unit.begin) * ((unit.edge_end - unit.edge_begin) * job.group + 8);
    return total * job.cache.heads * job.cache.head_dim / 8;
}

}  // namespace

void paged_attention(const Plan& plan, const Queries& q, const Cache& cache, const Turns& turns, void* out,
                     int threads) {
    check(plan, q, cache, turns);
    Job job{plan, q, cache, turns, out, nullptr, nullptr, q.heads / cache.heads, {}, {}, {}, 0};
    job.run_state.resize(static_cast<size_t>(plan.runs()));
    job.run_chunk.resize(static_cast<size_t>(plan.runs()));
    if (q.heads == 0) return;
    for (int64_t run = 0; run < plan.runs(); ++run) cut_run(job, run);

    const Kernels& kernel = kernels();
    const int type = static_cast<int>(cache.storage);
    const int64_t element = cache.storage == Storage::f64 ? 8 : 4;
    const int64_t items = static_cast<int64_t>(job.units.size()) * cache.heads;
    const int workers = worth_threads(threads, items, multiply_adds(job));
    const int64_t scratch = ceil_div(kernel.scratch_bytes[type](job), 64) * 64;
    auto value = aligned_memory(job.states * q.heads * cache.head_dim * element);
    auto lse = aligned_memory(job.states * q.heads * element);
    auto own = aligned_memory(scratch * workers);
    job.value = value.get();
    job.lse = lse.get();
    parallel_for(items, workers, [&](int64_t i, int worker) {
        const Unit& unit = job.units[static_cast<size_t>(i / cache.heads)];
        kernel.attend[type](job, unit, i % cache.heads, static_cast<char*>(own.get()) + worker * scratch);
    });
    const int mergers = worth_threads(threads, q.rows, job.states * q.heads * cache.head_dim);
    parallel_for(q.rows, mergers, [&](int64_t row, int) { kernel.merge[type](job, row); });
}

}  // namespace miniapr
