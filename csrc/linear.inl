// R rows of x times two panels (or one), with what comes before and after.

// The columns of one panel at one k, or at two in bfloat16: each of `step` results is one panel wide.
template <class K>
constexpr int panel_vectors = panel_columns / K::lanes;

template <class K, class S>
struct Column {
    using X = typename K::T;  // what x is kept as
    static constexpr int step = 1, parts = 1;  // k at once, in how many vectors for each column
    static MINIAPR_INLINE void add(typename K::V& sum, const X* x, typename K::V w) { sum += *x * w; }
    static MINIAPR_INLINE void load_at(const S* panel, typename K::V (&w)[parts][panel_vectors<K>]) {
        MINIAPR_UNROLL
        for (int v = 0; v < panel_vectors<K>; ++v) w[0][v] = load<K>(panel + v * K::lanes);
    }
};

#ifndef MINIAPR_BF16_DOT
template <class K>
struct Column<K, bf16> {
    using X = typename K::T;
    static constexpr int step = 2, parts = 2;
    static MINIAPR_INLINE void add(typename K::V& sum, const X* x, typename K::V w) { sum += *x * w; }
    static MINIAPR_INLINE void load_at(const bf16* panel, typename K::V (&w)[parts][panel_vectors<K>]) {
        MINIAPR_UNROLL
        for (int v = 0; v < panel_vectors<K>; ++v) {
            typename K::U pair;  // k in the lower half of each lane, k + 1 in the upper
            std::memcpy(&pair, panel + 2 * v * K::lanes, sizeof pair);
            w[0][v] = (typename K::V)(pair << 16);
            w[1][v] = (typename K::V)(pair & 0xffff0000u);
        }
    }
};
#else
// The processor multiplies pairs of bfloat16 itself: twice the arithmetic of an instruction on floats.
template <class K>
struct Column<K, bf16> {
    using X = bf16;  // as torch's own bfloat16 layers take it
    static constexpr int step = 2, parts = 1;
    static MINIAPR_INLINE void load_at(const bf16* panel, typename K::V (&w)[parts][panel_vectors<K>]) {
        w[0][0] = load<K>(reinterpret_cast<const float*>(panel));  // 16 pairs, as they are
    }
    static MINIAPR_INLINE void add(typename K::V& sum, const bf16* x, typename K::V pairs) {
        int32_t pair;
        std::memcpy(&pair, x, sizeof pair);
        sum = (typename K::V)_mm512_dpbf16_ps((__m512)sum, (__m512bh)pairs, (__m512bh)_mm512_set1_epi32(pair));
    }
};
#endif

// Far enough ahead that a line is there when it is needed, near enough that it is not gone again.
constexpr int64_t prefetch_bytes = 4096;

// `stride`: from one row of x to the next.
template <class K, class S, int R, int P>
void multiply_rows(int64_t depth, int64_t stride, const typename Column<K, S>::X* x, const S* const* panel,
                   typename K::T* out) {
    using V = typename K::V;
    using Read = Column<K, S>;
    constexpr int W = panel_vectors<K>, parts = Read::parts;
    V acc[R][P][W] = {};
    for (int64_t k = 0; k < depth; k += Read::step) {
        V w[P][parts][W];
        MINIAPR_UNROLL
        for (int p = 0; p < P; ++p) {
            Read::load_at(panel[p] + k * panel_columns, w[p]);
            const char* line = reinterpret_cast<const char*>(panel[p] + k * panel_columns);
            MINIAPR_UNROLL
            for (int64_t b = 0; b < Read::step * panel_columns * int64_t(sizeof(S)); b += 64)
                __builtin_prefetch(line + prefetch_bytes + b, 0, 3);
        }
        MINIAPR_UNROLL
        for (int r = 0; r < R; ++r) {
            MINIAPR_UNROLL
            for (int s = 0; s < parts; ++s) {
                MINIAPR_UNROLL
                for (int p = 0; p < P; ++p) {
                    MINIAPR_UNROLL
                    for (int v = 0; v < W; ++v) Read::add(acc[r][p][v], x + r * stride + k + s, w[p][s][v]);
                }
            }
        }
    }
    for (int r = 0; r < R; ++r)
        for (int p = 0; p < P; ++p)
            for (int v = 0; v < W; ++v) store<K>(out + (r * P + p) * panel_columns + v * K::lanes, acc[r][p][v]);
}

constexpr int linear_rows = MINIAPR_LINEAR_ROWS;

template <class K, class S, int P>
struct Multiply {
    using Function = void (*)(int64_t, int64_t, const typename Column<K, S>::X*, const S* const*, typename K::T*);
    template <int... R>
    static constexpr std::array<Function, sizeof...(R)> make(std::integer_sequence<int, R...>) {
        return {multiply_rows<K, S, R + 1, P>...};
    }
    static constexpr std::array<Function, linear_rows> by_rows =
        make(std::make_integer_sequence<int, linear_rows>{});
};

// x / (1 + e^-x), with an exponent that is never positive, so that nothing overflows.
template <class K>
MINIAPR_INLINE typename K::V silu(typename K::V x) {
    using V = typename K::V;
    const V e = exp_of_nonpositive<K>(x < 0 ? x : -x);
    return x * (x < 0 ? e : V{} + 1) / (V{} + 1 + e);
}

