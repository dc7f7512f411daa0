// CUDA on the CPU, for tests: a thread block runs as fibres that take turns on one CPU thread.
//
// A fibre runs until it waits for others: at __syncthreads, or at an operation of the whole warp (a shuffle,
// an mma). So between two barriers the threads of a block run one after the other, in an order that the
// environment chooses: MINIAPR_EMULATE_ORDER = forward (default), backward or random:SEED. A kernel that
// forgot a barrier is right in one order and wrong in another.
//
// What it finds that a GPU would not tell:
//   a barrier that not all threads reach      an error that says where each one waits
//   shared memory read before it was written  NaN: shared memory is filled with 0xff bytes before every block
//   a write beyond shared memory              an error: guard bytes are verified after every block
//   a vector access that is not aligned       an error
//   an asynchronous copy read too early       NaN: its target is filled with 0xff until the wait
// What it cannot show: races inside one warp between two barriers that every order hides, weak memory
// order, registers, speed. Those are for compute-sanitizer and a real GPU.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
    size_t count() const { return size_t(x) * y * z; }
};

namespace miniapr::emulate {

// What threadIdx and its like read: of the fibre that runs at the moment on this CPU thread.
struct Place {
    dim3 thread, block, block_size, grid_size;
    unsigned lane;
};
extern __thread const Place* here;

// Runs a kernel: every block, one after the other. Throws std::runtime_error if it breaks a rule.
void run(const char* name, dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& kernel);

// The generation of GPU that is played: MINIAPR_EMULATE_CAPABILITY, or 80.
int capability();

void require_aligned(const void* p, size_t bytes);
void sync_block(int line);
// Waits until every lane of `mask` is at the same line; the last one to come calls `together` with what the 32
// lanes brought (null where a lane is not in the mask).
void meet(unsigned mask, int line, void* brought, void (*together)(void** brought));
void* shared_array(const void* key, size_t bytes);  // the same one for all threads of a block
void* dynamic_shared();
void start_copy(void* shared, const void* global, int valid_bytes);
void commit_copies();
void wait_copies(int groups_left);

template <class To, class From>
To bits_of(From x) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &x, sizeof to);
    return to;
}

struct f16 {
    uint16_t bits;
};
struct bf16 {
    uint16_t bits;
};

inline float widen(bf16 x) { return bits_of<float>(uint32_t(x.bits) << 16); }
inline float widen(f16 x) {
    const uint32_t sign = uint32_t(x.bits & 0x8000) << 16, exponent = x.bits >> 10 & 31, fraction = x.bits & 1023;
    if (exponent == 31) return bits_of<float>(sign | 0x7f800000 | fraction << 13);
    if (exponent) return bits_of<float>(sign | (exponent + 112) << 23 | fraction << 13);
    return std::copysign(float(fraction) * 0x1p-24f, bits_of<float>(sign));
}

