// The thread block that emulate.h promises: fibres, barriers, guarded shared memory. Compiled for the CPU only.
#include "emulate.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <memory>
#include <numeric>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// switch_stack(save, load): leave this stack, keeping where it stands in *save, and go on where `load` stands.
// It saves what a called function must preserve; everything else the compiler has saved already.
#if defined(__linux__) && defined(__x86_64__)
extern "C" void miniapr_switch_stack(void** save, void* load);
asm(R"(
.text
.p2align 4
.globl miniapr_switch_stack
.hidden miniapr_switch_stack
.type miniapr_switch_stack, @function
miniapr_switch_stack:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size miniapr_switch_stack, . - miniapr_switch_stack
)");
#elif defined(__linux__) && defined(__aarch64__)
extern "C" void miniapr_switch_stack(void** save, void* load);
asm(R"(
.text
.p2align 4
.globl miniapr_switch_stack
.hidden miniapr_switch_stack
.type miniapr_switch_stack, %function
miniapr_switch_stack:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
.size miniapr_switch_stack, . - miniapr_switch_stack
)");
#else
#include <ucontext.h>  // everywhere else; slower, since it also saves the signal mask
#define MINIAPR_UCONTEXT
#endif

namespace miniapr::emulate {

__thread const Place* here = nullptr;

namespace {

constexpr size_t guard_bytes = 256;  // on both sides of an array
#if defined(__SANITIZE_ADDRESS__)
constexpr size_t stack_bytes = 256 * 1024;  // its stack frames are wider
#else
constexpr size_t stack_bytes = 64 * 1024;
#endif

template <class... Parts>
std::string text(const Parts&... parts) {
    std::ostringstream out;
    (out << ... << parts);
    return out.str();
}

// The stacks of all fibres, each with a page below it that nobody may touch: an overflow is a crash, not a
// silent change of another thread's variables.
class Stacks {
public:
    explicit Stacks(size_t count) : count(count) {
        memory_ = mmap(nullptr, count * stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory_ == MAP_FAILED) throw std::runtime_error("emulation: no memory for stacks");
        const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
        for (size_t i = 0; i < count; ++i) mprotect(bottom(i), page, PROT_NONE);
    }
    ~Stacks() { munmap(memory_, count * stack_bytes); }
    Stacks(const Stacks&) = delete;

    char* bottom(size_t i) const { return static_cast<char*>(memory_) + i * stack_bytes; }

    const size_t count;

private:
    void* memory_;
};

// A place to come back to.
struct Context {
#ifdef MINIAPR_UCONTEXT
    ucontext_t state;
#else
    void* stack_pointer = nullptr;
#endif
    void* fake_stack = nullptr;  // the sanitizer's
    const void* bottom = nullptr;
    size_t bytes = 0;
};

void switch_to(Context& from, Context& to, bool last = false) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(last ? nullptr : &from.fake_stack, to.bottom, to.bytes);
#else
    (void)last;
#endif
#ifdef MINIAPR_UCONTEXT
    swapcontext(&from.state, &to.state);
#else
    miniapr_switch_stack(&from.stack_pointer, to.stack_pointer);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#endif
}

void begin_fibre();  // where a new fibre starts

void prepare(Context& context, char* bottom) {
    context.bottom = bottom;
    context.bytes = stack_bytes;
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(bottom, stack_bytes);  // the last fibre here left without unwinding
#endif
#ifdef MINIAPR_UCONTEXT
    getcontext(&context.state);
    context.state.uc_stack.ss_sp = bottom;
    context.state.uc_stack.ss_size = stack_bytes;
    context.state.uc_link = nullptr;
    makecontext(&context.state, begin_fibre, 0);
#elif defined(__x86_64__)
    // Six registers, the address to return to, and a zero where that function's own return address would be.
    auto** top = reinterpret_cast<void**>(bottom + stack_bytes) - 8;
    std::fill(top, top + 8, nullptr);
    top[6] = reinterpret_cast<void*>(begin_fibre);
    context.stack_pointer = top;
#else
    auto** top = reinterpret_cast<void**>(bottom + stack_bytes) - 20;
    std::fill(top, top + 20, nullptr);
    top[11] = reinterpret_cast<void*>(begin_fibre);  // x30
    context.stack_pointer = top;
#endif
}

// An array of shared memory, filled with NaN and guarded on both sides.
class Shared {
public:
    Shared(const void* key, size_t bytes) : key(key), bytes(bytes), memory_(bytes + 2 * guard_bytes + 128) {
        void* start = memory_.data() + guard_bytes;
        size_t space = memory_.size() - guard_bytes;
        data = static_cast<unsigned char*>(std::align(128, bytes + guard_bytes, start, space));
        fill();
    }
    Shared(Shared&&) = default;
    ~Shared() { poison(false); }

    void fill() {
        poison(false);
        std::fill(memory_.begin(), memory_.end(), 0xff);
        poison(true);
    }

    bool intact() {
        poison(false);
        auto untouched = [](const unsigned char* p) { return std::count(p, p + guard_bytes, 0xff) == guard_bytes; };
        return untouched(data - guard_bytes) && untouched(data + bytes);
    }

