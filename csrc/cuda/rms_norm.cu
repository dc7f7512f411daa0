// rms_norm: x / sqrt(mean(x^2) + eps) * weight over the last dimension (Zhang & Sennrich 2019).
//
// In a decode step this reads a few kilobytes: what it costs is the launch, so the point is to be one kernel where
// plain torch needs five.
//
// v1  a block for a row, a number for each thread and turn; the sum goes through shuffles in a warp, then through
//     shared memory.
// v2  16 bytes for each thread and turn, so that a row of 2,048 is one load for each thread and the second pass
//     finds it in the first-level cache.
//
// As in the reference: the normed number is rounded to the stored type before the weight multiplies it.
#include "dispatch.cuh"

namespace miniapr {
namespace {

constexpr int threads = 256;

// The sum over the block, in every thread.
__device__ __forceinline__ float block_sum(float x) {
    SHARED(float, warps, [threads / 32]);
#pragma unroll
    for (int distance = 16; distance; distance /= 2) x += __shfl_xor_sync(~0u, x, distance);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = x;
    __syncthreads();
    float sum = 0;
#pragma unroll
    for (int i = 0; i < threads / 32; ++i) sum += warps[i];
    return sum;
}

template <class T, int N>
__global__ void rms_norm_kernel(const T* x, int64_t row_stride, const T* weight, float eps, T* out, int width) {
    const T* from = x + blockIdx.x * row_stride;
    T* to = out + static_cast<int64_t>(blockIdx.x) * width;
    float squares = 0;
    for (int i = threadIdx.x * N; i < width; i += threads * N) {
        const auto part = load_vector<N>(from + i);
#pragma unroll
        for (int j = 0; j < N; ++j) squares += to_float(part.at[j]) * to_float(part.at[j]);
    }
    const float scale = rsqrtf(block_sum(squares) / static_cast<float>(width) + eps);
    for (int i = threadIdx.x * N; i < width; i += threads * N) {
        auto part = load_vector<N>(from + i);
        const auto w = load_vector<N>(weight + i);
#pragma unroll
        for (int j = 0; j < N; ++j) {
            const T normed = from_float<T>(to_float(part.at[j]) * scale);
            part.at[j] = from_float<T>(to_float(normed) * to_float(w.at[j]));
        }
        store_vector(to + i, part);
    }
}

}  // namespace

void rms_norm(const void* x, int64_t row_stride, const void* weight, float eps, void* out, int64_t rows,
              int64_t width, Type type, Stream stream) {
    const int64_t size = size_of(type);
    const bool vectors = in_vectors({address(x), row_stride * size, address(weight), address(out), width * size});
    with_type(type, [&](auto as) {
        using T = typename decltype(as)::type;
        launch({vectors ? "rms_norm v2" : "rms_norm v1", grid(rows), threads, 0, stream},
               vectors ? rms_norm_kernel<T, 16 / sizeof(T)> : rms_norm_kernel<T, 1>, static_cast<const T*>(x),
               row_stride, static_cast<const T*>(weight), eps, static_cast<T*>(out), static_cast<int>(width));
    });
}

}  // namespace miniapr
