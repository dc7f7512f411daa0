#include "copies.h"
#include "indices.h"
#include "kernels.h"
#include "parallel.h"

namespace miniapr {
namespace {

// The keys of block source[i] turned to block target[i], in one layer; in place where the two are the same.
void turn_block(const Stack& k, int64_t layer, const int64_t* source, const int64_t* target, int64_t i,
                const Rotations& by) {
    const int type = static_cast<int>(k.storage);
    const int64_t bytes = element_size(k.storage), head_bytes = k.head_dim * k.block_size * bytes;
    const int64_t row = by.turn[i] * (k.head_dim / 2) * (k.storage == Storage::f64 ? 8 : 4);
    const char *from = k.at(layer, source[i]), *cos = static_cast<const char*>(by.cos), *sin = static_cast<const char*>(by.sin);
    char* to = k.at(layer, target[i]);
    for (int64_t head = 0; head < k.heads; ++head)
        kernels().turn[type](from + head * head_bytes, to + head * head_bytes, k.head_dim, k.block_size, cos + row,
                             sin + row, by.interleaved);
}

}  // namespace

void shift_keys(const Stack& k, const int64_t* blocks, int64_t count, const Rotations& by, int threads) {
    check_once(blocks, count, k.blocks);
    check_turns(by.turn, count, by.rows);
    const int64_t items = k.layers * count;
    parallel_for(items, worth_threads(threads, items, items * k.block_bytes()),
                 [&](int64_t i, int) { turn_block(k, i / count, blocks, blocks, i % count, by); });
}

void copy_and_shift(const Stack& k, const Stack& v, const int64_t* source, const int64_t* target, int64_t count,
                    const Rotations& by, int threads) {
    check_copies(source, target, count, k.blocks);
    check_turns(by.turn, count, by.rows);
    const int64_t items = k.layers * count;
    parallel_for(items, worth_threads(threads, items, items * (k.block_bytes() + v.block_bytes())), [&](int64_t i, int) {
        turn_block(k, i / count, source, target, i % count, by);
        copy_block(v, i / count, source[i % count], target[i % count]);
    });
}

}  // namespace miniapr