    const void* key;
    size_t bytes;
    unsigned char* data;

private:
    void poison(bool on) {
#if defined(__SANITIZE_ADDRESS__)  // then reads beyond the end are found as well, where they happen
        if (memory_.empty()) return;
        (on ? __asan_poison_memory_region : __asan_unpoison_memory_region)(data - guard_bytes, guard_bytes);
        (on ? __asan_poison_memory_region : __asan_unpoison_memory_region)(data + bytes, guard_bytes);
#else
        (void)on;
#endif
    }
    std::vector<unsigned char> memory_;
};

struct Copy {  // asynchronous, on its way
    void* to;
    const void* from;
    int bytes, group;
};

enum class State { ready, at_barrier, in_warp, done };

struct Fibre : Place {
    Context context;
    State state;
    unsigned number;
    // What it waits for.
    int line;
    unsigned mask;
    void* brought;
    // Copies that no wait has made true yet, and how many groups have been closed.
    std::vector<Copy> copies;
    int groups;
};

// One kernel at a time on each CPU thread.
class Device {
public:
    Device(const char* name, dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& kernel)
        : kernel_(kernel), name_(name), grid_(grid), block_(block), fibres_(block.count()) {
        if (!stacks_ || stacks_->count < fibres_.size()) stacks_ = std::make_unique<Stacks>(fibres_.size());
        shared_.push_back(std::make_unique<Shared>(nullptr, shared_bytes));
        order_.resize(fibres_.size());
        std::iota(order_.begin(), order_.end(), 0u);
        const char* wanted = std::getenv("MINIAPR_EMULATE_ORDER");
        const std::string order = wanted ? wanted : "forward";
        shuffled_ = order.rfind("random:", 0) == 0;
        if (shuffled_) random_.seed(static_cast<unsigned>(std::stoul(order.substr(7))));
        else if (order == "backward") std::reverse(order_.begin(), order_.end());
        else if (order != "forward") throw std::runtime_error("MINIAPR_EMULATE_ORDER is " + order);
    }

    void run() {
        std::vector<unsigned> blocks(grid_.count());
        std::iota(blocks.begin(), blocks.end(), 0u);
        if (shuffled_) std::shuffle(blocks.begin(), blocks.end(), random_);
        else if (order_.front()) std::reverse(blocks.begin(), blocks.end());
        for (unsigned number : blocks)
            run_block({number % grid_.x, number / grid_.x % grid_.y, number / grid_.x / grid_.y});
    }

    Fibre& current() { return *current_; }

    // A fibre's own end, reached on its own stack.
    void work() {
#if defined(__SANITIZE_ADDRESS__)  // the one that was left is main's: this is how to learn where it is
        __sanitizer_finish_switch_fiber(nullptr, &main_.bottom, &main_.bytes);
#endif
        try {
            kernel_();
        } catch (...) {
            error_ = std::current_exception();
        }
        current_->state = State::done;
        switch_to(current_->context, main_, true);
    }

    void wait(State what, int line, unsigned mask = 0, void* brought = nullptr) {
        current_->state = what;
        current_->line = line;
        current_->mask = mask;
        current_->brought = brought;
        Fibre* self = current_;
        switch_to(self->context, main_);
    }

    Fibre* lane(unsigned i) {
        const size_t number = current_->number / 32 * 32 + i;
        return number < fibres_.size() ? &fibres_[number] : nullptr;
    }

    Shared& shared(const void* key, size_t bytes) {
        for (auto& array : shared_)
            if (array->key == key) return *array;
        shared_.push_back(std::make_unique<Shared>(key, bytes));
        return *shared_.back();
    }

    [[noreturn]] void fail(const std::string& what) {
        const dim3 b = fibres_[0].block;
        throw std::runtime_error(text("kernel ", name_, ", block (", b.x, ", ", b.y, ", ", b.z, "): ", what));
    }

    std::string who() { return text("thread ", current_->number); }

private:
    void run_block(dim3 block) {
        for (auto& array : shared_) array->fill();
        for (unsigned i = 0; i < fibres_.size(); ++i) {
            Fibre& fibre = fibres_[i];
            static_cast<Place&>(fibre) = {
                {i % block_.x, i / block_.x % block_.y, i / block_.x / block_.y}, block, block_, grid_, i % 32};
            fibre.state = State::ready;
            fibre.number = i;
            fibre.groups = 0;
            fibre.copies.clear();
            prepare(fibre.context, stacks_->bottom(i));
        }
        while (turn() || release()) {
        }
        for (auto& array : shared_)
            if (!array->intact()) fail(text("wrote beyond shared memory (an array of ", array->bytes, " bytes)"));
    }

    // Every fibre that can run does so, until it waits. False if none could.
    bool turn() {
        if (shuffled_) std::shuffle(order_.begin(), order_.end(), random_);
        bool moved = false;
        for (unsigned i : order_) {
            if (fibres_[i].state != State::ready) continue;
            moved = true;
            current_ = &fibres_[i];
            here = current_;
            switch_to(main_, current_->context);
            if (error_) std::rethrow_exception(error_);
        }
        return moved;
    }

