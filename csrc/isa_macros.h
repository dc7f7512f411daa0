// For the code that is compiled once per instruction set.
#pragma once

#define MINIAPR_INLINE inline __attribute__((always_inline))
#if defined(__clang__)
#define MINIAPR_UNROLL _Pragma("clang loop unroll(full)")
#else
#define MINIAPR_UNROLL _Pragma("GCC unroll 16")
#endif
#define MINIAPR_TEXT(x) #x
#define MINIAPR_NAME(x) MINIAPR_TEXT(x)
#define MINIAPR_JOIN_(a, b) a##b
#define MINIAPR_JOIN(a, b) MINIAPR_JOIN_(a, b)
