// Rotation of stored keys: dimensions i and j of a block are two stretches of B tokens, turned together.

template <class K, class S>
void turn_pair(S* a, S* b, int64_t tokens, typename K::T cos, typename K::T sin) {
    int64_t t = 0;
    for (; t + K::lanes <= tokens; t += K::lanes) {
        typename K::V x = load<K>(a + t), y = load<K>(b + t);
        store<K>(a + t, x * cos - y * sin);
        store<K>(b + t, y * cos + x * sin);
    }
    for (; t < tokens; ++t) {
        typename K::T x = number(a[t]), y = number(b[t]);
        set(a[t], x * cos - y * sin);
        set(b[t], y * cos + x * sin);
    }
}

template <class K, class S>
void turn(void* keys, int64_t head_dim, int64_t block_size, const void* cos, const void* sin, bool interleaved) {
    using T = typename K::T;
    S* k = static_cast<S*>(keys);
    int64_t half = head_dim / 2;
    for (int64_t i = 0; i < half; ++i) {
        S* a = k + (interleaved ? 2 * i : i) * block_size;
        S* b = a + (interleaved ? 1 : half) * block_size;
        turn_pair<K>(a, b, block_size, static_cast<const T*>(cos)[i], static_cast<const T*>(sin)[i]);
    }
}
