// Rotation of stored keys, from one block to another, or in place: dimensions i and j of a block are two
// stretches of B tokens, turned together.

template <class K, class S>
void turn_pair(const S* a, const S* b, S* to_a, S* to_b, int64_t tokens, typename K::T cos, typename K::T sin) {
    int64_t t = 0;
    for (; t + K::lanes <= tokens; t += K::lanes) {
        typename K::V x = load<K>(a + t), y = load<K>(b + t);
        store<K>(to_a + t, x * cos - y * sin);
        store<K>(to_b + t, y * cos + x * sin);
    }
    for (; t < tokens; ++t) {
        typename K::T x = number(a[t]), y = number(b[t]);
        set(to_a[t], x * cos - y * sin);
        set(to_b[t], y * cos + x * sin);
    }
}

template <class K, class S>
void turn(const void* from, void* to, int64_t head_dim, int64_t block_size, const void* cos, const void* sin,
          bool interleaved) {
    using T = typename K::T;
    int64_t half = head_dim / 2, next = (interleaved ? 2 : 1) * block_size, apart = (interleaved ? 1 : half) * block_size;
    for (int64_t i = 0; i < half; ++i) {
        const S* a = static_cast<const S*>(from) + i * next;
        S* to_a = static_cast<S*>(to) + i * next;
        turn_pair<K>(a, a + apart, to_a, to_a + apart, block_size, static_cast<const T*>(cos)[i],
                     static_cast<const T*>(sin)[i]);
    }
}
