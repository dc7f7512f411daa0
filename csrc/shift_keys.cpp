#include <vector>

#include "copies.h"
#include "kernels.h"
#include "parallel.h"

namespace miniapr {

void shift_keys(const Stack& k, const int64_t* blocks, const int64_t* turn, int64_t count, const void* cos,
                const void* sin, int64_t turns, bool interleaved, int threads) {
    std::vector<bool> seen(static_cast<size_t>(k.blocks));
    for (int64_t i = 0; i < count; ++i) {
        require_in("blocks", i, blocks[i], 0, k.blocks);
        require_in("turn", i, turn[i], 0, turns);
        if (seen[static_cast<size_t>(blocks[i])]) fail("blocks[", i, "] = ", blocks[i], " is listed twice");
        seen[static_cast<size_t>(blocks[i])] = true;
    }
    const int type = static_cast<int>(k.storage);
    const int64_t items = k.layers * count, bytes = element_size(k.storage);
    const int64_t table_row = k.head_dim / 2 * (k.storage == Storage::f64 ? 8 : 4);
    auto rotate = kernels().turn[type];
    parallel_for(items, worth_threads(threads, items, items * k.block_elements() * bytes), [&](int64_t i, int) {
        const int64_t layer = i / count, block = blocks[i % count], row = turn[i % count];
        char* start = static_cast<char*>(k.data) + (layer * k.layer + block * k.block) * bytes;
        for (int64_t head = 0; head < k.heads; ++head)
            rotate(start + head * k.head_dim * k.block_size * bytes, k.head_dim, k.block_size,
                   static_cast<const char*>(cos) + row * table_row, static_cast<const char*>(sin) + row * table_row,
                   interleaved);
    });
}

}  // namespace miniapr
