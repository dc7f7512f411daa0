// copy_blocks: whole blocks, keys and values, in all layers. What a branch pays to own what it shared.
//
//   grid = (pairs x parts of a block, layers, keys | values)
//
// v1  words of the size of a number: 64 bytes a warp for f16. Kept for pools that are not aligned.
// v2  words of 16 bytes: 512 bytes a warp and load, four of them on their way (copies.cuh). What is left is
//     the memory itself.
#include "copies.cuh"

namespace miniapr {
namespace {

// Distances in words.
struct Plane {
    void* data;
    int64_t layer, block, words;
};

template <class Word>
__global__ void copy_blocks_kernel(Plane k, Plane v, BlockList list, unsigned parts) {
    const Plane& plane = blockIdx.z ? v : k;
    const unsigned pair = blockIdx.x / parts, part = blockIdx.x % parts;
    Word* layer = static_cast<Word*>(plane.data) + blockIdx.y * plane.layer;
    copy_part(layer + list.source[pair] * plane.block, layer + list.target[pair] * plane.block, plane.words, part);
}

}  // namespace

void copy_blocks(const Stack& k, const Stack& v, const int64_t* source, const int64_t* target, int64_t count,
                 Type type, Stream stream) {
    const bool vectors = in_vectors(k, type) && in_vectors(v, type);
    with_word(vectors, type, [&](auto as) {
        using Word = typename decltype(as)::type;
        const int64_t each = static_cast<int64_t>(sizeof(Word)) / size_of(type);  // numbers in a word
        auto plane = [&](const Stack& x) {
            return Plane{x.data, x.layer / each, x.block / each, x.block_elements() / each};
        };
        const int64_t parts = ceil_div(k.block_elements() / each, copy_threads * copy_unroll);
        in_parts(source, target, nullptr, count, [&](const BlockList& list, int64_t n) {
            launch({vectors ? "copy_blocks v2" : "copy_blocks v1", grid(n * parts, k.layers, 2), copy_threads, 0, stream},
                   copy_blocks_kernel<Word>, plane(k), plane(v), list, static_cast<unsigned>(parts));
        });
    });
}

}  // namespace miniapr
