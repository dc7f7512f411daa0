// Scratch memory, aligned to cache lines.
#pragma once

#include <cstdint>
#include <memory>
#include <new>

namespace miniapr {

struct Aligned {
    void operator()(void* p) const { ::operator delete(p, std::align_val_t(64)); }
};

inline std::unique_ptr<void, Aligned> aligned_memory(int64_t bytes) {
    return std::unique_ptr<void, Aligned>(
        ::operator new(static_cast<size_t>(bytes < 64 ? 64 : bytes), std::align_val_t(64)));
}

}  // namespace miniapr
