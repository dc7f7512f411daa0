// The two products of a tile, each with R rows x C vectors of accumulators in registers.

constexpr int most_rows = 6;  // R at most
constexpr int accumulators = most_rows * MINIAPR_TILE_VECTORS;

// C for R rows. One row alone would wait for each of its additions, if it did not have many under way.
template <class K, int R>
constexpr int columns_for() {
    int columns = 1;
    while (columns * 2 * R <= accumulators && columns * 2 <= tile_tokens / K::lanes) columns *= 2;
    return columns;
}

// Where a tile of tokens lies. A piece is what is in one block.
template <class S>
struct Piece {
    const S* v;         // its first token's values; the next token's are D further on
    int64_t at, count;  // tokens at..at+count-1 of the tile
};

template <class S>
struct Tile {
    const S* k[tile_tokens];  // each vector of tokens: dimension d is at k[c] + d * k_step
    int64_t vectors;          // of them, up to the last that anybody sees; the others are places that exist
    Piece<S> piece[tile_tokens];
    int64_t pieces;
    int64_t k_step, v_step;
};

// While one tile is computed, the next is fetched line by line, to the nearest cache only (hint 0: nothing is
// read twice from further away): blocks are scattered, so the processor can't guess. Row groups take turns at that
// work, or the first would wait for memory and the others not use it.
template <class S>
struct Ahead {
    const Tile<S>* tile;  // nullptr: there is no next one
    int64_t group, groups;
};

template <class S, class K>
constexpr int line_vectors = 64 / (K::lanes * int(sizeof(S)));  // as many lie in one line of a cache

// score[r][t] = q[r] . K[:, t]
template <class K, class S, int R>
void score_rows(int64_t depth, const typename K::T* q, const Tile<S>& tile, const Ahead<S>& next, typename K::T* score) {
    using V = typename K::V;
    constexpr int C = columns_for<K, R>(), line = line_vectors<S, K>;
    for (int64_t c0 = 0; c0 < tile.vectors; c0 += C) {
        V acc[R][C] = {};
        const S* const* k = tile.k + c0;
        const S* const* ahead = next.tile && c0 % line == 0 ? next.tile->k + c0 : nullptr;
        int64_t wait = ahead ? next.group : depth;
        for (int64_t d = 0; d < depth; ++d) {
            V x[C];
            MINIAPR_UNROLL
            for (int c = 0; c < C; ++c) x[c] = load<K>(k[c] + d * tile.k_step);
            if (wait-- == 0) {
                MINIAPR_UNROLL
                for (int c = 0; c < C; c += line) __builtin_prefetch(ahead[c] + d * tile.k_step, 0, 0);
                wait = next.groups - 1;
            }
            MINIAPR_UNROLL
            for (int r = 0; r < R; ++r) {
                MINIAPR_UNROLL
                for (int c = 0; c < C; ++c) acc[r][c] += q[r * depth + d] * x[c];
            }
        }
        MINIAPR_UNROLL
        for (int r = 0; r < R; ++r) {
            MINIAPR_UNROLL
            for (int c = 0; c < C; ++c) store<K>(score + r * tile_tokens + (c0 + c) * K::lanes, acc[r][c]);
        }
    }
}

