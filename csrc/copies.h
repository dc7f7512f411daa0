// The operations that move keys and values without looking at them, and those that turn keys.
#pragma once

#include <cstdint>

#include "common.h"

namespace miniapr {

// New tokens: [rows, heads, D] with the last dimension contiguous.
struct Tokens {
    const void* data;
    int64_t row_stride, head_stride;
};

// One layer, written: [heads, D, B] for keys and [heads, B, D] for values, contiguous inside a block.
struct Layer {
    void *k, *v;
    int64_t k_block, v_block;  // elements from one block to the next
    int64_t blocks, heads, head_dim, block_size;
};

// All layers of keys or of values.
struct Stack {
    void* data;
    int64_t layer, block;  // elements from one to the next
    int64_t layers, blocks, heads, head_dim, block_size;
    Storage storage;

    int64_t block_bytes() const { return heads * head_dim * block_size * element_size(storage); }
    char* at(int64_t l, int64_t b) const {
        return static_cast<char*>(data) + (l * layer + b * block) * element_size(storage);
    }
};

// slots[n] = block * B + offset, or -1: row n is not stored.
void write_kv(const Tokens& k, const Tokens& v, const Layer& cache, const int64_t* slots, int64_t rows,
              int64_t element_bytes, int threads);

// Block source[i] to block target[i] in all layers. No block may be in both, nor twice in target: such a
// list means something only in one order, and the copies run in any.
void copy_blocks(const Stack& k, const Stack& v, const int64_t* source, const int64_t* target, int64_t count,
                 int threads);

// The one block of one layer.
void copy_block(const Stack& stack, int64_t layer, int64_t source, int64_t target);

// Block i is turned by row turn[i] of the tables [rows, D / 2]; double for f64 storage, else float.
struct Rotations {
    const int64_t* turn;
    const void *cos, *sin;
    int64_t rows;
    bool interleaved;
};

// Turn the keys of each block in place.
void shift_keys(const Stack& k, const int64_t* blocks, int64_t count, const Rotations& by, int threads);

// copy_blocks, the keys turned on the way: one pass over the memory instead of two.
void copy_and_shift(const Stack& k, const Stack& v, const int64_t* source, const int64_t* target, int64_t count,
                    const Rotations& by, int threads);

}  // namespace miniapr
