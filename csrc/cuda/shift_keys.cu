// shift_keys: every key of a block turned to another position, in place, in all layers.
// copy_and_shift: the same on the way from one block to another, the values copied beside it: one pass over the
// bytes, where copy_blocks and then shift_keys would move the keys twice.
//
// In a block keys are [heads, D, B]: the numbers i and j = i + D / 2 (or 2i and 2i + 1) of B tokens are two rows of
// B. All tokens turn by the same angle, so cos and sin are one number for two whole rows, and no lane needs
// another one's data.
//
//   grid = (blocks x parts of a block, layers, keys | values)
//
// v1  a thread turns one pair of numbers. Kept for pools that are not aligned and for odd sizes of blocks.
// v2  a thread turns the pairs of 16 bytes of tokens, and two of them: four loads of 16 bytes on their way.
// v3  values are copied by the same launch (copy_and_shift).
#include "copies.cuh"

namespace miniapr {
namespace {

constexpr int turns_each = 2;  // vectors of pairs that a thread has on their way

struct Keys {
    void* data;
    int64_t layer, block;  // in elements
    unsigned pairs;        // vectors of pairs in a block: heads * D / 2 * (B / N); few, so 32 bits divide faster
    unsigned head_dim, block_size;
};

struct Values {
    void* data;
    int64_t layer, block, words;  // in words
};

template <class T, int N>
__device__ __forceinline__ void turn_part(const T* from, T* to, const Keys& keys, const float* cos, const float* sin,
                                          bool interleaved, unsigned part) {
    const unsigned half = keys.head_dim / 2, vectors = keys.block_size / N;
    unsigned row[turns_each], a[turns_each], b[turns_each];
    bool here[turns_each];
    Vector<T, N> x[turns_each], y[turns_each];
#pragma unroll
    for (int u = 0; u < turns_each; ++u) {
        const unsigned item = (part * turns_each + u) * copy_threads + threadIdx.x;
        here[u] = item < keys.pairs;
        if (!here[u]) continue;
        row[u] = item / vectors % half;
        const unsigned head = item / vectors / half, token = item % vectors * N;
        const unsigned first = interleaved ? 2 * row[u] : row[u], second = interleaved ? first + 1 : first + half;
        a[u] = (head * keys.head_dim + first) * keys.block_size + token;
        b[u] = (head * keys.head_dim + second) * keys.block_size + token;
        x[u] = load_vector<N>(from + a[u]);
        y[u] = load_vector<N>(from + b[u]);
    }
#pragma unroll
    for (int u = 0; u < turns_each; ++u) {
        if (!here[u]) continue;
        const float c = __ldg(cos + row[u]), s = __ldg(sin + row[u]);
#pragma unroll
        for (int i = 0; i < N; ++i) {
            const float p = to_float(x[u].at[i]), q = to_float(y[u].at[i]);
            x[u].at[i] = from_float<T>(p * c - q * s);
            y[u].at[i] = from_float<T>(q * c + p * s);
        }
        store_vector(to + a[u], x[u]);
        store_vector(to + b[u], y[u]);
    }
}

template <class T, int N, class Word>
__global__ void shift_kernel(Keys keys, Values values, BlockList list, Tables tables, unsigned parts) {
    const unsigned number = blockIdx.x / parts, part = blockIdx.x % parts;
    const int64_t source = list.source[number], target = list.target[number];
    if (blockIdx.z) {
        Word* layer = static_cast<Word*>(values.data) + blockIdx.y * values.layer;
        copy_part(layer + source * values.block, layer + target * values.block, values.words, part);
    } else {
        T* layer = static_cast<T*>(keys.data) + blockIdx.y * keys.layer;
        const int64_t row = static_cast<int64_t>(list.turn[number]) * (keys.head_dim / 2);
        turn_part<T, N>(layer + source * keys.block, layer + target * keys.block, keys, tables.cos + row,
                        tables.sin + row, tables.interleaved, part);
    }
}

// `v` may be null: keys only.
template <class T, int N, class Word>
void start(const char* name, const Stack& k, const Stack* v, const int64_t* source, const int64_t* target,
           const int64_t* turn, int64_t count, const Tables& tables, Stream stream) {
    const int64_t each = sizeof(Word) / sizeof(T);  // numbers in a word
    const Keys keys{k.data, k.layer, k.block, static_cast<unsigned>(k.block_elements() / 2 / N),
                    static_cast<unsigned>(k.head_dim), static_cast<unsigned>(k.block_size)};
    const Values values = v ? Values{v->data, v->layer / each, v->block / each, v->block_elements() / each} : Values{};
    // Keys and values of a block are cut into equally many parts, since they share a grid.
    const int64_t parts = std::max(ceil_div(keys.pairs, copy_threads * turns_each),
                                   ceil_div(values.words, copy_threads * copy_unroll));
    in_parts(source, target, turn, count, [&](const BlockList& list, int64_t n) {
        launch({name, grid(n * parts, k.layers, v ? 2 : 1), copy_threads, 0, stream}, shift_kernel<T, N, Word>, keys,
               values, list, tables, static_cast<unsigned>(parts));
    });
}

void choose(const char* name, const Stack& k, const Stack* v, const int64_t* source, const int64_t* target,
            const int64_t* turn, int64_t count, const Tables& tables, Type type, Stream stream) {
    const bool vectors = in_vectors(k, type) && (!v || in_vectors(*v, type)) && k.block_size * size_of(type) % 16 == 0;
    with_type(type, [&](auto as) {
        using T = typename decltype(as)::type;
        using Number = std::conditional_t<sizeof(T) == 4, uint32_t, uint16_t>;
        if (vectors) start<T, 16 / sizeof(T), Word16>(name, k, v, source, target, turn, count, tables, stream);
        else start<T, 1, Number>(name, k, v, source, target, turn, count, tables, stream);
    });
}

}  // namespace

void shift_keys(const Stack& k, const int64_t* blocks, const int64_t* turn, int64_t count, const Tables& tables,
                Type type, Stream stream) {
    choose("shift_keys", k, nullptr, blocks, blocks, turn, count, tables, type, stream);
}

void copy_and_shift(const Stack& k, const Stack& v, const int64_t* source, const int64_t* target, const int64_t* turn,
                    int64_t count, const Tables& tables, Type type, Stream stream) {
    choose("copy_and_shift", k, &v, source, target, turn, count, tables, type, stream);
}

}  // namespace miniapr