// out[r] = scale[r] * out[r] + weight[r] . V, for C vectors of dimensions from `column` on. Only tokens in
// the pieces are read: a slot that nobody sees may hold NaN, and zero times NaN is NaN.
template <class K, class S, int R, int C>
MINIAPR_INLINE void value_columns(int64_t column, int64_t width, const typename K::T* weight,
                                  const typename K::T* scale, const Tile<S>& tile, const Ahead<S>& next,
                                  typename K::T* out) {
    using V = typename K::V;
    V acc[R][C];
    MINIAPR_UNROLL
    for (int r = 0; r < R; ++r) {
        MINIAPR_UNROLL
        for (int c = 0; c < C; ++c) acc[r][c] = scale[r] * load<K>(out + r * width + column + c * K::lanes);
    }
    for (int64_t i = 0; i < tile.pieces; ++i) {
        const S* v = tile.piece[i].v + column;
        const typename K::T* w = weight + tile.piece[i].at;
        const S* ahead = next.tile && i < next.tile->pieces ? next.tile->piece[i].v + column : nullptr;
        int64_t wait = ahead ? next.group : tile_tokens;
        for (int64_t t = 0; t < tile.piece[i].count; ++t) {
            V x[C];
            MINIAPR_UNROLL
            for (int c = 0; c < C; ++c) x[c] = load<K>(v + t * tile.v_step + c * K::lanes);
            if (wait-- == 0) {
                MINIAPR_UNROLL
                for (int c = 0; c < C; c += line_vectors<S, K>)
                    __builtin_prefetch(ahead + t * tile.v_step + c * K::lanes, 0, 0);
                wait = next.groups - 1;
            }
            MINIAPR_UNROLL
            for (int r = 0; r < R; ++r) {
                MINIAPR_UNROLL
                for (int c = 0; c < C; ++c) acc[r][c] += w[r * tile_tokens + t] * x[c];
            }
        }
    }
    MINIAPR_UNROLL
    for (int r = 0; r < R; ++r) {
        MINIAPR_UNROLL
        for (int c = 0; c < C; ++c) store<K>(out + r * width + column + c * K::lanes, acc[r][c]);
    }
}

// From `column` on: as many vectors at once as there are accumulators for, then the rest with fewer.
template <class K, class S, int R, int C>
MINIAPR_INLINE void value_from(int64_t column, int64_t width, const typename K::T* weight, const typename K::T* scale,
                               const Tile<S>& tile, const Ahead<S>& next, typename K::T* out) {
    for (; column + C * K::lanes <= width; column += C * K::lanes)
        value_columns<K, S, R, C>(column, width, weight, scale, tile, next, out);
    if constexpr (C > 1) value_from<K, S, R, C / 2>(column, width, weight, scale, tile, next, out);
}

template <class K, class S, int R>
void value_rows(int64_t width, const typename K::T* weight, const typename K::T* scale, const Tile<S>& tile,
                const Ahead<S>& next, typename K::T* out) {
    value_from<K, S, R, columns_for<K, R>()>(0, width, weight, scale, tile, next, out);
}

template <class K, class S>
struct Products {  // [R - 1]
    using T = typename K::T;
    using Score = void (*)(int64_t, const T*, const Tile<S>&, const Ahead<S>&, T*);
    using Value = void (*)(int64_t, const T*, const T*, const Tile<S>&, const Ahead<S>&, T*);
    static constexpr Score score[most_rows] = {score_rows<K, S, 1>, score_rows<K, S, 2>, score_rows<K, S, 3>,
                                               score_rows<K, S, 4>, score_rows<K, S, 5>, score_rows<K, S, 6>};
    static constexpr Value value[most_rows] = {value_rows<K, S, 1>, value_rows<K, S, 2>, value_rows<K, S, 3>,
                                               value_rows<K, S, 4>, value_rows<K, S, 5>, value_rows<K, S, 6>};
};

// Scores to weights for one row: its slots are begin..end-1 of the tile, whose scores reach up to `limit`, a number of
// whole vectors. Returns the factor for `out`.
template <class K>
MINIAPR_INLINE typename K::T soften(typename K::T* score, int64_t begin, int64_t end, int64_t limit, typename K::T& top,
                                    typename K::V& total) {
    using V = typename K::V;
    using T = typename K::T;
    constexpr T nothing = -std::numeric_limits<T>::infinity();
    // Overwritten, not added to: the score of an unwritten slot may be NaN.
    for (int64_t t = 0; t < begin; ++t) score[t] = nothing;
    for (int64_t t = std::max(begin, end); t < limit; ++t) score[t] = nothing;
    V best = V{} + top;
    for (int64_t t = 0; t < limit; t += K::lanes) {
        V x = load<K>(score + t);
        best = x > best ? x : best;
    }
    T now = largest<K>(best);
    T factor = now == top ? T(1) : exp_of_nonpositive<K>(V{} + (top - now))[0];  // top = -inf: 0
    T base = now == nothing ? T(0) : now;                // -inf - -inf would be NaN
    V part{};
    for (int64_t t = 0; t < limit; t += K::lanes) {
        V weight = exp_of_nonpositive<K>(load<K>(score + t) - base);
        part += weight;
        store<K>(score + t, weight);
    }
    total = total * factor + part;
    top = now;
    return factor;
}
