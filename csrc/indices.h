// The checks of lists of blocks and slots that come from outside: before any work, so that nothing is half done.
#pragma once

#include <cstdint>
#include <vector>

#include "common.h"

namespace miniapr {

// Every slot is -1 (not stored) or in the pool.
inline void check_slots(const int64_t* slots, int64_t rows, int64_t pool) {
    for (int64_t n = 0; n < rows; ++n) require_in("slots", n, slots[n], -1, pool);
}

// No block may be in both lists, nor twice in `target`: such a list means something only in one order, and the
// copies run in any.
inline void check_copies(const int64_t* source, const int64_t* target, int64_t count, int64_t blocks) {
    std::vector<bool> written(static_cast<size_t>(blocks));
    for (int64_t i = 0; i < count; ++i) {
        require_in("source", i, source[i], 0, blocks);
        require_in("target", i, target[i], 0, blocks);
        if (written[static_cast<size_t>(target[i])]) fail("target[", i, "] = ", target[i], " is written twice");
        written[static_cast<size_t>(target[i])] = true;
    }
    for (int64_t i = 0; i < count; ++i)
        if (written[static_cast<size_t>(source[i])])
            fail("source[", i, "] = ", source[i], " is a target as well");
}

// Every block is turned once.
inline void check_once(const int64_t* listed, int64_t count, int64_t blocks) {
    std::vector<bool> seen(static_cast<size_t>(blocks));
    for (int64_t i = 0; i < count; ++i) {
        require_in("blocks", i, listed[i], 0, blocks);
        if (seen[static_cast<size_t>(listed[i])]) fail("blocks[", i, "] = ", listed[i], " is listed twice");
        seen[static_cast<size_t>(listed[i])] = true;
    }
}

// Every turn is a row of the tables.
inline void check_turns(const int64_t* turn, int64_t count, int64_t turns) {
    for (int64_t i = 0; i < count; ++i) require_in("turn", i, turn[i], 0, turns);
}

}  // namespace miniapr
