#include <vector>

#include "copies.h"
#include "parallel.h"

namespace miniapr {
namespace {

void check(const int64_t* source, const int64_t* target, int64_t count, int64_t blocks) {
    std::vector<bool> written(static_cast<size_t>(blocks));
    for (int64_t i = 0; i < count; ++i) {
        require_in("source", i, source[i], 0, blocks);
        require_in("target", i, target[i], 0, blocks);
        if (written[static_cast<size_t>(target[i])]) fail("target[", i, "] = ", target[i], " is written twice");
        written[static_cast<size_t>(target[i])] = true;
    }
    for (int64_t i = 0; i < count; ++i)
        if (written[static_cast<size_t>(source[i])])
            fail("source[", i, "] = ", source[i], " is a target as well");
}

void copy_one(const Stack& stack, int64_t layer, int64_t source, int64_t target) {
    const int64_t bytes = element_size(stack.storage);
    char* start = static_cast<char*>(stack.data) + layer * stack.layer * bytes;
    std::memcpy(start + target * stack.block * bytes, start + source * stack.block * bytes,
                static_cast<size_t>(stack.block_elements() * bytes));
}

}  // namespace

void copy_blocks(const Stack& k, const Stack& v, const int64_t* source, const int64_t* target, int64_t count,
                 int threads) {
    check(source, target, count, k.blocks);
    const int64_t items = k.layers * count;
    const int64_t bytes = items * (k.block_elements() + v.block_elements()) * element_size(k.storage);
    parallel_for(items, worth_threads(threads, items, bytes), [&](int64_t i, int) {
        copy_one(k, i / count, source[i % count], target[i % count]);
        copy_one(v, i / count, source[i % count], target[i % count]);
    });
}

}  // namespace miniapr
