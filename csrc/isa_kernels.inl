// Included once per instruction set, with MINIAPR_ISA, MINIAPR_VECTOR_BYTES and MINIAPR_TILE_VECTORS set.

#include "isa_macros.h"

namespace miniapr {
namespace MINIAPR_ISA {

#include "vector.inl"
//
#include "attention_tile.inl"
//
#include "attention_gather.inl"
//
#include "attention_unit.inl"
//
#include "attention_merge.inl"
//
#include "turn.inl"
//
#include "linear.inl"
//
#include "sample.inl"

}  // namespace MINIAPR_ISA

const Kernels MINIAPR_JOIN(MINIAPR_ISA, _kernels) = {
    MINIAPR_NAME(MINIAPR_ISA),
    {MINIAPR_ISA::scratch_bytes<MINIAPR_ISA::F32>, MINIAPR_ISA::scratch_bytes<MINIAPR_ISA::F32>,
     MINIAPR_ISA::scratch_bytes<MINIAPR_ISA::F64>},
    {MINIAPR_ISA::attend<MINIAPR_ISA::F32, float>, MINIAPR_ISA::attend<MINIAPR_ISA::F32, bf16>,
     MINIAPR_ISA::attend<MINIAPR_ISA::F64, double>},
    {MINIAPR_ISA::merge<MINIAPR_ISA::F32>, MINIAPR_ISA::merge<MINIAPR_ISA::F32>,
     MINIAPR_ISA::merge<MINIAPR_ISA::F64>},
    {MINIAPR_ISA::turn<MINIAPR_ISA::F32, float>, MINIAPR_ISA::turn<MINIAPR_ISA::F32, bf16>,
     MINIAPR_ISA::turn<MINIAPR_ISA::F64, double>},
    {MINIAPR_ISA::enter<MINIAPR_ISA::F32, float>, MINIAPR_ISA::enter<MINIAPR_ISA::F32, bf16>,
     MINIAPR_ISA::enter<MINIAPR_ISA::F64, double>},
    {MINIAPR_ISA::multiply<MINIAPR_ISA::F32, float>, MINIAPR_ISA::multiply<MINIAPR_ISA::F32, bf16>,
     MINIAPR_ISA::multiply<MINIAPR_ISA::F64, double>},
    {MINIAPR_ISA::rope<MINIAPR_ISA::F32, float>, MINIAPR_ISA::rope<MINIAPR_ISA::F32, bf16>,
     MINIAPR_ISA::rope<MINIAPR_ISA::F64, double>},
    {MINIAPR_ISA::peak<MINIAPR_ISA::F32, float>, MINIAPR_ISA::peak<MINIAPR_ISA::F32, bf16>,
     MINIAPR_ISA::peak<MINIAPR_ISA::F64, double>},
    {MINIAPR_ISA::weigh<float>, MINIAPR_ISA::weigh<bf16>, MINIAPR_ISA::weigh<double>},
};

}  // namespace miniapr
