// What the bindings may call: one launcher for each operation. A launcher chooses a kernel, starts it on the
// stream and comes back at once; nothing here waits for the GPU, so all of it can be captured in a graph.
//
// Addresses are the device's, except for lists of blocks, which are the host's: they travel inside the kernel's
// parameters. Strides are in elements, offsets 64 bits wide. Everything has been checked by the caller.
#pragma once

#include <cstdint>

namespace miniapr {

using Stream = uintptr_t;  // a cudaStream_t, as Python hands it over

enum class Type : int { f32 = 0, bf16 = 1, f16 = 3 };  // 2 is float64, which only the CPU has

inline int64_t size_of(Type type) { return type == Type::f32 ? 4 : 2; }

struct Heads {  // [rows, heads, D], the last dimension contiguous
    const void* data;
    int64_t row_stride, head_stride;
};

struct Layer {  // of the pool: [heads, D, B] and [heads, B, D] contiguous inside a block
    void *k, *v;
    int64_t k_block, v_block;  // from one block to the next
    int64_t blocks, heads, head_dim, block_size;
};

struct Stack {  // all layers of keys or of values
    void* data;
    int64_t layer, block;  // from one to the next
    int64_t layers, heads, head_dim, block_size;

    int64_t block_elements() const { return heads * head_dim * block_size; }
};

struct Tables {  // [count, D / 2] float32, contiguous
    const float *cos, *sin;
    bool interleaved;
};

// New tokens into their slots. A negative slot is skipped. A slot beyond the pool is not written: row + 1 of the
// last such row is left in *error instead, since the host does not see slots that are on the device.
void write_kv(const Heads& k, const Heads& v, const Layer& cache, const int64_t* slots, int64_t rows, int32_t* error,
              Type type, Stream stream);

// Block source[i] to block target[i] in all layers. No block is in both lists.
void copy_blocks(const Stack& k, const Stack& v, const int64_t* source, const int64_t* target, int64_t count,
                 Type type, Stream stream);

// The same, each key turned on the way by row turn[i] of the tables.
void copy_and_shift(const Stack& k, const Stack& v, const int64_t* source, const int64_t* target, const int64_t* turn,
                    int64_t count, const Tables& tables, Type type, Stream stream);

// Keys turned where they are.
void shift_keys(const Stack& k, const int64_t* blocks, const int64_t* turn, int64_t count, const Tables& tables,
                Type type, Stream stream);

// out [rows, width] = x / sqrt(mean(x^2) + eps) * weight
void rms_norm(const void* x, int64_t row_stride, const void* weight, float eps, void* out, int64_t rows,
              int64_t width, Type type, Stream stream);

// out [rows, heads, D] = every head of x turned by row n of the tables
void rope(const Heads& x, int64_t rows, int64_t heads, int64_t head_dim, const Tables& tables, void* out, Type type,
          Stream stream);

// out [rows, width] = silu(gate) * up, for both [rows, 2 * width] in one
void silu_gate(const void* gate_up, void* out, int64_t rows, int64_t width, Type type, Stream stream);

}  // namespace miniapr
