// The extension module miniapr._cuda: addresses in, nothing out. Types, shapes, strides and devices are checked in
// miniapr/ops/cuda.py; every index that is on the host is checked here, before any work.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstring>
#include <map>
#include <string>
#include <utility>

#include "../common.h"
#include "../indices.h"
#include "../plan.h"
#include "attention_plan.h"
#include "operations.h"
#include "paged_attention.h"

#ifndef MINIAPR_EMULATE
#include <cuda_runtime_api.h>
#endif

namespace py = pybind11;
using namespace miniapr;

extern "C" const char miniapr_sources[];  // compiled beside this file (miniapr/ops/built.py)

namespace {

using Address = uintptr_t;

template <class T = void>
T* at(Address address) {
    return reinterpret_cast<T*>(address);
}

Type type_of(int code) {
    if (code != 0 && code != 1 && code != 3) fail("type = ", code, ", expected 0, 1 or 3");
    return static_cast<Type>(code);
}

// The device, by its number, and the stream that a call is for.
using Where = std::pair<int, Stream>;

// Makes a device the current one for as long as this lives: kernels start on the current device.
class Current {
public:
#ifdef MINIAPR_EMULATE
    explicit Current(const Where&) {}
#else
    explicit Current(const Where& where) {
        cudaGetDevice(&before_);
        if (cudaSetDevice(where.first) != cudaSuccess) throw std::runtime_error("there is no such CUDA device");
    }
    ~Current() { cudaSetDevice(before_); }

private:
    int before_ = 0;
#endif
};

// (address, row stride, head stride)
Heads heads(const std::array<int64_t, 3>& x) { return {at<const void>(static_cast<Address>(x[0])), x[1], x[2]}; }

// (address, layer stride, block stride) and (layers, blocks, heads, head_dim, block_size)
using Place = std::array<int64_t, 3>;
using Sizes = std::array<int64_t, 5>;

Stack stack(const Place& p, const Sizes& n) { return {at(static_cast<Address>(p[0])), p[1], p[2], n[0], n[2], n[3], n[4]}; }

// (address, block stride) of keys and of values, and (blocks, heads, head_dim, block_size)
void write_tokens(const Where& where, const std::array<int64_t, 3>& k, const std::array<int64_t, 3>& v,
           const std::array<int64_t, 4>& caches, const std::array<int64_t, 4>& sizes, Address slots, Address on_host,
           int64_t rows, Address error, int type) {
    if (on_host) check_slots(at<const int64_t>(on_host), rows, sizes[0] * sizes[3]);
    const Layer layer{at(static_cast<Address>(caches[0])), at(static_cast<Address>(caches[2])), caches[1], caches[3],
                      sizes[0], sizes[1], sizes[2], sizes[3]};
    const Current current(where);
    write_kv(heads(k), heads(v), layer, at<const int64_t>(slots), rows, at<int32_t>(error), type_of(type), where.second);
}

void copy(const Where& where, const Place& k, const Place& v, const Sizes& sizes, Address source, Address target,
          int64_t count, int type) {
    check_copies(at<const int64_t>(source), at<const int64_t>(target), count, sizes[1]);
    const Current current(where);
    copy_blocks(stack(k, sizes), stack(v, sizes), at<const int64_t>(source), at<const int64_t>(target), count,
                type_of(type), where.second);
}

// (address of cos, address of sin, rows, interleaved)
using Turns = std::array<int64_t, 4>;

Tables tables(const Turns& t) {
    return {at<const float>(static_cast<Address>(t[0])), at<const float>(static_cast<Address>(t[1])), t[3] != 0};
}

void copy_turned(const Where& where, const Place& k, const Place& v, const Sizes& sizes, Address source,
                 Address target, Address turn, int64_t count, const Turns& turns, int type) {
    check_copies(at<const int64_t>(source), at<const int64_t>(target), count, sizes[1]);
    check_turns(at<const int64_t>(turn), count, turns[2]);
    const Current current(where);
    copy_and_shift(stack(k, sizes), stack(v, sizes), at<const int64_t>(source), at<const int64_t>(target),
                   at<const int64_t>(turn), count, tables(turns), type_of(type), where.second);
}

void shift(const Where& where, const Place& k, const Sizes& sizes, Address blocks, Address turn, int64_t count,
           const Turns& turns, int type) {
    check_once(at<const int64_t>(blocks), count, sizes[1]);
    check_turns(at<const int64_t>(turn), count, turns[2]);
    const Current current(where);
    shift_keys(stack(k, sizes), at<const int64_t>(blocks), at<const int64_t>(turn), count, tables(turns),
               type_of(type), where.second);
}

void norm(const Where& where, Address x, int64_t row_stride, Address weight, double eps, Address out, int64_t rows,
          int64_t width, int type) {
    const Current current(where);
    rms_norm(at(x), row_stride, at(weight), static_cast<float>(eps), at(out), rows, width, type_of(type), where.second);
}

void rotate(const Where& where, const std::array<int64_t, 3>& x, int64_t rows, int64_t count, int64_t head_dim,
            const Turns& turns, Address out, int type) {
    const Current current(where);
    rope(heads(x), rows, count, head_dim, tables(turns), at(out), type_of(type), where.second);
}

void gate(const Where& where, Address gate_up, Address out, int64_t rows, int64_t width, int type) {
    const Current current(where);
    silu_gate(at(gate_up), at(out), rows, width, type_of(type), where.second);
}

// The plan's ten arrays, on the host, and their lengths: blocks, runs, edges, rows, shifts.
WorkList cut(const std::array<Address, 10>& a, const std::array<int64_t, 5>& n, int64_t blocks, int64_t block_size,
             int64_t group, int64_t parallel, int64_t rows) {
    auto list = [&](int i) { return at<const int32_t>(a[i]); };
    const Plan plan({list(0), list(1), list(2), list(3), list(4), list(5), list(6), list(7), list(8), list(9), n[0],
                     n[1], n[2], n[3], n[4]});
    return cut_plan(plan, {blocks, block_size}, group, parallel, rows);
}

void write_list(const WorkList& list, Address to, size_t room) {
    if (list.buffer.size() > room) fail("the work list has ", list.buffer.size(), " entries, there is room for ", room);
    std::memcpy(at(to), list.buffer.data(), list.buffer.size() * sizeof(int32_t));
}

// work: (list, values, log-sum-exps) and (units, rows) that there is room for; caches as for write_kv; sizes:
// KV heads, query heads per KV head, head size, block size.
void attend(const Where& where, const std::array<Address, 3>& work, const std::array<int64_t, 2>& room,
            const std::array<int64_t, 3>& q, bool q_is_float, const std::array<int64_t, 4>& caches,
            const std::array<int, 4>& sizes, const Turns& turns, Address out, int type, int version) {
    Attention a{};
    a.work = at<const int32_t>(work[0]);
    a.value = at<float>(work[1]), a.lse = at<float>(work[2]), a.out = at(out);
    a.q = at(static_cast<Address>(q[0])), a.q_row = q[1], a.q_head = q[2], a.q_is_float = q_is_float;
    a.k = at(static_cast<Address>(caches[0])), a.k_block = caches[1];
    a.v = at(static_cast<Address>(caches[2])), a.v_block = caches[3];
    a.heads = sizes[0], a.group = sizes[1], a.depth = sizes[2], a.block_size = sizes[3];
    const Tables shifts = tables(turns);
    a.cos = shifts.cos, a.sin = shifts.sin, a.interleaved = shifts.interleaved;
    const Current current(where);
    paged_attention(a, {room[0], room[1]}, type_of(type), version, where.second);
}

int64_t resident_blocks(const Where& where, int head_dim, bool q_is_float, int type) {
    const Current current(where);
    return attention_blocks(type_of(type), head_dim, q_is_float);
}

std::map<std::string, std::string> build_info() {
    return {
#ifdef MINIAPR_EMULATE
        {"emulated", "on the CPU"},
#else
        {"runtime", std::to_string(CUDART_VERSION / 1000) + "." + std::to_string(CUDART_VERSION % 1000 / 10)},
#endif
#ifdef MINIAPR_ARCHITECTURES
        {"architectures", MINIAPR_ARCHITECTURES},
#endif
        {"sources", miniapr_sources},
    };
}

}  // namespace

PYBIND11_MODULE(_cuda, m) {
    using release = py::call_guard<py::gil_scoped_release>;
    py::class_<WorkList>(m, "WorkList", py::module_local())
        .def(py::init(&cut), release())
        .def_property_readonly("size", [](const WorkList& list) { return list.buffer.size(); })
        .def_readonly("rows", &WorkList::rows)
        .def_readonly("units", &WorkList::units)
        .def_readonly("states", &WorkList::states)
        .def("write", &write_list);
    m.def("paged_attention", &attend, release());
    m.def("attention_blocks", &resident_blocks);
    m.def("write_kv", &write_tokens, release());
    m.def("copy_blocks", &copy, release());
    m.def("copy_and_shift", &copy_turned, release());
    m.def("shift_keys", &shift, release());
    m.def("rms_norm", &norm, release());
    m.def("rope", &rotate, release());
    m.def("silu_gate", &gate, release());
    m.def("build_info", &build_info);
}
