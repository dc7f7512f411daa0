// What the kernels are written in: CUDA, and the few things that differ between generations of GPUs.
//
// Every kernel compiles twice from the same text. nvcc makes it run on a GPU. g++ with -DMINIAPR_EMULATE
// takes emulate.h for CUDA and runs a thread block as fibres on the CPU, so that a machine without a GPU
// executes the very code that a GPU will, and finds missing barriers and uninitialised memory on the way.
//
// Two things are written differently from plain CUDA, because plain C++ has no word for them:
//   SHARED(float, tile, [32][33]);    for   __shared__ float tile[32][33];
//   DYNAMIC_SHARED(float, memory);    for   extern __shared__ float memory[];
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#ifdef MINIAPR_EMULATE
#include "emulate.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#endif

namespace miniapr {

using Stream = uintptr_t;  // a cudaStream_t, as Python hands it over

struct Launch {
    const char* name;  // for the message if it fails
    dim3 grid, block;
    size_t shared_bytes;  // dynamic
    Stream stream;
};

// What a launcher may want to know of the current device.
struct Gpu {
    int processors;       // streaming multiprocessors
    size_t shared_bytes;  // the most that one block can have
    int capability;       // 75, 80, 90
};

// A few neighbours that are loaded or stored at once: one instruction moves up to 16 aligned bytes.
template <class T, int N>
struct alignas(sizeof(T) * N) Vector {
    T at[N];
    static_assert(sizeof(T) * N <= 16);
};

#ifdef MINIAPR_EMULATE

using emulate::bf16;
using emulate::f16;

template <class T>
T* aligned(T* p, size_t bytes) {
    emulate::require_aligned(p, bytes);
    return p;
}

inline Gpu gpu() { return {4, 99 * 1024, emulate::capability()}; }

template <class... Parameters, class... Arguments>
void launch(const Launch& how, void (*kernel)(Parameters...), Arguments... arguments) {
    emulate::run(how.name, how.grid, how.block, how.shared_bytes, [&] { kernel(arguments...); });
}

#else

#define SHARED(type, name, ...) __shared__ type name __VA_ARGS__
#define DYNAMIC_SHARED(type, name)                                       \
    extern __shared__ __align__(128) unsigned char miniapr_shared_[];   \
    type* name = reinterpret_cast<type*>(miniapr_shared_)

using f16 = __half;
using bf16 = __nv_bfloat16;

template <class T>
__device__ __forceinline__ T* aligned(T* p, size_t) {
    return p;
}

inline void check(cudaError_t error, const char* what) {
    if (error != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

inline Gpu gpu() {
    int device = 0, processors = 0, shared = 0, major = 0, minor = 0;
    check(cudaGetDevice(&device), "current device");
    check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device), "device attribute");
    check(cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "device attribute");
    check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "device attribute");
    check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "device attribute");
    return {processors, static_cast<size_t>(shared), major * 10 + minor};
}

// Starts a kernel and comes back at once. What goes wrong while it runs is reported by a later call.
template <class... Parameters, class... Arguments>
void launch(const Launch& how, void (*kernel)(Parameters...), Arguments... arguments) {
    if (!how.grid.x || !how.grid.y || !how.grid.z) return;  // no work; CUDA calls an empty grid an error
    if (how.shared_bytes > 48 * 1024)                       // more than every GPU has must be asked for
        check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   static_cast<int>(how.shared_bytes)),
              how.name);
    kernel<<<how.grid, how.block, how.shared_bytes, reinterpret_cast<cudaStream_t>(how.stream)>>>(arguments...);
    check(cudaGetLastError(), how.name);
}

// Conversions round to nearest, ties to even.
template <class T>
__device__ __forceinline__ T from_float(float x) {
    if constexpr (std::is_same_v<T, f16>) return __float2half_rn(x);
    else if constexpr (std::is_same_v<T, bf16>) return __float2bfloat16_rn(x);
    else return x;
}
__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(f16 x) { return __half2float(x); }
__device__ __forceinline__ float to_float(bf16 x) { return __bfloat162float(x); }

// 16 bytes from global to shared memory without a register in between: the thread goes on, and waits later.
// Of the 16 only `valid_bytes` are read, the rest is set to zero.
__device__ __forceinline__ void async_copy16(void* shared, const void* global, int valid_bytes = 16) {
#if __CUDA_ARCH__ >= 800
    const unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(valid_bytes) : "memory");
#else
    uint4 value = make_uint4(0, 0, 0, 0);
    if (valid_bytes == 16) value = *static_cast<const uint4*>(global);
    else
        for (int i = 0; i < valid_bytes; ++i)
            reinterpret_cast<unsigned char*>(&value)[i] = static_cast<const unsigned char*>(global)[i];
    *static_cast<uint4*>(shared) = value;
#endif
}

// Closes a group of copies.
__device__ __forceinline__ void async_commit() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits for this thread's groups, all but the last N. What other threads copied is there after a barrier.
template <int N>
__device__ __forceinline__ void async_wait() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
}

// d += a * b on the tensor cores, by a whole warp: a [16, 16], b [16, 8], d [16, 8] in the fragments that PTX
// documents for mma.m16n8k16. With g = lane / 4 and t = lane % 4 (numbers are packed in pairs, low half first):
//   a[0] = A[g][2t..], a[1] = A[g + 8][2t..], a[2] = A[g][2t + 8..], a[3] = A[g + 8][2t + 8..]
//   b[0] = B[2t..][g], b[1] = B[2t + 8..][g]      d[0..1] = D[g][2t..], d[2..3] = D[g + 8][2t..]
template <class T>
__device__ __forceinline__ void mma_16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
#define MINIAPR_MMA(type)                                                                      \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." type "." type ".f32 "                \
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"                       \
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                              \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
    if constexpr (std::is_same_v<T, f16>) MINIAPR_MMA("f16");
    else MINIAPR_MMA("bf16");
#undef MINIAPR_MMA
#else
    __trap();  // launchers choose other kernels below sm_80
#endif
}

// Four 8 x 8 matrices of 16-bit numbers from shared memory, by a whole warp. Lane i gives the address of row
// i % 8 of matrix i / 8 (16 bytes, aligned). r[m] gets row g, columns 2t.. of matrix m; transposed: column g,
// rows 2t.. .
template <bool transposed>
__device__ __forceinline__ void load_matrix4(uint32_t (&r)[4], const void* shared_row) {
    const unsigned from = static_cast<unsigned>(__cvta_generic_to_shared(shared_row));
    if constexpr (transposed)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(from) : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(from) : "memory");
}

#endif

// Two 16-bit numbers in one register, `low` in the low half.
template <class T>
__device__ __forceinline__ uint32_t pack2(float low, float high) {
    union {
        Vector<uint16_t, 2> bits;
        uint32_t whole;
    } pair;
    const T a = from_float<T>(low), b = from_float<T>(high);
    pair.bits.at[0] = reinterpret_cast<const uint16_t&>(a);
    pair.bits.at[1] = reinterpret_cast<const uint16_t&>(b);
    return pair.whole;
}

template <int N, class T>
__device__ __forceinline__ Vector<T, N> load_vector(const T* p) {
    return *reinterpret_cast<const Vector<T, N>*>(aligned(p, sizeof(T) * N));
}

template <int N, class T>
__device__ __forceinline__ void store_vector(T* p, const Vector<T, N>& value) {
    *reinterpret_cast<Vector<T, N>*>(aligned(p, sizeof(T) * N)) = value;
}

}  // namespace miniapr
