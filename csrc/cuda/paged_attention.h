// What a launch of paged attention is given. Plain numbers only: both the host's compiler and nvcc read it.
#pragma once

#include "operations.h"

namespace miniapr {

// Dividing by a number that is known before the launch: n / d = n * factor >> shift, for every n below 2^31. A
// kernel that divides waits 10 times as long.
struct Divisor {
    uint32_t factor;
    int shift;
};

struct Attention {
    const int32_t* work;  // the work list (attention_plan.h), on the device, 16-byte aligned
    const void* q;        // [rows, q heads, D]: float32 if q_is_float, else the storage type
    int64_t q_row, q_head;
    bool q_is_float;
    const void *k, *v;  // [NB, H, D, B] and [NB, H, B, D], contiguous inside a block
    int64_t k_block, v_block;  // elements from one block to the next
    int heads, group, depth, block_size;  // KV heads, query heads per KV head, head size
    Divisor per_block;       // by block_size; the launcher fills it in
    const float *cos, *sin;  // [turns, D / 2]
    bool interleaved;
    void* out;              // [rows, q heads, D], contiguous, in the type of q
    float *value, *lse;     // scratch: [states, q heads, D] and [states, q heads]
};

// Room for this much: what the list really holds may be less.
struct AttentionRoom {
    int64_t units, rows;
};

// version: 1..4, or 0 for the best that runs here. Throws std::invalid_argument for a version that cannot.
void paged_attention(Attention a, const AttentionRoom& room, Type type, int version, Stream stream);

// How many thread blocks the current GPU runs at once: what the work should be cut for.
int64_t attention_blocks(Type type, int depth, bool q_is_float);

}  // namespace miniapr
