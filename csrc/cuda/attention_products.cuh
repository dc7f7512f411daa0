// What a warp does with 16 query vectors and 16 tokens of a tile: scores = q K, the online softmax, out += weights V.
//
// The products come in two ways, which leave their results in the same places, those of the tensor cores: thread
// g * 4 + t of the warp holds, of each 16 x 8 numbers, rows g and g + 8, columns 2t and 2t + 1.
#pragma once

#include "attention_tile.cuh"

namespace miniapr {

// What a thread has summed up of its two rows: [n][0..1] and [n][2..3] are two dimensions of one and the other.
template <int Width>
struct Sums {
    static constexpr int numbers = Width / 2 + 4;  // floats in it
    Softmax softmax[2];
    float out[Width / 8][4] = {};

    // Scores of 16 tokens, of which this thread has 2 x 4, become weights; what is summed so far is scaled.
    __device__ __forceinline__ void weigh(float (&s)[2][4]) {
        float factor[2];
#pragma unroll
        for (int row = 0; row < 2; ++row) {
            float top = fmaxf(fmaxf(s[0][2 * row], s[0][2 * row + 1]), fmaxf(s[1][2 * row], s[1][2 * row + 1]));
            top = fmaxf(top, __shfl_xor_sync(whole_warp, top, 1));  // four threads share a row
            top = fmaxf(top, __shfl_xor_sync(whole_warp, top, 2));
            factor[row] = softmax[row].raise(top);
        }
        if (__any_sync(whole_warp, factor[0] != 1.0f || factor[1] != 1.0f)) scale(factor);  // ever rarer
#pragma unroll
        for (int j = 0; j < 8; ++j) s[j / 4][j % 4] = softmax[j % 4 / 2].weight(s[j / 4][j % 4]);
    }

    __device__ __forceinline__ void scale(const float (&factor)[2]) {
#pragma unroll
        for (int j = 0; j < Width / 2; ++j) out[j / 4][j % 4] *= factor[j % 4 / 2];
    }

    // For another warp, which has other tokens of the same rows: one number of each lane beside that of the next.
    __device__ __forceinline__ void leave(float* box) const {
#pragma unroll
        for (int j = 0; j < Width / 2; ++j) box[j * 32] = out[j / 4][j % 4];
#pragma unroll
        for (int row = 0; row < 2; ++row) {
            box[(Width / 2 + 2 * row) * 32] = softmax[row].top;
            box[(Width / 2 + 2 * row + 1) * 32] = softmax[row].sum;
        }
    }

    __device__ __forceinline__ void take(const float* box) {
        float own[2], theirs[2];
#pragma unroll
        for (int row = 0; row < 2; ++row) {
            const float top = box[(Width / 2 + 2 * row) * 32], sum = box[(Width / 2 + 2 * row + 1) * 32];
            own[row] = softmax[row].raise(top);
            theirs[row] = top == minus_infinity() ? 0.0f : exp2f(top - softmax[row].top);
            softmax[row].sum += theirs[row] * sum;
        }
        scale(own);
#pragma unroll
        for (int j = 0; j < Width / 2; ++j) out[j / 4][j % 4] += box[j * 32] * theirs[j % 4 / 2];
    }

    // The four threads of a row add up their sums of weights.
    __device__ __forceinline__ void finish() {
#pragma unroll
        for (int row = 0; row < 2; ++row) {
            softmax[row].sum += __shfl_xor_sync(whole_warp, softmax[row].sum, 1);
            softmax[row].sum += __shfl_xor_sync(whole_warp, softmax[row].sum, 2);
        }
    }
};

// In float32.
template <class S, int Width>
struct OrdinaryCores {
    using Q = float;
    static constexpr int q_pitch = Width + 4;
    const float* q;
    const int lane, depth;

    // q: this warp's 16 vectors in shared memory, which stay there.
    __device__ OrdinaryCores(const float* q, int lane, int depth)
        : q(q + lane / 4 * q_pitch), lane(lane), depth(depth) {}

