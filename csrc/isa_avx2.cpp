#include "isa_includes.h"

#if defined(__x86_64__)
#define MINIAPR_ISA avx2
#define MINIAPR_VECTOR_BYTES 32
#define MINIAPR_TILE_VECTORS 2  // 6 x 2 accumulators of 16 registers
#define MINIAPR_LINEAR_ROWS 3
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#include "isa_kernels.inl"
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
