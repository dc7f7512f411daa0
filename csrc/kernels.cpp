#include "kernels.h"

#include <cstdlib>
#include <cstring>

#include "common.h"

namespace miniapr {
namespace {

bool runs_here([[maybe_unused]] const Kernels& kernels) {
#if defined(__x86_64__)
    if (&kernels == &avx512bf16_kernels) return runs_here(avx512_kernels) && __builtin_cpu_supports("avx512bf16");
    if (&kernels == &avx512_kernels)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (&kernels == &avx2_kernels) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return true;
}

const Kernels& choose() {
    const Kernels* all[] = {
#if defined(__x86_64__)
        &avx512bf16_kernels, &avx512_kernels, &avx2_kernels,
#elif defined(__aarch64__)
        &neon_kernels,
#endif
        &portable_kernels};
    const char* wanted = std::getenv("MINIAPR_ISA");
    for (const Kernels* kernels : all)
        if (runs_here(*kernels) && (!wanted || !*wanted || !std::strcmp(wanted, kernels->name))) return *kernels;
    fail("MINIAPR_ISA = '", wanted, "' is not one that this processor runs (portable, neon, avx2, avx512, avx512bf16)");
}

}  // namespace

const Kernels& kernels() {
    static const Kernels& chosen = choose();
    return chosen;
}

}  // namespace miniapr
