#include "attention_plan.h"

#include <algorithm>

#include "../common.h"
#include "../plan.h"

namespace miniapr {
namespace {

constexpr int64_t least_tiles = 2, most_tiles = 16;  // of chunk_grain slots, in a chunk

// A run in chunks. However many rows see it, it becomes about tiles / chunk units: where one unit cannot take
// all the rows, chunks are longer by as much as there are more units. So the number of states stays small
// even for the long prefill of many rows.
struct Cut {
    int64_t edges, units_of_rows, first_tile, tiles, chunks;

    Cut(const Plan& plan, int64_t run, int64_t group) {
        edges = plan.edge_ptr[run + 1] - plan.edge_ptr[run];
        units_of_rows = ceil_div(edges * group, unit_vectors);
        first_tile = plan.first[run] / chunk_grain;
        tiles = edges ? ceil_div(plan.run_end[run], chunk_grain) - first_tile : 0;
        chunks = 0;
    }
    int64_t begin(int64_t chunk) const { return (first_tile + tiles * chunk / chunks) * chunk_grain; }
};

std::vector<Cut> cut_runs(const Plan& plan, int64_t group, int64_t parallel) {
    std::vector<Cut> cuts;
    int64_t tiles = 0;
    for (int64_t run = 0; run < plan.runs(); ++run) tiles += cuts.emplace_back(plan, run, group).tiles;
    // As long as the GPU is full either way, but no longer than most_tiles: many units even out at the end.
    const int64_t chunk = std::clamp(ceil_div(tiles, std::max<int64_t>(parallel, 1)), least_tiles, most_tiles);
    for (Cut& cut : cuts)
        if (cut.edges) cut.chunks = ceil_div(cut.tiles, chunk * cut.units_of_rows);
    return cuts;
}

int32_t narrow(int64_t value) {
    if (value > INT32_MAX) fail("plan: a work list of ", value, " entries is too long for int32");
    return static_cast<int32_t>(value);
}

}  // namespace

WorkList cut_plan(const Plan& plan, const Pool& pool, int64_t group, int64_t parallel, int64_t rows) {
    if (rows < plan.rows()) fail("rows = ", rows, " is less than the plan's ", plan.rows());
    if (group < 1) fail("group = ", group, ", expected at least 1");
    plan.check_pool(pool.blocks, pool.block_size);

    WorkList list;
    list.rows = rows;
    std::vector<Unit> units;
    std::vector<std::vector<int32_t>> row_states(static_cast<size_t>(rows));
    std::vector<int32_t> blocks, edges;
    const std::vector<Cut> cuts = cut_runs(plan, group, parallel);
    for (int64_t run = 0; run < plan.runs(); ++run) {
        const Cut& cut = cuts[run];
        const int32_t e0 = plan.edge_ptr[run], first = plan.first[run];
        for (int64_t chunk = 0; chunk < cut.chunks; ++chunk, list.states += cut.edges) {
            const int64_t begin = cut.begin(chunk), stop = cut.begin(chunk + 1);
            for (int64_t part = 0; part < cut.units_of_rows; ++part) {
                // Evenly: 65 vectors are 33 and 32, not 64 and 1.
                const int64_t vectors = cut.edges * group;
                const int64_t from = vectors * part / cut.units_of_rows, to = vectors * (part + 1) / cut.units_of_rows;
                int64_t seen = 0;
                for (int64_t e = from / group; e * group < to; ++e)
                    seen = std::max<int64_t>(seen, plan.edge_visible[e0 + e]);
                const int64_t end = std::min(stop, first + seen);
                if (begin < end)
                    units.push_back({narrow(int64_t(blocks.size())), first, narrow(begin), narrow(end),
                                     narrow(int64_t(edges.size())), narrow(from), narrow(to - from),
                                     narrow(list.states)});
            }
            for (int64_t e = 0; e < cut.edges; ++e)
                if (begin < int64_t(first) + plan.edge_visible[e0 + e])
                    row_states[plan.edge_row[e0 + e]].push_back(narrow(list.states + e));
        }
        if (!cut.edges) continue;
        for (int32_t e = e0; e < plan.edge_ptr[run + 1]; ++e) {
            const int32_t turn = plan.edge_shift[e];
            edges.insert(edges.end(), {plan.edge_row[e], first + plan.edge_visible[e], plan.shifts[turn] ? turn : -1});
        }
        const auto begin = plan.blocks.begin() + plan.block_ptr[run];
        blocks.insert(blocks.end(), begin, begin + ceil_div(plan.run_end[run], pool.block_size));
    }
    // The longest first, so that the last to finish are short.
    std::stable_sort(units.begin(), units.end(),
                     [](const Unit& a, const Unit& b) { return a.end - a.begin > b.end - b.begin; });

    std::vector<int32_t>& buffer = list.buffer;
    list.units = static_cast<int64_t>(units.size());
    int64_t states_listed = 0;
    for (const auto& states : row_states) states_listed += static_cast<int64_t>(states.size());
    const int64_t edges_at = 8 + 8 * list.units, row_ptr_at = edges_at + static_cast<int64_t>(edges.size());
    const int64_t row_state_at = row_ptr_at + rows + 1, blocks_at = row_state_at + states_listed;
    narrow(blocks_at + static_cast<int64_t>(blocks.size()));
    buffer = {narrow(list.units), narrow(row_ptr_at), narrow(row_state_at), 0, 0, 0, 0, 0};
    for (const Unit& u : units)
        buffer.insert(buffer.end(), {narrow(blocks_at + u.blocks), u.first, u.begin, u.end, narrow(edges_at + u.edges),
                                     u.vector, u.vectors, u.state});
    buffer.insert(buffer.end(), edges.begin(), edges.end());
    int32_t listed = 0;
    for (const auto& states : row_states) {
        buffer.push_back(listed);
        listed += static_cast<int32_t>(states.size());
    }
    buffer.push_back(listed);
    for (const auto& states : row_states) buffer.insert(buffer.end(), states.begin(), states.end());
    buffer.insert(buffer.end(), blocks.begin(), blocks.end());
    return list;
}

}  // namespace miniapr