// 1 / sqrt(mean(x^2) + eps)
template <class T, class S>
T rms_scale(const S* x, int64_t depth, double eps) {
    constexpr int64_t lanes = 16;  // independent sums, or each addition would wait for the last one
    T part[lanes] = {}, total = 0;
    for (int64_t k = 0; k < depth; k += lanes)
        for (int64_t i = 0; i < std::min(lanes, depth - k); ++i) part[i] += number(x[k + i]) * number(x[k + i]);
    for (T p : part) total += p;
    return T(1) / std::sqrt(total / T(depth) + T(eps));
}

// One row of x as the product takes it, normed if there is a norm.
template <class K, class S>
void enter(const Linear& job, int64_t row, void* into) {
    using T = typename K::T;
    auto* x = static_cast<typename Column<K, S>::X*>(into);
    const S* from = static_cast<const S*>(job.x) + row * job.x_stride;
    const S* norm = static_cast<const S*>(job.norm);
    const T scale = norm ? rms_scale<T>(from, job.depth, job.eps) : T(1);
    for (int64_t k = 0; k < job.depth; ++k) set(x[k], number(from[k]) * scale * (norm ? number(norm[k]) : T(1)));
    for (int64_t k = job.depth; k < job.padded_depth(); ++k) set(x[k], T(0));
}

// One panel of one row: from sums to the result. A weight's last panel may be narrower than the others.
template <class K, class S, class F>
MINIAPR_INLINE void leave(S* out, int64_t width, const F& result) {
    using T = typename K::T;
    for (int64_t i = 0; i < panel_columns; i += K::lanes) {
        const typename K::V y = result(i);
        if (i + K::lanes <= width) {
            store<K>(out + i, y);
        } else {
            T rest[K::lanes];
            store<K>(rest, y);
            for (int64_t j = 0; i + j < width; ++j) set(out[i + j], rest[j]);
        }
    }
}

template <class K, class S>
void leave_row(const Linear& job, const LinearItem& item, int64_t row, const typename K::T* sum) {
    using V = typename K::V;
    S* out = static_cast<S*>(job.out) + row * job.columns;
    if (job.gated) {
        leave<K>(out + item.column[0], item.width[0],
                 [&](int64_t i) { return silu<K>(load<K>(sum + i)) * load<K>(sum + panel_columns + i); });
        return;
    }
    const S* add = static_cast<const S*>(job.add) + row * job.add_stride;
    for (int p = 0; p < item.panels; ++p) {
        const typename K::T* own = sum + p * panel_columns;
        const int64_t column = item.column[p], width = item.width[p];
        leave<K>(out + column, width, [&](int64_t i) -> V {
            V y = load<K>(own + i);
            if (!job.add) return y;
            if (i + K::lanes <= width) return y + load<K>(add + column + i);
            for (int64_t j = 0; i + j < width; ++j) y[j] += number(add[column + i + j]);
            return y;
        });
    }
}

template <class K, class S>
void multiply(const Linear& job, const void* entered, const LinearItem& item) {
    using T = typename K::T;
    using X = typename Column<K, S>::X;
    const int64_t depth = job.padded_depth(), groups = ceil_div(job.rows, linear_rows);
    const int64_t stride = depth * int64_t(sizeof(T) / sizeof(X));  // linear.cpp leaves room for T
    const S* const panel[2] = {static_cast<const S*>(item.panel[0]), static_cast<const S*>(item.panel[1])};
    alignas(64) T sum[linear_rows * 2 * panel_columns];
    for (int64_t g = 0; g < groups; ++g) {
        const int64_t first = job.rows * g / groups, count = job.rows * (g + 1) / groups - first;
        const auto& kernel = item.panels == 2 ? Multiply<K, S, 2>::by_rows : Multiply<K, S, 1>::by_rows;
        kernel[static_cast<size_t>(count - 1)](depth, stride, static_cast<const X*>(entered) + first * stride, panel, sum);
        for (int64_t r = 0; r < count; ++r)
            leave_row<K, S>(job, item, first + r, sum + r * item.panels * panel_columns);
    }
}

template <class K, class S>
void rope(const Heads& heads, int64_t row, const void* cos_table, const void* sin_table, bool interleaved, void* to) {
    using T = typename K::T;
    const int64_t depth = heads.head_dim, half = depth / 2;
    const T* cos = static_cast<const T*>(cos_table) + row * half;
    const T* sin = static_cast<const T*>(sin_table) + row * half;
    for (int64_t h = 0; h < heads.heads; ++h) {
        const S* x = static_cast<const S*>(heads.x) + row * heads.row_stride + h * heads.head_stride;
        S* out = static_cast<S*>(to) + (row * heads.heads + h) * depth;
        const S* norm = heads.norm ? static_cast<const S*>(heads.norm) + h * depth : nullptr;
        const T scale = norm ? rms_scale<T>(x, depth, heads.eps) : T(1);
        auto at = [&](int64_t i) { return norm ? number(x[i]) * scale * number(norm[i]) : T(number(x[i])); };
        const int64_t step = interleaved ? 2 : 1, other = interleaved ? 1 : half;
        for (int64_t i = 0; i < half; ++i) {
            const int64_t first = i * step, second = first + other;
            const T a = at(first), b = at(second);
            set(out[first], a * cos[i] - b * sin[i]);
            set(out[second], b * cos[i] + a * sin[i]);
        }
    }
}
