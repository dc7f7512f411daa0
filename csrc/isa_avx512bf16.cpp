#include "isa_includes.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define MINIAPR_ISA avx512bf16
#define MINIAPR_VECTOR_BYTES 64
#define MINIAPR_TILE_VECTORS 4
#define MINIAPR_LINEAR_ROWS 12
#define MINIAPR_BF16_DOT
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
#endif
#include "isa_macros.h"

namespace miniapr {
namespace MINIAPR_ISA {

#include "vector.inl"
//
#include "linear.inl"

}  // namespace MINIAPR_ISA
}  // namespace miniapr
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace miniapr {

// AVX-512 but for the linear layers of bfloat16.
const Kernels avx512bf16_kernels = [] {
    Kernels kernels = avx512_kernels;
    kernels.name = "avx512bf16";
    kernels.enter[1] = avx512bf16::enter<avx512bf16::F32, bf16>;
    kernels.multiply[1] = avx512bf16::multiply<avx512bf16::F32, bf16>;
    return kernels;
}();

}  // namespace miniapr
#endif
