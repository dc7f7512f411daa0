#include "isa_includes.h"

#if defined(__x86_64__)
#define MINIAPR_ISA avx512
#define MINIAPR_VECTOR_BYTES 64
#define MINIAPR_TILE_VECTORS 4  // 6 x 4 accumulators of 32 registers
#define MINIAPR_LINEAR_ROWS 12
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
#endif
#include "isa_kernels.inl"
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