    // Nobody can run: opens the barrier if all are there. False if the block has ended.
    bool release() {
        auto at_barrier = [&](const Fibre& f) { return f.state == State::at_barrier && f.line == fibres_[0].line; };
        auto done = [](const Fibre& f) { return f.state == State::done; };
        if (std::all_of(fibres_.begin(), fibres_.end(), done)) return false;
        if (!std::all_of(fibres_.begin(), fibres_.end(), at_barrier)) fail("threads wait for ever: " + places());
        for (auto& fibre : fibres_) fibre.state = State::ready;
        return true;
    }

    // Where everybody is: "0-31 at __syncthreads in line 12; 32-63 have left".
    std::string places() {
        auto place = [](const Fibre& f) -> std::string {
            if (f.state == State::done) return "left the kernel";
            if (f.state == State::at_barrier) return text("wait at __syncthreads in line ", f.line);
            return text("wait for lanes ", std::hex, f.mask, " of the warp in line ", std::dec, f.line);
        };
        std::string all;
        for (size_t i = 0; i < fibres_.size();) {
            size_t end = i + 1;
            while (end < fibres_.size() && place(fibres_[end]) == place(fibres_[i])) ++end;
            all += text(i ? "; " : "", "threads ", i, " to ", end - 1, " ", place(fibres_[i]));
            i = end;
        }
        return all;
    }

    static thread_local std::unique_ptr<Stacks> stacks_;  // kept: mapping them takes longer than a small kernel
    const std::function<void()>& kernel_;
    const char* name_;
    dim3 grid_, block_;
    std::vector<Fibre> fibres_;
    std::vector<std::unique_ptr<Shared>> shared_;  // the dynamic one first
    std::vector<unsigned> order_;
    bool shuffled_;
    std::mt19937 random_;
    Fibre* current_ = nullptr;
    Context main_;
    std::exception_ptr error_;
};

thread_local std::unique_ptr<Stacks> Device::stacks_;
thread_local Device* device = nullptr;

void begin_fibre() { device->work(); }

}  // namespace

void run(const char* name, dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& kernel) {
    if (!grid.count()) return;
    auto require = [&](bool good, const char* what) {
        if (!good) throw std::runtime_error(text("kernel ", name, ": ", what));
    };
    require(!device, "was launched from inside a kernel");
    require(block.count() >= 1 && block.count() <= 1024, "a block has 1 to 1024 threads");
    require(grid.x < 1u << 31 && grid.y <= 65535 && grid.z <= 65535, "the grid is too large");
    require(shared_bytes <= 99 * 1024, "more shared memory than 99 KiB");
    Device now(name, grid, block, shared_bytes, kernel);
    struct Clear {
        ~Clear() { device = nullptr, here = nullptr; }
    } clear;
    device = &now;
    now.run();
}

int capability() {
    const char* played = std::getenv("MINIAPR_EMULATE_CAPABILITY");
    return played ? std::atoi(played) : 80;
}

void require_aligned(const void* p, size_t bytes) {
    if (reinterpret_cast<uintptr_t>(p) % bytes)
        device->fail(text(device->who(), " uses ", bytes, " bytes at ", p, ", which is not aligned to them"));
}

void sync_block(int line) { device->wait(State::at_barrier, line); }

void meet(unsigned mask, int line, void* brought, void (*together)(void** brought)) {
    Fibre& self = device->current();
    if (!(mask >> self.lane & 1))
        device->fail(text(device->who(), " is not in the mask of its warp operation in line ", line));
    void* all[32] = {};
    for (unsigned i = 0; i < 32; ++i) {
        if (!(mask >> i & 1)) continue;
        const Fibre* other = device->lane(i);
        const bool is_here = other && other->state == State::in_warp && other->line == line && other->mask == mask;
        if (other != &self && !is_here) return device->wait(State::in_warp, line, mask, brought);
        all[i] = other == &self ? brought : other->brought;
    }
    together(all);
    for (unsigned i = 0; i < 32; ++i)
        if (mask >> i & 1) device->lane(i)->state = State::ready;
}

void* shared_array(const void* key, size_t bytes) { return device->shared(key, bytes).data; }
void* dynamic_shared() { return device->shared(nullptr, 0).data; }

void start_copy(void* shared, const void* global, int valid_bytes) {
    require_aligned(shared, 16);
    if (valid_bytes < 0 || valid_bytes > 16) device->fail("a copy of less than 0 or more than 16 bytes");
    if (valid_bytes) require_aligned(global, 16);
    std::memset(shared, 0xff, 16);
    device->current().copies.push_back({shared, global, valid_bytes, device->current().groups});
}

void commit_copies() { ++device->current().groups; }

void wait_copies(int groups_left) {
    Fibre& self = device->current();
    auto landed = [&](const Copy& copy) {
        if (copy.group >= self.groups - groups_left) return false;
        std::memset(copy.to, 0, 16);
        std::memcpy(copy.to, copy.from, static_cast<size_t>(copy.bytes));
        return true;
    };
    self.copies.erase(std::remove_if(self.copies.begin(), self.copies.end(), landed), self.copies.end());
}

}  // namespace miniapr::emulate
