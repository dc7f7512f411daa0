#include "copies.h"
#include "indices.h"
#include "parallel.h"

namespace miniapr {

void copy_block(const Stack& stack, int64_t layer, int64_t source, int64_t target) {
    std::memcpy(stack.at(layer, target), stack.at(layer, source), static_cast<size_t>(stack.block_bytes()));
}

void copy_blocks(const Stack& k, const Stack& v, const int64_t* source, const int64_t* target, int64_t count,
                 int threads) {
    check_copies(source, target, count, k.blocks);
    const int64_t items = k.layers * count;
    parallel_for(items, worth_threads(threads, items, items * (k.block_bytes() + v.block_bytes())), [&](int64_t i, int) {
        copy_block(k, i / count, source[i % count], target[i % count]);
        copy_block(v, i / count, source[i % count], target[i % count]);
    });
}

}  // namespace miniapr
