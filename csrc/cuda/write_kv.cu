// write_kv: new keys and values into their slots of one layer.
//
//   k, v  [rows, heads, D]      slot = block * B + offset      keys [heads, D, B] and values [heads, B, D] in a block
//
// A token's values are neighbours in both, but its keys lie B apart in the block (so that one query can score a
// block of keys at once). Whoever writes a single token pays for that: every number of a key is a store of its own.
//
// v1  a thread for every number; reads and values are neighbours, keys scatter. Right for a decode step, where
//     the rows' slots lie in different blocks and nothing can be neighbours.
// v2  a prompt writes runs of slots: a tile of 32 tokens is turned in shared memory, so that a warp stores one
//     number of 32 successive keys, which are neighbours. 32 stores become one or two.
#include "dispatch.cuh"

namespace miniapr {
namespace {

constexpr int tile = 32;

// Where a row goes; block < 0: nowhere.
struct Slot {
    int64_t block, offset;
};

__device__ __forceinline__ Slot find_slot(const int64_t* slots, int64_t row, const Layer& cache, int32_t* error) {
    const int64_t slot = slots[row];
    if (slot < 0) return {-1, 0};
    if (slot >= cache.blocks * cache.block_size) {
        atomicMax(error, static_cast<int32_t>(row + 1));
        return {-1, 0};
    }
    return {slot / cache.block_size, slot % cache.block_size};
}

// Grid: numbers of a row, rows.
template <class T>
__global__ void write_kv_v1(Heads k, Heads v, Layer cache, const int64_t* slots, int32_t* error) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x, depth = static_cast<unsigned>(cache.head_dim);
    const int64_t row = blockIdx.y, head = i / depth, d = i % depth;
    if (head >= cache.heads) return;
    const Slot slot = find_slot(slots, row, cache, error);
    if (slot.block < 0) return;
    const int64_t inside = head * cache.head_dim * cache.block_size;
    static_cast<T*>(cache.k)[slot.block * cache.k_block + inside + d * cache.block_size + slot.offset] =
        static_cast<const T*>(k.data)[row * k.row_stride + head * k.head_stride + d];
    static_cast<T*>(cache.v)[slot.block * cache.v_block + inside + slot.offset * cache.head_dim + d] =
        static_cast<const T*>(v.data)[row * v.row_stride + head * v.head_stride + d];
}

// Grid: tiles of rows x heads. Block: 32 x 8 threads.
template <class T>
__global__ void write_kv_v2(Heads k, Heads v, Layer cache, const int64_t* slots, int64_t rows, int32_t* error) {
    SHARED(T, keys, [tile][tile + 1]);  // one more, so that a column is not all in one bank
    SHARED(Slot, place, [tile]);
    const int x = threadIdx.x, y = threadIdx.y;
    const int64_t first = static_cast<int64_t>(blockIdx.x) * tile, head = blockIdx.y;
    const int64_t inside = head * cache.head_dim * cache.block_size;
    if (y == 0) place[x] = first + x < rows ? find_slot(slots, first + x, cache, error) : Slot{-1, 0};
    for (int64_t begin = 0; begin < cache.head_dim; begin += tile) {
        __syncthreads();  // places are known; the last tile has been stored
        const int64_t d = begin + x;
        for (int t = y; t < tile; t += blockDim.y) {  // lanes are dimensions
            const Slot slot = place[t];
            if (slot.block < 0 || d >= cache.head_dim) continue;
            keys[t][x] = static_cast<const T*>(k.data)[(first + t) * k.row_stride + head * k.head_stride + d];
            static_cast<T*>(cache.v)[slot.block * cache.v_block + inside + slot.offset * cache.head_dim + d] =
                static_cast<const T*>(v.data)[(first + t) * v.row_stride + head * v.head_stride + d];
        }
        __syncthreads();
        const Slot slot = place[x];
        for (int t = y; t < tile; t += blockDim.y)  // lanes are tokens
            if (slot.block >= 0 && begin + t < cache.head_dim)
                static_cast<T*>(cache.k)[slot.block * cache.k_block + inside +
                                         (begin + t) * cache.block_size + slot.offset] = keys[x][t];
    }
}

template <class T>
void start(const Heads& k, const Heads& v, const Layer& cache, const int64_t* slots, int64_t rows, int32_t* error,
           Stream stream) {
    if (rows >= tile) {
        launch({"write_kv v2", grid(ceil_div(rows, tile), cache.heads), dim3(tile, 8), 0, stream}, write_kv_v2<T>, k,
               v, cache, slots, rows, error);
    } else {
        const int64_t numbers = cache.heads * cache.head_dim;
        launch({"write_kv v1", grid(ceil_div(numbers, 256), rows), 256, 0, stream}, write_kv_v1<T>, k, v, cache, slots,
               error);
    }
}

}  // namespace

// Numbers are moved, not looked at: only their size counts.
void write_kv(const Heads& k, const Heads& v, const Layer& cache, const int64_t* slots, int64_t rows, int32_t* error,
              Type type, Stream stream) {
    if (size_of(type) == 4) start<uint32_t>(k, v, cache, slots, rows, error, stream);
    else start<uint16_t>(k, v, cache, slots, rows, error, stream);
}

}  // namespace miniapr
