// What a unit of attention works on: its scratch memory, its queries, and where its tiles of KV lie.

template <class K>
struct Scratch {  // one worker's, cut from one piece of memory
    typename K::T *q, *score, *out, *factor, *top, *keys, *values;
    typename K::V* total;
    int64_t* end;
    int64_t width;  // head_dim, rounded up to whole vectors

    static int64_t rows(const Job& job) { return job.cut.most_rows; }

    // Sizes in elements, each a multiple of 64 bytes.
    template <class Use>
    static void parts(const Job& job, const Use& use) {
        int64_t depth = job.cache.head_dim, width = ceil_div(depth, K::lanes) * K::lanes, r = rows(job);
        int64_t sizes[] = {r * depth, r * tile_tokens, r * width,           r,
                           r,         depth * tile_tokens, tile_tokens * width, r * K::lanes};
        for (int i = 0; i < 8; ++i) use(i, ceil_div(sizes[i], 16) * 16);
    }

    static int64_t bytes(const Job& job) {
        int64_t elements = 0;
        parts(job, [&](int, int64_t size) { elements += size; });
        return elements * int64_t(sizeof(typename K::T)) + ceil_div(rows(job), 8) * 64;
    }

    Scratch(const Job& job, void* memory) : width(ceil_div(job.cache.head_dim, K::lanes) * K::lanes) {
        typename K::T *part[8], *next = static_cast<typename K::T*>(memory);
        parts(job, [&](int i, int64_t size) {
            part[i] = next;
            next += size;
        });
        q = part[0], score = part[1], out = part[2], factor = part[3], top = part[4], keys = part[5], values = part[6];
        total = reinterpret_cast<typename K::V*>(part[7]);
        end = reinterpret_cast<int64_t*>(next);
    }
};

template <class K>
int64_t scratch_bytes(const Job& job) {
    return Scratch<K>::bytes(job);
}

// Query vectors of a unit's edges, turned by minus the edge's shift and scaled by 1 / sqrt(D).
template <class K>
void gather_queries(const Job& job, const Unit& unit, int64_t head, Scratch<K>& w) {
    using T = typename K::T;
    int64_t depth = job.cache.head_dim, half = depth / 2, row = 0;
    int64_t apart = job.turns.interleaved ? 2 : 1, partner = job.turns.interleaved ? 1 : half;
    T scale = T(1) / std::sqrt(T(depth));
    for (int64_t e = unit.edge_begin; e < unit.edge_end; ++e) {
        int64_t turn = job.plan.edge_shift[e];
        const T* cos = static_cast<const T*>(job.turns.cos) + turn * half;
        const T* sin = static_cast<const T*>(job.turns.sin) + turn * half;
        bool moved = job.plan.shifts[turn] != 0;
        for (int64_t g = 0; g < job.group; ++g, ++row) {
            const int64_t at = job.plan.edge_row[e] * job.q.row_stride + (head * job.group + g) * job.q.head_stride;
            T* to = w.q + row * depth;
            for (int64_t d = 0; d < depth; ++d)
                to[d] = scale * (job.q.narrow ? T(number(static_cast<const bf16*>(job.q.data)[at + d]))
                                              : static_cast<const T*>(job.q.data)[at + d]);
            w.end[row] = int64_t(job.plan.first[unit.run]) + job.plan.edge_visible[e];
            if (!moved) continue;
            for (int64_t i = 0; i < half; ++i) {
                T a = to[i * apart], b = to[i * apart + partner];
                to[i * apart] = a * cos[i] - b * sin[i];
                to[i * apart + partner] = b * cos[i] + a * sin[i];
            }
        }
    }
}

// Finds slots begin..end-1 (a tile's visible part is in there) of a run in the pool.
template <class K, class S>
void locate(const Job& job, const Unit& unit, int64_t head, int64_t begin, int64_t end, Tile<S>& tile) {
    const Cache& cache = job.cache;
    int64_t size = cache.block_size, inside = head * cache.head_dim * size;
    const int32_t* blocks = job.plan.blocks.data() + job.plan.block_ptr[unit.run];
    const S* k = static_cast<const S*>(cache.k) + inside;
    const S* v = static_cast<const S*>(cache.v) + inside;
    const int64_t low = std::max<int64_t>(begin, job.plan.first[unit.run]);
    tile.k_step = size, tile.v_step = cache.head_dim, tile.pieces = 0, tile.vectors = ceil_div(end - begin, K::lanes);
    int64_t block = low / size, offset = low % size;
    for (int64_t slot = low; slot < end; ++block, offset = 0) {
        const int64_t count = std::min(size - offset, end - slot);
        tile.piece[tile.pieces++] = {v + blocks[block] * cache.v_block + offset * cache.head_dim, slot - begin, count};
        slot += count;
    }
    if (size % K::lanes) return;  // gathered instead
    block = begin / size, offset = begin % size;
    for (int64_t c = 0; c < tile_tokens / K::lanes; ++c) {
        tile.k[c] = k + blocks[block] * cache.k_block + offset;
        if (c + 1 < tile.vectors) offset += K::lanes;
        if (offset == size) ++block, offset = 0;
    }
}

// Block sizes or head sizes that are no whole number of vectors are copied to scratch first.
template <class K, class S>
void copy_keys(const Job& job, const Unit& unit, int64_t head, int64_t begin, const Tile<S>& from, Scratch<K>& w,
               Tile<typename K::T>& to) {
    const Cache& cache = job.cache;
    const int32_t* blocks = job.plan.blocks.data() + job.plan.block_ptr[unit.run];
    for (int64_t i = 0; i < from.pieces; ++i) {
        int64_t slot = begin + from.piece[i].at;
        const S* k = static_cast<const S*>(cache.k) + blocks[slot / cache.block_size] * cache.k_block +
                     head * cache.head_dim * cache.block_size + slot % cache.block_size;
        for (int64_t d = 0; d < cache.head_dim; ++d)
            for (int64_t t = 0; t < from.piece[i].count; ++t)
                w.keys[d * tile_tokens + from.piece[i].at + t] = number(k[d * cache.block_size + t]);
    }
    to.k_step = tile_tokens, to.vectors = from.vectors;
    for (int64_t c = 0; c < tile_tokens / K::lanes; ++c) to.k[c] = w.keys + c * K::lanes;
}

template <class K, class S>
void copy_values(const Job& job, const Tile<S>& from, Scratch<K>& w, Tile<typename K::T>& to) {
    int64_t depth = job.cache.head_dim;
    for (int64_t i = 0; i < from.pieces; ++i)
        for (int64_t t = 0; t < from.piece[i].count; ++t) {
            typename K::T* row = w.values + (from.piece[i].at + t) * w.width;
            for (int64_t d = 0; d < depth; ++d) row[d] = number(from.piece[i].v[t * depth + d]);
            for (int64_t d = depth; d < w.width; ++d) row[d] = 0;
        }
    const Piece<S>& last = from.piece[from.pieces - 1];
    int64_t at = from.piece[0].at;
    to.piece[0] = {w.values + at * w.width, at, last.at + last.count - at};
    to.pieces = 1, to.v_step = w.width;
}
