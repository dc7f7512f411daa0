// The vectorised inner kernels, compiled once per instruction set and chosen when the process starts.
#pragma once

#include <cstdint>

#include "attention.h"
#include "linear.h"
#include "sample.h"

namespace miniapr {

struct Kernels {
    const char* name;
    // Indexed by Storage. `scratch` is one worker's, aligned to 64 bytes.
    int64_t (*scratch_bytes[3])(const Job& job);
    void (*attend[3])(const Job& job, const Share& share, void* scratch);
    void (*merge[3])(const Job& job, int64_t row);
    // Rotate the keys [D][B] of one head of one block; cos and sin [D / 2] in the type of the arithmetic.
    void (*turn[3])(const void* from, void* to, int64_t head_dim, int64_t block_size, const void* cos, const void* sin,
                    bool interleaved);
    // One row of x as the arithmetic wants it; then two panels of a linear layer for all rows.
    void (*enter[3])(const Linear& job, int64_t row, void* x);
    void (*multiply[3])(const Linear& job, const void* x, const LinearItem& item);
    void (*rope[3])(const Heads& heads, int64_t row, const void* cos, const void* sin, bool interleaved, void* out);
    // One row of logits; its weights [count, rounded up to 8].
    void (*peak[3])(const void* logits, int64_t count, Peak& out);
    void (*weigh[3])(const void* logits, int64_t count, double top, double temperature, double* weights);
};

// The best that this processor runs, or the one that the environment variable MINIAPR_ISA names
// (portable, neon, avx2, avx512, avx512bf16), for comparing them.
const Kernels& kernels();

extern const Kernels portable_kernels;
#if defined(__x86_64__)
extern const Kernels avx2_kernels, avx512_kernels, avx512bf16_kernels;
#elif defined(__aarch64__)
extern const Kernels neon_kernels;
#endif

}  // namespace miniapr