    __device__ __forceinline__ void scores(const S* k, int k_pitch, float (&s)[2][4]) const {
        k += lane % 4 * 2;
        for (int d = 0; d < depth; d += 4) {
            const auto low = load_vector<4>(q + d), high = load_vector<4>(q + 8 * q_pitch + d);
#pragma unroll
            for (int i = 0; i < 4; ++i)
#pragma unroll
                for (int n = 0; n < 2; ++n) {
                    const auto x = load_vector<2>(k + (d + i) * k_pitch + n * 8);
                    add(s[n], low.at[i], high.at[i], x);
                }
        }
    }

    __device__ __forceinline__ void values(const float (&s)[2][4], const S* v, int v_pitch,
                                           float (&out)[Width / 8][4]) const {
        v += lane % 4 * 2;
#pragma unroll 1
        for (int t = 0; t < 4; ++t)  // the weights of tokens 2t, 2t + 1, 2t + 8, 2t + 9 are in lane t of each four
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const float low = __shfl_sync(whole_warp, s[i / 2][i % 2], t, 4);
                const float high = __shfl_sync(whole_warp, s[i / 2][i % 2 + 2], t, 4);
                const S* row = v + (i / 2 * 8 + 2 * t + i % 2) * v_pitch;
#pragma unroll
                for (int n = 0; n < Width / 8; ++n) add(out[n], low, high, load_vector<2>(row + n * 8));
            }
    }

    __device__ __forceinline__ static void add(float (&sum)[4], float low, float high, const Vector<S, 2>& x) {
        const float x0 = to_float(x.at[0]), x1 = to_float(x.at[1]);
        sum[0] += low * x0, sum[1] += low * x1, sum[2] += high * x0, sum[3] += high * x1;
    }
};

// On the tensor cores, from 16-bit numbers, with sums in float32. Both K [d][tokens] and V [tokens][d] have the
// summed index in rows, so the same transposing load serves both.
template <class S, int Width>
struct TensorCores {
    using Q = S;
    static constexpr int q_pitch = Width + 8;
    uint32_t q[Width / 16][4];
    const int lane;

    // q is taken over to registers: its place may be used for a tile after the next barrier.
    __device__ TensorCores(const S* from, int lane, int) : lane(lane) {
#pragma unroll
        for (int d = 0; d < Width / 16; ++d)
            load_matrix4<false>(q[d], from + lane % 16 * q_pitch + d * 16 + lane / 16 * 8);
    }

    // left and right, 16 x 8 each, += a * b, where b is 16 x 16 numbers of a tile.
    __device__ __forceinline__ void multiply(const uint32_t (&a)[4], const S* b, int pitch, float (&left)[4],
                                             float (&right)[4]) const {
        uint32_t r[4];
        load_matrix4<true>(r, b + lane % 16 * pitch + lane / 16 * 8);
        const uint32_t low[2] = {r[0], r[1]}, high[2] = {r[2], r[3]};
        mma_16816<S>(left, a, low);
        mma_16816<S>(right, a, high);
    }

    __device__ __forceinline__ void scores(const S* k, int k_pitch, float (&s)[2][4]) const {
#pragma unroll
        for (int d = 0; d < Width / 16; ++d) multiply(q[d], k + d * 16 * k_pitch, k_pitch, s[0], s[1]);
    }

    __device__ __forceinline__ void values(const float (&s)[2][4], const S* v, int v_pitch,
                                           float (&out)[Width / 8][4]) const {
        const uint32_t weights[4] = {pack2<S>(s[0][0], s[0][1]), pack2<S>(s[0][2], s[0][3]),
                                     pack2<S>(s[1][0], s[1][1]), pack2<S>(s[1][2], s[1][3])};
#pragma unroll
        for (int n = 0; n < Width / 16; ++n) multiply(weights, v + n * 16, v_pitch, out[2 * n], out[2 * n + 1]);
    }
};

}  // namespace miniapr
