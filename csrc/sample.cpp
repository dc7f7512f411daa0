#include "sample.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels.h"
#include "memory.h"
#include "parallel.h"

namespace miniapr {
namespace {

struct Candidate {
    double weight;
    int64_t token;

    // Of equally heavy ones the smaller id comes first, whatever the batch.
    bool operator<(const Candidate& other) const {
        return weight > other.weight || (weight == other.weight && token < other.token);
    }
};

double sum_of(const Candidate* begin, const Candidate* end) {
    double sum = 0;
    for (; begin != end; ++begin) sum += begin->weight;
    return sum;
}

// Candidates of which those before `split` are heavier than those behind it.
struct Candidates {
    Candidate *begin, *split, *end;

    double mass() const { return sum_of(begin, end); }

    void cut(Candidate* last) { end = last, split = std::min(split, last); }

    // The heaviest `count` stay.
    void keep(int64_t count) {
        if (count >= end - begin) return;
        Candidate* last = begin + count;
        std::nth_element(last < split ? begin : split, last, last < split ? split : end);
        cut(last);
    }

    // The first in order up to which (itself included) the sum of weights has `passed`, or else the last. What is
    // heavier lies before it afterwards.
    template <class F>
    Candidate* first(const F& passed) const {
        Candidate *low = begin, *middle = split, *high = end;
        double before = 0;
        while (high - low > 1) {
            if (middle <= low || middle >= high) {
                middle = low + (high - low) / 2;
                std::nth_element(low, middle, high);
            }
            const double sum = before + sum_of(low, middle);
            if (passed(sum))
                high = middle;
            else
                before = sum, low = middle;
        }
        return low;
    }
};

// What one worker writes to for each row.
struct Room {
    double* weights;        // [vocabulary], and what fills the last vector
    Candidate* candidates;  // [vocabulary]

    static int64_t doubles(int64_t vocabulary) { return ceil_div(vocabulary, 8) * 8; }
    static int64_t bytes(int64_t vocabulary) {
        return doubles(vocabulary) * int64_t(sizeof(double) + sizeof(Candidate));
    }
    Room(char* memory, int64_t vocabulary)
        : weights(reinterpret_cast<double*>(memory)),
          candidates(reinterpret_cast<Candidate*>(weights + doubles(vocabulary))) {}
};

// Those that can be drawn at all. What a model is sure of are few and heavy tokens, with nearly all of the mass: once
// they lie in front, the others are seldom looked at again.
Candidates gather(const Draws& draws, const Room& room) {
    Candidate *begin = room.candidates, *end = begin;
    for (int64_t token = 0; token < draws.vocabulary; ++token)
        if (room.weights[token] > 0) *end++ = {room.weights[token], token};
    return {begin, std::partition(begin, end, [](const Candidate& c) { return c.weight > 1.0 / 64; }), end};
}

const Candidate& draw(const Draws& draws, int64_t row, const Room& room) {
    Candidates kept = gather(draws, room);
    if (draws.top_k[row] > 0) kept.keep(draws.top_k[row]);
    if (draws.top_p[row] < 1) {
        const double enough = draws.top_p[row] * kept.mass();
        kept.cut(kept.first([&](double sum) { return sum >= enough; }) + 1);
    }
    // The heaviest weighs exp(0) = 1.
    auto light = [&](const Candidate& c) { return c.weight < draws.min_p[row]; };
    kept.end = std::remove_if(kept.begin, kept.end, light);
    const double target = draws.uniform[row] * kept.mass();
    return *kept.first([&](double sum) { return sum > target; });
}

}  // namespace

void sample(const Draws& draws, int64_t* tokens, double* logprobs, int threads) {
    const Kernels& kernel = kernels();
    const int type = static_cast<int>(draws.storage);
    const int64_t row_bytes = draws.row_stride * element_size(draws.storage), count = draws.vocabulary;
    const int workers = worth_threads(threads, draws.rows, draws.rows * count * 16);
    auto memory = aligned_memory(workers * Room::bytes(count));
    parallel_for(draws.rows, workers, [&](int64_t row, int worker) {
        const char* logits = static_cast<const char*>(draws.logits) + row * row_bytes;
        Peak peak{};
        kernel.peak[type](logits, count, peak);
        const bool possible = std::isfinite(peak.log_sum);
        tokens[row] = possible ? peak.at : -1;
        logprobs[row] = possible ? -peak.log_sum : std::numeric_limits<double>::quiet_NaN();
        const double temperature = draws.temperature[row];
        if (!possible || temperature == 0) return;
        const Room room(static_cast<char*>(memory.get()) + worker * Room::bytes(count), count);
        kernel.weigh[type](logits, count, peak.top, temperature, room.weights);
        const Candidate& drawn = draw(draws, row, room);
        tokens[row] = drawn.token;
        logprobs[row] += temperature * std::log(drawn.weight);
    });
}

}  // namespace miniapr
