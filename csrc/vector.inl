// One vector register of floats or doubles, by the compiler's own vector types.

struct F32 {
    using T = float;
    using Bits = uint32_t;
    typedef T V __attribute__((vector_size(MINIAPR_VECTOR_BYTES)));
    typedef Bits U __attribute__((vector_size(MINIAPR_VECTOR_BYTES)));
    static constexpr int64_t lanes = MINIAPR_VECTOR_BYTES / sizeof(T);
    // For exp: 1.5 * 2^23 pushes the fraction out of the mantissa; the series ends at the last bit.
    static constexpr int mantissa = 23, terms = 7;
    static constexpr Bits one = 127u << 23;
    static constexpr T magic = 12582912.0f, lowest = -87.0f, log2e = 1.44269504f;
    static constexpr T ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
};

struct F64 {
    using T = double;
    using Bits = uint64_t;
    typedef T V __attribute__((vector_size(MINIAPR_VECTOR_BYTES)));
    typedef Bits U __attribute__((vector_size(MINIAPR_VECTOR_BYTES)));
    static constexpr int64_t lanes = MINIAPR_VECTOR_BYTES / sizeof(T);
    static constexpr int mantissa = 52, terms = 13;
    static constexpr Bits one = uint64_t(1023) << 52;
    static constexpr T magic = 6755399441055744.0, lowest = -708.0, log2e = 1.4426950408889634;
    static constexpr T ln2_high = 0.693145751953125, ln2_low = 1.42860682030941723212e-6;
};

template <class K>
MINIAPR_INLINE typename K::V load(const typename K::T* from) {
    typename K::V x;
    std::memcpy(&x, from, sizeof x);  // one unaligned load
    return x;
}

template <class K>
MINIAPR_INLINE void store(typename K::T* to, typename K::V x) {
    std::memcpy(to, &x, sizeof x);
}

typedef uint16_t Halves __attribute__((vector_size(MINIAPR_VECTOR_BYTES / 2)));

template <class K>
MINIAPR_INLINE F32::V load(const bf16* from) {
    Halves half;
    std::memcpy(&half, from, sizeof half);
    return (F32::V)(__builtin_convertvector(half, F32::U) << 16);
}

// To the nearest, ties to even, as torch does; NaN stays NaN.
template <class K>
MINIAPR_INLINE void store(bf16* to, F32::V x) {
    F32::U bits = (F32::U)x;
    F32::U rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
    Halves half = __builtin_convertvector((x == x ? rounded : bits | 0x400000u) >> 16, Halves);
    std::memcpy(to, &half, sizeof half);
}

MINIAPR_INLINE float number(float x) { return x; }
MINIAPR_INLINE double number(double x) { return x; }
MINIAPR_INLINE float number(bf16 x) {
    uint32_t bits = uint32_t(x.bits) << 16;
    float y;
    std::memcpy(&y, &bits, sizeof y);
    return y;
}

MINIAPR_INLINE void set(float& to, float x) { to = x; }
MINIAPR_INLINE void set(double& to, double x) { to = x; }
MINIAPR_INLINE void set(bf16& to, float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    bits = x == x ? bits + 0x7fffu + ((bits >> 16) & 1u) : bits | 0x400000u;
    to.bits = static_cast<uint16_t>(bits >> 16);
}

template <class K>
struct Series {  // 1 / n!
    typename K::T of[K::terms + 1];
    constexpr Series() : of{1} {
        for (int n = 1; n <= K::terms; ++n) of[n] = of[n - 1] / typename K::T(n);
    }
};

// e^x for x <= 0, zero below K::lowest. x = n ln 2 + r: 2^n by the exponent bits, e^r by its series
// (|r| <= 0.35). -inf gives 0, NaN stays NaN.
template <class K>
MINIAPR_INLINE typename K::V exp_of_nonpositive(typename K::V x) {
    using V = typename K::V;
    using U = typename K::U;
    V bounded = x < K::lowest ? V{} + K::lowest : x;
    V shifted = bounded * K::log2e + K::magic;  // the low bits are n
    V n = shifted - K::magic;
    V r = (bounded - n * K::ln2_high) - n * K::ln2_low;
    constexpr Series<K> term;
    V series = V{} + term.of[K::terms];
    MINIAPR_UNROLL
    for (int i = K::terms - 1; i >= 0; --i) series = series * r + term.of[i];
    U power = ((U)shifted << K::mantissa) + K::one;
    return x < K::lowest ? V{} : series * (V)power;
}

template <class K>
MINIAPR_INLINE typename K::T largest(typename K::V x) {
    typename K::T best = x[0];
    for (int64_t i = 1; i < K::lanes; ++i) best = x[i] > best ? x[i] : best;
    return best;
}

template <class K>
MINIAPR_INLINE typename K::T sum(typename K::V x) {
    typename K::T total = 0;
    for (int64_t i = 0; i < K::lanes; ++i) total += x[i];
    return total;
}
