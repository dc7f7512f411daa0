// Versions 2 to 4 of paged attention, as the launcher in paged_attention.cu sees them.
#pragma once

#include <cstddef>

#include "paged_attention.h"

namespace miniapr {

// How a launch uses shared memory.
struct Layout {
    int stages;  // how many tiles
    int q_at;    // bytes; on the tensor cores, q lies where the last tile will come
    bool wide;   // copies of 16 bytes
};

using Kernel = void (*)(Attention, Layout);

// What a launch needs; none of it for v1.
struct Choice {
    int version;
    Kernel kernel;
    Layout layout;
    size_t bytes;  // of shared memory
};

// Fill in the kernel of choice.version for heads of at most Width numbers stored as S, or say that it takes more than
// the available shared memory. They are compiled in attention_<Width>.cu: one file each, so that a machine compiles
// them side by side.
template <class S, int Width>
bool fit_ordinary(Choice& choice, int depth, size_t available);  // v2 and v3
template <class S, int Width>
bool fit_tensor(Choice& choice, int depth, size_t available);  // v4

}  // namespace miniapr