inline bf16 narrow_bf16(float x) {
    const uint32_t bits = bits_of<uint32_t>(x);
    if (x != x) return {0x7fff};
    return {uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
inline f16 narrow_f16(float x) {
    const uint32_t bits = bits_of<uint32_t>(x), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    if (x != x) return {0x7fff};
    if (size >= 0x477ff000) return {uint16_t(sign | 0x7c00)};  // 65520 and more: infinity
    if (size < 0x38800000)  // subnormal: a float near 0.5 has the step of the smallest f16, so adding 0.5 rounds
        return {uint16_t(sign | (bits_of<uint32_t>(std::fabs(x) + 0.5f) - 0x3f000000))};
    return {uint16_t(sign | (size + 0xfff + (size >> 13 & 1) - 0x38000000) >> 13)};
}

}  // namespace miniapr::emulate

#define threadIdx (::miniapr::emulate::here->thread)
#define blockIdx (::miniapr::emulate::here->block)
#define blockDim (::miniapr::emulate::here->block_size)
#define gridDim (::miniapr::emulate::here->grid_size)

// The address of a static says which array is meant: one for each place in the source and each instance of a
// template.
#define SHARED(type, name, ...)            \
    using name##_array = type __VA_ARGS__; \
    static char name##_key;                \
    auto& name = *static_cast<name##_array*>(::miniapr::emulate::shared_array(&name##_key, sizeof(name##_array)))
#define DYNAMIC_SHARED(type, name) type* name = static_cast<type*>(::miniapr::emulate::dynamic_shared())

// CUDA's built-in functions, under their names.
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a < b ? b : a; }
inline int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t max(int64_t a, int64_t b) { return a < b ? b : a; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a < b ? b : a; }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline unsigned __float_as_uint(float x) { return miniapr::emulate::bits_of<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return miniapr::emulate::bits_of<float>(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }

inline void __syncthreads(int line = __builtin_LINE()) { miniapr::emulate::sync_block(line); }
inline void __threadfence() {}
inline void __syncwarp(unsigned mask = ~0u, int line = __builtin_LINE()) {
    miniapr::emulate::meet(mask, line, nullptr, [](void**) {});
}

template <class T>
T __ldg(const T* p) {
    return *p;
}

// One fibre runs at a time, so these are atomic as they stand.
template <class T>
T atomicAdd(T* p, T x) {
    const T old = *p;
    *p = old + x;
    return old;
}
template <class T>
T atomicMax(T* p, T x) {
    const T old = *p;
    *p = std::max(old, x);
    return old;
}
template <class T>
T atomicOr(T* p, T x) {
    const T old = *p;
    *p = old | x;
    return old;
}
template <class T>
T atomicExch(T* p, T x) {
    return std::exchange(*p, x);
}

namespace miniapr::emulate {

template <class T>
struct Shuffle {
    unsigned from;
    T value, result;
};

// All lanes bring a value and take that of lane `from`; a lane that is not in the mask has none to give.
template <class T>
T shuffle(unsigned mask, T value, unsigned from, int line) {
    static_assert(std::is_trivially_copyable_v<T>);
    Shuffle<T> mine{from, value, value};
    meet(mask, line, &mine, [](void** brought) {
        for (int lane = 0; lane < 32; ++lane) {
            auto* one = static_cast<Shuffle<T>*>(brought[lane]);
            if (one && brought[one->from]) one->result = static_cast<Shuffle<T>*>(brought[one->from])->value;
            else if (one) std::memset(&one->result, 0xff, sizeof(T));
        }
    });
    return mine.result;
}

inline unsigned ballot(unsigned mask, bool yes, int line) {
    struct Vote {
        bool yes;
        unsigned all;
    } mine{yes, 0};
    meet(mask, line, &mine, [](void** brought) {
        unsigned all = 0;
        for (int lane = 0; lane < 32; ++lane)
            if (brought[lane] && static_cast<Vote*>(brought[lane])->yes) all |= 1u << lane;
        for (int lane = 0; lane < 32; ++lane)
            if (brought[lane]) static_cast<Vote*>(brought[lane])->all = all;
    });
    return mine.all;
}

}  // namespace miniapr::emulate

// In parts of `width` lanes, as in CUDA; out of its part a lane reads itself.
template <class T>
T __shfl_sync(unsigned mask, T x, int from, int width = 32, int line = __builtin_LINE()) {
    const unsigned lane = miniapr::emulate::here->lane, part = lane & ~(unsigned(width) - 1);
    return miniapr::emulate::shuffle(mask, x, part + (unsigned(from) & (unsigned(width) - 1)), line);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T x, int with, int width = 32, int line = __builtin_LINE()) {
    const unsigned lane = miniapr::emulate::here->lane, from = lane ^ unsigned(with);
    return miniapr::emulate::shuffle(mask, x, from < (lane | (unsigned(width) - 1)) + 1 ? from : lane, line);
}
template <class T>
T __shfl_down_sync(unsigned mask, T x, unsigned by, int width = 32, int line = __builtin_LINE()) {
    const unsigned lane = miniapr::emulate::here->lane, from = lane + by;
    return miniapr::emulate::shuffle(mask, x, from <= (lane | (unsigned(width) - 1)) ? from : lane, line);
}
inline unsigned __ballot_sync(unsigned mask, bool yes, int line = __builtin_LINE()) {
    return miniapr::emulate::ballot(mask, yes, line);
}
inline bool __any_sync(unsigned mask, bool yes, int line = __builtin_LINE()) {
    return miniapr::emulate::ballot(mask, yes, line) != 0;
}
inline bool __all_sync(unsigned mask, bool yes, int line = __builtin_LINE()) {
    return miniapr::emulate::ballot(mask, yes, line) == mask;
}

namespace miniapr {

template <class T>
T from_float(float x) {
    if constexpr (std::is_same_v<T, emulate::f16>) return emulate::narrow_f16(x);
    else if constexpr (std::is_same_v<T, emulate::bf16>) return emulate::narrow_bf16(x);
    else return x;
}
inline float to_float(float x) { return x; }
inline float to_float(emulate::f16 x) { return emulate::widen(x); }
inline float to_float(emulate::bf16 x) { return emulate::widen(x); }

inline void async_copy16(void* shared, const void* global, int valid_bytes = 16) {
    emulate::start_copy(shared, global, valid_bytes);
}
inline void async_commit() { emulate::commit_copies(); }
template <int N>
void async_wait() {
    emulate::wait_copies(N);
}

// The fragments are described in device.cuh. Products of 16-bit numbers are exact in double; a GPU adds them
// up in float in an order of its own.
template <class T>
void mma_16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], int line = __builtin_LINE()) {
    struct Fragments {
        float* d;
        const uint32_t *a, *b;
    } mine{d, a, b};
    emulate::meet(~0u, line, &mine, [](void** brought) {
        auto lane = [&](int i) { return *static_cast<Fragments*>(brought[i]); };
        auto half = [](uint32_t pair, int i) { return to_float(T{uint16_t(pair >> 16 * i)}); };
        for (int row = 0; row < 16; ++row)
            for (int column = 0; column < 8; ++column) {
                double sum = 0;
                for (int k = 0; k < 16; ++k) {
                    const int t = k % 8 / 2, high = k / 8;
                    sum += double(half(lane(row % 8 * 4 + t).a[row / 8 + 2 * high], k % 2)) *
                           half(lane(column * 4 + t).b[high], k % 2);
                }
                float& out = lane(row % 8 * 4 + column / 2).d[row / 8 * 2 + column % 2];
                out = float(out + sum);
            }
    });
}

template <bool transposed>
void load_matrix4(uint32_t (&r)[4], const void* shared_row, int line = __builtin_LINE()) {
    emulate::require_aligned(shared_row, 16);
    struct Rows {
        uint32_t* r;
        const uint16_t* row;
    } mine{r, static_cast<const uint16_t*>(shared_row)};
    emulate::meet(~0u, line, &mine, [](void** brought) {
        for (int lane = 0; lane < 32; ++lane)
            for (int matrix = 0; matrix < 4; ++matrix) {
                auto number = [&](int row, int column) -> uint32_t {
                    return static_cast<Rows*>(brought[matrix * 8 + row])->row[column];
                };
                const int g = lane / 4, t = lane % 4 * 2;
                static_cast<Rows*>(brought[lane])->r[matrix] =
                    transposed ? number(t, g) | number(t + 1, g) << 16 : number(g, t) | number(g, t + 1) << 16;
            }
    });
}

}  // namespace miniapr
