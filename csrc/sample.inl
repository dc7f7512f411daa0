// One row of logits: its peak, and its weights.

constexpr int64_t peak_block = 256;  // logits: where the largest lies is looked for in one block only

// f(vector) for every vector of x[0, count); beyond the end lies -inf.
template <class K, class S, class F>
MINIAPR_INLINE void each_vector(const S* x, int64_t count, const F& f) {
    int64_t i = 0;
    for (; i + K::lanes <= count; i += K::lanes) f(load<K>(x + i));
    if (i == count) return;
    typename K::T rest[K::lanes];
    for (int64_t j = 0; j < K::lanes; ++j)
        rest[j] = i + j < count ? number(x[i + j]) : -std::numeric_limits<typename K::T>::infinity();
    f(load<K>(rest));
}

template <class K, class S>
void peak(const void* logits, int64_t count, Peak& out) {
    using T = typename K::T;
    using V = typename K::V;
    const S* x = static_cast<const S*>(logits);
    T top = -std::numeric_limits<T>::infinity();
    int64_t block = 0;
    for (int64_t begin = 0; begin < count; begin += peak_block) {
        V best = V{} + top;
        each_vector<K>(x + begin, std::min(peak_block, count - begin), [&](V y) { best = y > best ? y : best; });
        const T now = largest<K>(best);
        if (now > top) top = now, block = begin;
    }
    V part{};
    each_vector<K>(x, count, [&](V y) { part += exp_of_nonpositive<K>(y - top); });
    out = {block, double(top), std::log(double(sum<K>(part)))};
    while (out.at + 1 < count && number(x[out.at]) != top) ++out.at;
}

// exp((logit - top) / temperature) in double, whatever the logits are: a small difference decides which token is
// drawn. `weights` has room for
// whole vectors.
template <class S>
void weigh(const void* logits, int64_t count, double top, double temperature, double* weights) {
    const S* x = static_cast<const S*>(logits);
    for (int64_t i = 0; i < count; ++i) weights[i] = (double(number(x[i])) - top) / temperature;
    for (int64_t i = count; i % F64::lanes; ++i) weights[i] = 0;
    for (int64_t i = 0; i < count; i += F64::lanes)
        store<F64>(weights + i, exp_of_nonpositive<F64>(load<F64>(weights + i)));
}
