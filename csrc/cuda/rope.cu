// rope: every head of a row turned to the row's position (RoFormer, Su et al. 2021). The pairs are (i, i + D / 2),
// or (2i, 2i + 1) if interleaved; cos and sin are float32, made once per step for all layers.
//
// v1  a thread for each pair. Queries and keys are turned by one launch, since they are neighbours in the rows
//     that the projection wrote. In a decode step the launch is all that it costs. For a prompt of thousands of
//     rows it reads and writes what the matrix products beside it read many times, so it was left at that.
#include "dispatch.cuh"

namespace miniapr {
namespace {

// Grid: pairs of a row, rows.
template <class T>
__global__ void rope_v1(Heads x, unsigned heads, unsigned head_dim, Tables tables, T* out) {
    const unsigned half = head_dim / 2, pair = blockIdx.x * blockDim.x + threadIdx.x;
    const unsigned head = pair / half, i = pair % half;
    if (head >= heads) return;
    const unsigned first = tables.interleaved ? 2 * i : i, second = tables.interleaved ? first + 1 : first + half;
    const int64_t row = blockIdx.y;
    const T* from = static_cast<const T*>(x.data) + row * x.row_stride + head * x.head_stride;
    T* to = out + (row * heads + head) * head_dim;
    const float c = __ldg(tables.cos + row * half + i), s = __ldg(tables.sin + row * half + i);
    const float a = to_float(from[first]), b = to_float(from[second]);
    to[first] = from_float<T>(a * c - b * s);
    to[second] = from_float<T>(b * c + a * s);
}

}  // namespace

void rope(const Heads& x, int64_t rows, int64_t heads, int64_t head_dim, const Tables& tables, void* out, Type type,
          Stream stream) {
    constexpr int64_t most = 65535;  // rows in a grid's second dimension
    with_type(type, [&](auto as) {
        using T = typename decltype(as)::type;
        for (int64_t row = 0; row < rows; row += most) {
            const Heads part{static_cast<const T*>(x.data) + row * x.row_stride, x.row_stride, x.head_stride};
            const int64_t skipped = row * (head_dim / 2);
            launch({"rope v1", grid(ceil_div(heads * head_dim / 2, 128), std::min(most, rows - row)), 128, 0, stream},
                   rope_v1<T>, part, static_cast<unsigned>(heads), static_cast<unsigned>(head_dim),
                   Tables{tables.cos + skipped, tables.sin + skipped, tables.interleaved},
                   static_cast<T*>(out) + row * heads * head_dim);
        }
    });
}

}  // namespace miniapr
