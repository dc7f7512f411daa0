#include "linear.h"

#include "kernels.h"
#include "memory.h"
#include "parallel.h"

namespace miniapr {
namespace {

// Panels in pairs, in the order in which they lie in memory. A gate goes with its own columns of `up`.
std::vector<LinearItem> cut(const Linear& job) {
    std::vector<LinearItem> items;
    const int64_t panel = panel_columns * job.padded_depth() * element_size(job.storage);
    auto address = [&](const Part& part, int64_t p) { return static_cast<const char*>(part.panels) + p * panel; };
    auto width = [](const Part& part, int64_t p) { return std::min(panel_columns, part.columns - p * panel_columns); };
    int64_t column = 0;
    for (const Part& part : job.parts) {
        const int64_t panels = ceil_div(part.columns, panel_columns);
        for (int64_t p = 0; p < panels; p += job.gated ? 1 : 2) {
            const Part& other = job.gated ? job.parts[1] : part;
            const int64_t next = job.gated ? p : p + 1;
            LinearItem item{};
            item.panels = next < panels ? 2 : 1;
            item.panel[0] = address(part, p);
            item.column[0] = column + p * panel_columns;
            item.width[0] = width(part, p);
            if (item.panels == 2) {
                item.panel[1] = address(other, next);
                item.column[1] = column + next * panel_columns;
                item.width[1] = width(other, next);
            }
            items.push_back(item);
        }
        if (job.gated) break;
        column += part.columns;
    }
    return items;
}

}  // namespace

void linear(const Linear& job, int threads) {
    const int type = static_cast<int>(job.storage);
    const int64_t element = job.storage == Storage::f64 ? 8 : 4, depth = job.padded_depth();
    const std::vector<LinearItem> items = cut(job);
    const int64_t count = static_cast<int64_t>(items.size());
    const Kernels& kernel = kernels();
    auto memory = aligned_memory(job.rows * depth * element);
    char* x = static_cast<char*>(memory.get());
    const int readers = worth_threads(threads, job.rows, job.rows * depth);
    parallel_for(job.rows, readers, [&](int64_t row, int) { kernel.enter[type](job, row, x + row * depth * element); });
    const int workers = worth_threads(threads, count, job.rows * depth * count * 2 * panel_columns);
    parallel_for(count, workers, [&](int64_t i, int) { kernel.multiply[type](job, x, items[static_cast<size_t>(i)]); });
}

void rope(const Heads& heads, const void* cos, const void* sin, bool interleaved, void* out, int threads) {
    auto rotate = kernels().rope[static_cast<int>(heads.storage)];
    const int workers = worth_threads(threads, heads.rows, heads.rows * heads.heads * heads.head_dim);
    parallel_for(heads.rows, workers, [&](int64_t row, int) { rotate(heads, row, cos, sin, interleaved, out); });
}

}  // namespace miniapr
