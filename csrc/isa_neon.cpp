#include "isa_includes.h"

#if defined(__aarch64__)
#define MINIAPR_ISA neon  // what every 64-bit ARM processor has: no target to set
#define MINIAPR_VECTOR_BYTES 16
#define MINIAPR_TILE_VECTORS 4  // 6 x 4 accumulators of 32 registers
#define MINIAPR_LINEAR_ROWS 3   // 3 x 2 panels x 4 vectors
#include "isa_kernels.inl"
#endif
