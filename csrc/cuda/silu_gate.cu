// silu_gate: silu(gate) * up, the middle of a gated MLP (Shazeer 2020). gate and up are the halves of one row, so
// that both come out of one matrix product.
//
// v1  a number for each thread: one launch where plain torch needs two, and no intermediate in memory.
// v2  16 bytes for each thread.
#include "dispatch.cuh"

namespace miniapr {
namespace {

constexpr int threads = 256;

// Grid: rows, parts of a row.
template <class T, int N>
__global__ void silu_gate_kernel(const T* gate_up, T* out, int64_t width) {
    const int64_t row = blockIdx.x, i = (static_cast<int64_t>(blockIdx.y) * threads + threadIdx.x) * N;
    if (i >= width) return;
    auto gate = load_vector<N>(gate_up + row * 2 * width + i);
    const auto up = load_vector<N>(gate_up + row * 2 * width + width + i);
#pragma unroll
    for (int j = 0; j < N; ++j) {
        const float x = to_float(gate.at[j]);
        const T silu = from_float<T>(x / (1.0f + __expf(-x)));  // rounded here too, as in the reference
        gate.at[j] = from_float<T>(to_float(silu) * to_float(up.at[j]));
    }
    store_vector(out + row * width + i, gate);
}

}  // namespace

void silu_gate(const void* gate_up, void* out, int64_t rows, int64_t width, Type type, Stream stream) {
    const bool vectors = in_vectors({address(gate_up), address(out), width * size_of(type)});
    with_type(type, [&](auto as) {
        using T = typename decltype(as)::type;
        constexpr int wide = 16 / sizeof(T);
        launch({vectors ? "silu_gate v2" : "silu_gate v1", grid(rows, ceil_div(width, threads * (vectors ? wide : 1))),
                threads, 0, stream},
               vectors ? silu_gate_kernel<T, wide> : silu_gate_kernel<T, 1>, static_cast<const T*>(gate_up),
               static_cast<T*>(out), width);
    });
}

}  // namespace miniapr
