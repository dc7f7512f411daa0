// From logits to a token of each row: the distribution's sorted cumulative sum, inverted at a number of the caller's.
//
//   weights, the heaviest first   |########|#####|###|##|#|.|      target = uniform * (sum of what is kept)
//                                            ^ the first at which the sum passes the target
//
// Nothing is sorted for it: of two halves (every one of the first heavier than any of the second) only the one that
// holds the target is halved again, so a row costs about as much as looking at it twice. Cuts are found the same way.
#pragma once

#include <cstdint>

#include "common.h"

namespace miniapr {

// All lists have one entry a row; miniapr/ops/reference.py says what they mean.
struct Draws {
    const void* logits;  // [rows, vocabulary], the last dimension contiguous
    int64_t rows, row_stride, vocabulary;
    Storage storage;
    const double* temperature;
    const int64_t* top_k;
    const double *top_p, *min_p, *uniform;
};

// tokens [rows], logprobs [rows] of the softmax of the logits as they are. A row with NaN or +inf, or of -inf only,
// has nothing to choose from: it gets token -1 and NaN.
void sample(const Draws& draws, int64_t* tokens, double* logprobs, int threads);

// What one row is at a glance.
struct Peak {
    int64_t at;      // the first of the largest logits
    double top;      // its value
    double log_sum;  // ln sum exp(logit - top): NaN or infinite where there is nothing to choose from
};

}  // namespace miniapr
