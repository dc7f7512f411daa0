#include "isa_includes.h"

#define MINIAPR_ISA portable
#define MINIAPR_VECTOR_BYTES 16  // SSE2 and NEON alike
#define MINIAPR_TILE_VECTORS 2
#define MINIAPR_LINEAR_ROWS 2
#include "isa_kernels.inl"
