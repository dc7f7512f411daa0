// What copy_blocks and shift_keys share: the list of blocks, and the copy of one block.
#pragma once

#include <algorithm>

#include "dispatch.cuh"

namespace miniapr {

// Which blocks, in the parameters of a kernel (4 KiB at most on every GPU and driver). So a list needs no memory on
// the device, no upload that the host must keep alive, and is part of a captured graph. A longer list takes
// several launches.
struct BlockList {
    static constexpr int64_t most = 320;
    int32_t source[most], target[most], turn[most];
};

// start(list, how many) for each part of a list that is too long for one launch. `turn` may be null.
template <class F>
void in_parts(const int64_t* source, const int64_t* target, const int64_t* turn, int64_t count, const F& start) {
    for (int64_t begin = 0; begin < count; begin += BlockList::most) {
        const int64_t n = std::min(BlockList::most, count - begin);
        BlockList list{};
        for (int64_t i = 0; i < n; ++i) {
            list.source[i] = static_cast<int32_t>(source[begin + i]);
            list.target[i] = static_cast<int32_t>(target[begin + i]);
            list.turn[i] = turn ? static_cast<int32_t>(turn[begin + i]) : 0;
        }
        start(list, n);
    }
}

constexpr int copy_threads = 256, copy_unroll = 4;

// Part `part` of a block: each thread has four loads on their way before its first store. One load at a time
// would leave the memory waiting for the thread.
template <class Word>
__device__ __forceinline__ void copy_part(const Word* from, Word* to, int64_t words, unsigned part) {
    const unsigned first = part * copy_threads * copy_unroll + threadIdx.x;
    Word held[copy_unroll];
#pragma unroll
    for (int u = 0; u < copy_unroll; ++u)
        if (first + u * copy_threads < words) held[u] = from[first + u * copy_threads];
#pragma unroll
    for (int u = 0; u < copy_unroll; ++u)
        if (first + u * copy_threads < words) to[first + u * copy_threads] = held[u];
}

using Word16 = Vector<uint32_t, 4>;

// Where everything is a multiple of 16 bytes, f(As<Word16>()); else words of the size of a number.
template <class F>
void with_word(bool vectors, Type type, const F& f) {
    if (vectors) f(As<Word16>());
    else if (size_of(type) == 4) f(As<uint32_t>());
    else f(As<uint16_t>());
}

inline bool in_vectors(const Stack& x, Type type) {
    const int64_t size = size_of(type);
    return in_vectors({address(x.data), x.layer * size, x.block * size, x.block_elements() * size});
}

}  // namespace miniapr
