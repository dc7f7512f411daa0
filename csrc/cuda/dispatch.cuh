// From what is known when the program runs to what a kernel is compiled for.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <type_traits>

#include "device.cuh"
#include "operations.h"

namespace miniapr {

template <class T>
struct As {
    using type = T;
};

// f(As<float>()), f(As<f16>()) or f(As<bf16>()).
template <class F>
void with_type(Type type, const F& f) {
    if (type == Type::f32) f(As<float>());
    else if (type == Type::f16) f(As<f16>());
    else f(As<bf16>());
}

// Whether all of these addresses and distances, in bytes, let 16 bytes be moved at once.
inline bool in_vectors(std::initializer_list<int64_t> all) {
    for (int64_t bytes : all)
        if (bytes % 16) return false;
    return true;
}

inline int64_t address(const void* p) { return static_cast<int64_t>(reinterpret_cast<uintptr_t>(p)); }

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

inline dim3 grid(int64_t x, int64_t y = 1, int64_t z = 1) {
    return dim3(static_cast<unsigned>(x), static_cast<unsigned>(y), static_cast<unsigned>(z));
}

}  // namespace miniapr
