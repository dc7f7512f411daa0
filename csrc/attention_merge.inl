// The states of each row's runs and chunks become its output.

template <class K>
void merge(const Job& job, int64_t row) {
    using T = typename K::T;
    constexpr T nothing = -std::numeric_limits<T>::infinity();
    int64_t depth = job.cache.head_dim;
    const Plan& plan = job.plan;
    auto each_state = [&](int64_t head, const auto& f) {
        for (int32_t i = plan.row_ptr[row]; i < plan.row_ptr[row + 1]; ++i) {
            int64_t e = plan.row_edges[i], run = plan.edge_run[e], chunk = job.run_chunk[run];
            int64_t edges = plan.edge_ptr[run + 1] - plan.edge_ptr[run];
            int64_t end = int64_t(plan.first[run]) + plan.edge_visible[e];
            for (int64_t c = 0; c * chunk < end; ++c) {
                int64_t state = (job.run_state[run] + c * edges + e - plan.edge_ptr[run]) * job.q.heads + head;
                f(static_cast<const T*>(job.lse)[state], static_cast<const T*>(job.value) + state * depth);
            }
        }
    };
    for (int64_t head = 0; head < job.q.heads; ++head) {
        T* out = static_cast<T*>(job.out) + (row * job.q.heads + head) * depth;
        T top = nothing, total = 0;
        each_state(head, [&](T lse, const T*) { top = std::max(top, lse); });
        std::fill(out, out + depth, T(0));
        each_state(head, [&](T lse, const T* value) {
            if (lse == nothing) return;
            T weight = std::exp(lse - top);
            total += weight;
            for (int64_t d = 0; d < depth; ++d) out[d] += weight * value[d];
        });
        if (total == 0) continue;  // a row that saw nothing is zeros
        for (int64_t d = 0; d < depth; ++d) out[d] /= total;
    }
}
