// One unit of attention, from queries to states.

// Query rows in groups of R, evenly: calls f(first row, R) for each.
template <class F>
MINIAPR_INLINE void row_groups(int64_t rows, const F& f) {
    int64_t groups = ceil_div(rows, most_rows);
    for (int64_t g = 0; g < groups; ++g) {
        int64_t begin = rows * g / groups;
        f(begin, rows * (g + 1) / groups - begin);
    }
}

template <class S>
MINIAPR_INLINE Ahead<S> share(const Tile<S>* next, int64_t rows, int64_t row) {
    int64_t groups = ceil_div(rows, most_rows);
    int64_t group = row * groups / rows;
    int vectors = 0;
    for (int64_t c = group; c < tile_vectors; c += groups) vectors |= 1 << c;
    return {next, vectors};
}

// Whether no row of a group sees the tile that starts at slot `begin`: most of a causal prefill.
template <class K>
MINIAPR_INLINE bool blind(const Scratch<K>& w, int64_t row, int64_t count, int64_t begin) {
    return *std::max_element(w.end + row, w.end + row + count) <= begin;
}

template <class K, class S>
void score_tile(int64_t depth, int64_t rows, int64_t begin, Scratch<K>& w, const Tile<S>& tile, const Tile<S>* next) {
    row_groups(rows, [&](int64_t row, int64_t count) {
        if (blind(w, row, count, begin)) return;
        Products<K, S>::score[count - 1](depth, w.q + row * depth, tile, share(next, rows, row),
                                         w.score + row * tile_tokens);
    });
}

template <class K>
void soften_tile(const Unit& unit, int64_t rows, int64_t first, int64_t begin, Scratch<K>& w) {
    int64_t low = std::max<int64_t>(first - begin, 0), limit = unit.end - begin;
    row_groups(rows, [&](int64_t row, int64_t count) {
        if (blind(w, row, count, begin)) return;
        for (int64_t r = row; r < row + count; ++r)
            w.factor[r] = soften<K>(w.score + r * tile_tokens, low, std::clamp<int64_t>(w.end[r] - begin, 0, limit),
                                    w.top[r], w.total[r]);
    });
}

template <class K, class S>
void value_tile(int64_t rows, int64_t begin, Scratch<K>& w, const Tile<S>& tile, const Tile<S>* next) {
    row_groups(rows, [&](int64_t row, int64_t count) {
        if (blind(w, row, count, begin)) return;
        Products<K, S>::value[count - 1](w.width, w.score + row * tile_tokens, w.factor + row, tile,
                                         share(next, rows, row), w.out + row * w.width);
    });
}

template <class K>
void write_states(const Job& job, const Unit& unit, int64_t head, Scratch<K>& w) {
    using T = typename K::T;
    int64_t depth = job.cache.head_dim, row = 0;
    for (int64_t e = unit.edge_begin; e < unit.edge_end; ++e) {
        int64_t state = (unit.state + e - unit.edge_begin) * job.q.heads + head * job.group;
        for (int64_t g = 0; g < job.group; ++g, ++row, ++state) {
            T total = sum<K>(w.total[row]);
            T* value = static_cast<T*>(job.value) + state * depth;
            bool empty = total == 0;  // not "total > 0": a NaN that is visible must be seen
            for (int64_t d = 0; d < depth; ++d) value[d] = empty ? T(0) : w.out[row * w.width + d] / total;
            static_cast<T*>(job.lse)[state] =
                empty ? -std::numeric_limits<T>::infinity() : w.top[row] + std::log(total);
        }
    }
}

// Heads in a row, tile after tile, so that while one is computed the next is on its way.
template <class K, class S>
void attend(const Job& job, const Unit& unit, int64_t head, int64_t last_head, void* memory) {
    using T = typename K::T;
    Scratch<K> w(job, memory);
    int64_t depth = job.cache.head_dim, rows = (unit.edge_end - unit.edge_begin) * job.group;
    bool gather_k = job.cache.block_size % K::lanes;
    bool gather_v = depth % K::lanes;
    Tile<S> tile[2];
    Tile<T> copied;
    int now = 0;
    auto find = [&](int64_t of_head, int64_t begin, Tile<S>& place) {
        locate<K>(job, unit, of_head, begin, std::min(begin + tile_tokens, unit.end), place);
    };
    if (unit.begin < unit.end) find(head, unit.begin, tile[now]);
    for (; head < last_head; ++head) {
        gather_queries<K>(job, unit, head, w);
        for (int64_t r = 0; r < rows; ++r) w.top[r] = -std::numeric_limits<T>::infinity(), w.total[r] = typename K::V{};
        std::fill(w.out, w.out + rows * w.width, T(0));
        for (int64_t begin = unit.begin; begin < unit.end; begin += tile_tokens, now = 1 - now) {
            const Tile<S>* next = &tile[1 - now];
            if (begin + tile_tokens < unit.end)
                find(head, begin + tile_tokens, tile[1 - now]);
            else if (head + 1 < last_head)
                find(head + 1, unit.begin, tile[1 - now]);
            else
                next = nullptr;
            if (gather_k) {
                copy_keys<K>(job, unit, head, begin, tile[now], w, copied);
                score_tile<K, T>(depth, rows, begin, w, copied, nullptr);
            } else {
                score_tile<K, S>(depth, rows, begin, w, tile[now], next);
            }
            soften_tile<K>(unit, rows, job.plan.first[unit.run], begin, w);
            if (gather_v) {
                copy_values<K>(job, tile[now], w, copied);
                value_tile<K, T>(rows, begin, w, copied, nullptr);
            } else {
                value_tile<K, S>(rows, begin, w, tile[now], next);
            }
        }
        write_states<K>(job, unit, head, w);
    }
}
