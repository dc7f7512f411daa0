// The operations as a process that is told through a pipe what to compute: so kernels for another processor can be
// checked where only an emulator runs them, and Python does not (tests/elsewhere.py is the other end).
//
// A message is a line with the operation's name, then 8 bytes each: the number of stretches of memory; for each its
// address there, bytes, and whether it comes back; then their contents; the number of arguments, and the arguments of
// calls.h in order. An argument that points into a stretch is given the address that it has here. The answer is the
// number of bytes of a complaint and the complaint, or zero and the stretches that come back.
#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <tuple>

#include "calls.h"
#include "kernels.h"
#include "memory.h"

using namespace miniapr;

namespace {

void take(void* to, size_t bytes) {
    if (std::fread(to, 1, bytes, stdin) != bytes) std::exit(0);  // the other end is gone
}

int64_t number() {
    int64_t value;
    take(&value, sizeof value);
    return value;
}

struct Stretch {
    int64_t there, bytes, comes_back;
    std::unique_ptr<void, Aligned> here;
};

struct Message {
    std::vector<Stretch> stretches;
    std::vector<int64_t> arguments;
    size_t next = 0;

    Message() : stretches(static_cast<size_t>(number())) {
        for (Stretch& s : stretches) s.there = number(), s.bytes = number(), s.comes_back = number();
        for (Stretch& s : stretches) s.here = aligned_memory(s.bytes), take(s.here.get(), static_cast<size_t>(s.bytes));
        arguments.resize(static_cast<size_t>(number()));
        for (int64_t& argument : arguments) argument = number();
    }

    // The next argument as a T.
    template <class T>
    T get() {
        T value;
        fill(value);
        return value;
    }

    void fill(double& value) { std::memcpy(&value, &arguments.at(next++), sizeof value); }

    template <class T>
    std::enable_if_t<std::is_integral_v<T>> fill(T& value) {
        const int64_t given = arguments.at(next++), there = given;
        value = static_cast<T>(given);
        for (const Stretch& s : stretches)
            if (there >= s.there && there < s.there + s.bytes)
                value = static_cast<T>(reinterpret_cast<int64_t>(s.here.get()) + (there - s.there));
    }

    template <class T, size_t N>
    void fill(std::array<T, N>& values) {
        for (T& value : values) fill(value);
    }

    void fill(std::vector<std::pair<Address, int64_t>>& pairs) {
        pairs.resize(get<size_t>());
        for (auto& [address, count] : pairs) fill(address), fill(count);
    }

    // f of the arguments that come next.
    template <class R, class... A>
    R give(R (*f)(A...)) {
        std::tuple<std::decay_t<A>...> list{get<std::decay_t<A>>()...};  // braces: from left to right
        return std::apply(f, std::move(list));
    }
};

// A plan is an argument like the others here: it comes as what it is made of.
template <>
CutPlan Message::get<CutPlan>() {
    return give(make_plan);
}

const std::map<std::string, std::function<void(Message&)>> operations = {
    {"plan", [](Message& m) { m.give(make_plan); }},
    {"paged_attention", [](Message& m) { m.give(attend_all); }},
    {"write_kv", [](Message& m) { m.give(write_tokens); }},
    {"copy_blocks", [](Message& m) { m.give(copy_all); }},
    {"shift_keys", [](Message& m) { m.give(shift_all); }},
    {"copy_and_shift", [](Message& m) { m.give(copy_and_shift_all); }},
    {"linear", [](Message& m) { m.give(multiply_all); }},
    {"rope", [](Message& m) { m.give(turn_heads); }},
    {"sample", [](Message& m) { m.give(sample_all); }},
};

void answer(const std::string& complaint, const Message& message) {
    const int64_t length = static_cast<int64_t>(complaint.size());
    std::fwrite(&length, sizeof length, 1, stdout);
    std::fwrite(complaint.data(), 1, complaint.size(), stdout);
    for (const Stretch& s : message.stretches)
        if (complaint.empty() && s.comes_back) std::fwrite(s.here.get(), 1, static_cast<size_t>(s.bytes), stdout);
    std::fflush(stdout);
}

}  // namespace

int main() {
    std::printf("%s\n", kernels().name);
    std::fflush(stdout);
    for (char name[64]; std::fgets(name, sizeof name, stdin);) {
        Message message;
        std::string complaint;
        try {
            operations.at(std::string(name, std::strcspn(name, "\n")))(message);
        } catch (const std::exception& error) {
            complaint = error.what();
        }
        answer(complaint, message);
    }
}
