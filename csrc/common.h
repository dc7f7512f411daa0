// What every operation needs: storage types, errors, threads.
//
// The operations know nothing of Python or torch: they get addresses, sizes, strides (in elements) and a
// number of threads. Every offset is 64 bits wide, since block * stride passes 2^31 in an ordinary pool.
#pragma once

#include <cstdint>
#include <cstring>
#include <sstream>
#include <stdexcept>

namespace miniapr {

enum class Storage : int { f32 = 0, bf16 = 1, f64 = 2 };

// The upper half of a float32.
struct bf16 {
    uint16_t bits;
};

inline int64_t element_size(Storage storage) {
    return storage == Storage::f64 ? 8 : storage == Storage::f32 ? 4 : 2;
}

// Throws what Python sees as ValueError.
template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
    std::ostringstream text;
    (text << ... << parts);
    throw std::invalid_argument(text.str());
}

inline void require_in(const char* name, int64_t i, int64_t value, int64_t low, int64_t end) {
    if (value < low || value >= end)
        fail(name, "[", i, "] = ", value, " is out of range: expected ", low, " <= value < ", end);
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace miniapr
