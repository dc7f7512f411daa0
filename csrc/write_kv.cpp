#include "copies.h"
#include "indices.h"
#include "parallel.h"

namespace miniapr {
namespace {

template <class E>
void write_head(const Tokens& k, const Tokens& v, const Layer& cache, const int64_t* slots, int64_t rows,
                int64_t head) {
    const int64_t size = cache.block_size, depth = cache.head_dim, inside = head * depth * size;
    for (int64_t n = 0; n < rows; ++n) {
        if (slots[n] < 0) continue;
        const int64_t block = slots[n] / size, offset = slots[n] % size;
        const E* key = static_cast<const E*>(k.data) + n * k.row_stride + head * k.head_stride;
        const E* value = static_cast<const E*>(v.data) + n * v.row_stride + head * v.head_stride;
        E* keys = static_cast<E*>(cache.k) + block * cache.k_block + inside + offset;
        E* values = static_cast<E*>(cache.v) + block * cache.v_block + inside + offset * depth;
        for (int64_t d = 0; d < depth; ++d) keys[d * size] = key[d];
        std::memcpy(values, value, static_cast<size_t>(depth) * sizeof(E));
    }
}

}  // namespace

void write_kv(const Tokens& k, const Tokens& v, const Layer& cache, const int64_t* slots, int64_t rows,
              int64_t element_bytes, int threads) {
    check_slots(slots, rows, cache.blocks * cache.block_size);
    // By heads, so that no two threads write into one cache line of a block.
    auto write = element_bytes == 8 ? write_head<uint64_t> : element_bytes == 4 ? write_head<uint32_t> : write_head<uint16_t>;
    const int workers = worth_threads(threads, cache.heads, rows * cache.heads * cache.head_dim * element_bytes);
    parallel_for(cache.heads, workers, [&](int64_t head, int) { write(k, v, cache, slots, rows, head); });
}

}  // namespace miniapr
