// The states of each row's runs and chunks become its output.

template <class K>
void merge(const Job& job, int64_t row) {
    using T = typename K::T;
    constexpr T nothing = -std::numeric_limits<T>::infinity();
    int64_t depth = job.cache.head_dim;
    const Plan& plan = job.plan;
    auto each_state = [&](int64_t head, const auto& f) {
        for (int32_t i = plan.row_ptr[row]; i < plan.row_ptr[row + 1]; ++i) {
            int64_t e = plan.row_edges[i], run = plan.edge_run[e], chunk = job.cut.run_chunk[run];
            int64_t edges = plan.edge_ptr[run + 1] - plan.edge_ptr[run];
            int64_t end = int64_t(plan.first[run]) + plan.edge_visible[e];
            for (int64_t c = 0; c * chunk < end; ++c) {
                int64_t state = (job.cut.run_state[run] + c * edges + e - plan.edge_ptr[run]) * job.q.heads + head;
                f(static_cast<const T*>(job.lse)[state], static_cast<const T*>(job.value) + state * depth);
            }
        }
    };
    constexpr int64_t part = 64;  // dimensions that are summed at once
    for (int64_t head = 0; head < job.q.heads; ++head) {
        const int64_t at = (row * job.q.heads + head) * depth;
        T top = nothing;
        each_state(head, [&](T lse, const T*) { top = std::max(top, lse); });
        for (int64_t from = 0; from < depth; from += part) {
            const int64_t count = std::min(part, depth - from);
            T sum[part] = {}, total = 0;
            each_state(head, [&](T lse, const T* value) {
                if (lse == nothing) return;
                const T weight = std::exp(lse - top);
                total += weight;
                for (int64_t d = 0; d < count; ++d) sum[d] += weight * value[from + d];
            });
            for (int64_t d = 0; d < count; ++d) {
                const T y = total == 0 ? T(0) : sum[d] / total;  // a row that saw nothing is zeros
                if (job.q.narrow)
                    set(static_cast<bf16*>(job.out)[at + from + d], float(y));
                else
                    static_cast<T*>(job.out)[at + from + d] = y;
            }
        }
    }
}
