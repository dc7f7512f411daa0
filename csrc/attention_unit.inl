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
    return {next, row * groups / rows, groups};
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
    int64_t low = std::max<int64_t>(first - begin, 0), limit = std::min(unit.end - begin, tile_tokens);
    int64_t whole = ceil_div(limit, K::lanes) * K::lanes;
    row_groups(rows, [&](int64_t row, int64_t count) {
        if (blind(w, row, count, begin)) return;
        for (int64_t r = row; r < row + count; ++r)
            w.factor[r] = soften<K>(w.score + r * tile_tokens, low, std::clamp<int64_t>(w.end[r] - begin, 0, limit), whole,
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

template <class K, class S>
void attend_tile(const Job& job, const Unit& unit, int64_t head, int64_t begin, const Tile<S>& tile,
                 const Tile<S>* next, Tile<typename K::T>& copied, Scratch<K>& w) {
    using T = typename K::T;
    const int64_t depth = job.cache.head_dim, rows = (unit.edge_end - unit.edge_begin) * job.group;
    if (job.cache.block_size % K::lanes) {
        copy_keys<K>(job, unit, head, begin, tile, w, copied);
        score_tile<K, T>(depth, rows, begin, w, copied, nullptr);
    } else {
        score_tile<K, S>(depth, rows, begin, w, tile, next);
    }
    soften_tile<K>(unit, rows, job.plan.first[unit.run], begin, w);
    if (depth % K::lanes) {
        copy_values<K>(job, tile, w, copied);
        value_tile<K, T>(rows, begin, w, copied, nullptr);
    } else {
        value_tile<K, S>(rows, begin, w, tile, next);
    }
}

// Units and their heads in a row, tile after tile, so that while one is computed the next is on its way.
template <class K, class S>
void attend(const Job& job, const Share& share, void* memory) {
    using T = typename K::T;
    Scratch<K> w(job, memory);
    Tile<S> tile[2];
    Tile<T> copied;
    int now = 0;
    auto find = [&](const Unit& unit, int64_t head, int64_t begin, Tile<S>& place) {
        locate<K>(job, unit, head, begin, std::min(begin + tile_tokens, unit.end), place);
        return &place;
    };
    auto find_first = [&](const Unit* unit, Tile<S>& place) -> const Tile<S>* {
        while (unit != share.end && unit->begin >= unit->end) ++unit;  // sees nothing of its chunk
        return unit == share.end ? nullptr : find(*unit, share.head, unit->begin, place);
    };
    find_first(share.begin, tile[now]);
    for (const Unit* unit = share.begin; unit != share.end; ++unit)
        for (int64_t head = share.head; head < share.last_head; ++head) {
            const int64_t rows = (unit->edge_end - unit->edge_begin) * job.group;
            gather_queries<K>(job, *unit, head, w);
            std::fill(w.top, w.top + rows, -std::numeric_limits<T>::infinity());
            std::fill(w.total, w.total + rows, typename K::V{});
            std::fill(w.out, w.out + rows * w.width, T(0));
            for (int64_t begin = unit->begin; begin < unit->end; begin += tile_tokens, now = 1 - now) {
                Tile<S>& later = tile[1 - now];
                const Tile<S>* next = begin + tile_tokens < unit->end ? find(*unit, head, begin + tile_tokens, later)
                                      : head + 1 < share.last_head    ? find(*unit, head + 1, unit->begin, later)
                                                                      : find_first(unit + 1, later);
                attend_tile<K>(job, *unit, head, begin, tile[now], next, copied, w);
            }
            write_states<K>(job, *unit, head, w);
        }
}
