// parallel_for(n, threads, f): f(item, worker) for every item, workers numbered 0..threads-1.
//
// With OpenMP the threads are those of the process's one OpenMP runtime (torch's, if torch was loaded
// first), so the two never compete for the cores. Without it, plain threads are started for each call.
//
// A fork takes along the thread that called it and none of its team. gcc's OpenMP does not notice, and would wait for
// the lost ones for ever: so in the child that thread works alone. Threads that the child starts have their own teams.
#pragma once

#include <cstdint>

#ifdef _OPENMP
#include <omp.h>
#include <pthread.h>
#else
#include <atomic>
#include <thread>
#include <vector>
#endif

namespace miniapr {

#ifdef _OPENMP
inline thread_local bool lost_team = false;
inline const int forks_are_noticed = pthread_atfork(nullptr, nullptr, [] { lost_team = true; });
#endif

// Waking the others costs a few microseconds, so a thread must have about this much to do:
// multiply-adds, or bytes moved.
constexpr int64_t least_work = 1 << 18;

inline int worth_threads(int threads, int64_t items, int64_t work) {
    int64_t most = work / least_work < items ? work / least_work : items;
    return most < 1 ? 1 : most < threads ? static_cast<int>(most) : threads;
}

// f must not throw: nothing may leave a parallel region.
template <class F>
void parallel_for(int64_t items, int threads, const F& f) {
    if (threads <= 1) {
        for (int64_t i = 0; i < items; ++i) f(i, 0);
        return;
    }
#ifdef _OPENMP
    if (lost_team) return parallel_for(items, 1, f);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (int64_t i = 0; i < items; ++i) f(i, omp_get_thread_num());
#else
    std::atomic<int64_t> next{0};
    auto work = [&](int worker) {
        for (int64_t i = next++; i < items; i = next++) f(i, worker);
    };
    std::vector<std::thread> others;
    for (int worker = 1; worker < threads; ++worker) others.emplace_back(work, worker);
    work(0);
    for (auto& thread : others) thread.join();
#endif
}

}  // namespace miniapr
