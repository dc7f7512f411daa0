// Kernels with a fault that can be switched on, for test_emulator.py; and the primitives by themselves.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <vector>

#include "device.cuh"

namespace py = pybind11;
using namespace miniapr;
using Floats = py::array_t<float, py::array::c_style>;
using Halves = py::array_t<uint16_t, py::array::c_style>;

namespace {

constexpr int threads = 64;

__global__ void reverse(const float* x, float* y, std::string fault) {
    SHARED(float, tile, [threads]);
    const int t = threadIdx.x;
    if (fault != "nothing is written") tile[t] = x[t];
    if (fault == "some threads leave" && t >= 32) return;
    if (fault == "barrier in a branch") {
        if (t < 32) __syncthreads();
    } else if (fault != "no barrier") {
        __syncthreads();
    }
    y[t] = tile[threads - 1 - t];
}

__global__ void write_beyond(std::string fault) {
    SHARED(float, fixed, [8]);
    DYNAMIC_SHARED(float, dynamic);
    const int t = threadIdx.x;
    fixed[fault == "static" && t == 31 ? 8 : t % 8] = 1;
    dynamic[fault == "dynamic" && t == 0 ? 32 : t] = 1;
    if (fault == "below") dynamic[t - 1] = 1;
}

__global__ void load_vectors(const float* x, float* y, int offset) {
    store_vector(y + threadIdx.x * 4, load_vector<4>(x + threadIdx.x * 4 + offset));
}

// Two stages on their way at once; the first is read while the second may still be missing.
__global__ void copy_stages(const float* x, float* y, std::string fault, int valid) {
    SHARED(float, stages, [2][128]);
    const int t = threadIdx.x;
    for (int s = 0; s < 2; ++s) {
        async_copy16(&stages[s][t * 4], x + s * 128 + t * 4, valid);
        async_commit();
    }
    if (fault == "one wait too few") async_wait<2>();
    else async_wait<1>();
    __syncthreads();
    for (int i = t; i < 128; i += 32) y[i] = stages[0][127 - i];
    if (fault != "no last wait") async_wait<0>();
    if (fault != "no last barrier") __syncthreads();
    for (int i = t; i < 128; i += 32) y[128 + i] = stages[1][127 - i];
}

__global__ void exchange(const float* x, float* y, std::string how) {
    const int t = threadIdx.x;
    float got = x[t];
    if (how == "xor") got = __shfl_xor_sync(~0u, got, 5);
    if (how == "down") got = __shfl_down_sync(~0u, got, 3);
    if (how == "down 8") got = __shfl_down_sync(~0u, got, 3, 8);
    if (how == "from") got = __shfl_sync(~0u, got, 7);
    if (how == "from 8") got = __shfl_sync(~0u, got, 7, 8);
    if (how == "ballot") got = static_cast<float>(__popc(__ballot_sync(~0u, got > 10)));
    if (how == "half") got = t % 2 ? got : __shfl_xor_sync(0x55555555u, got, 2);
    if (how == "split") got = t < 16 ? __shfl_xor_sync(~0u, got, 1)
                                     : __shfl_xor_sync(~0u, got, 2);
    if (how == "not in the mask") got = __shfl_xor_sync(1u, got, 1);
    if (how == "some left") {
        if (t == 3) return;
        got = __shfl_xor_sync(~0u, got, 1);
    }
    y[t] = got;
}

// c [16, 8] = a [16, 16] * b [16, 8]
template <class T>
__global__ void multiply(const T* a, const T* b, float* c) {
    SHARED(T, rows, [16][16]);
    SHARED(T, columns, [16][8]);
    const int lane = threadIdx.x, g = lane / 4, t = lane % 4 * 2;
    for (int i = lane; i < 256; i += 32) rows[i / 16][i % 16] = a[i];
    for (int i = lane; i < 128; i += 32) columns[i / 8][i % 8] = b[i];
    __syncwarp();
    uint32_t left[4], right[4];
    float sum[4] = {};
    load_matrix4<false>(left, &rows[lane % 16][lane / 16 * 8]);
    load_matrix4<true>(right, &columns[lane % 16][0]);
    const uint32_t both[2] = {right[0], right[1]};
    mma_16816<T>(sum, left, both);
    for (int i = 0; i < 4; ++i) c[(g + i / 2 * 8) * 8 + t + i % 2] = sum[i];
}

template <class T>
void product(const Halves& a, const Halves& b, Floats& c) {
    launch({"multiply", 1, 32, 0, 0}, multiply<T>, reinterpret_cast<const T*>(a.data()),
           reinterpret_cast<const T*>(b.data()), c.mutable_data());
}

template <class T>
void convert(const Floats& x, Halves& narrow, Floats& wide) {
    for (py::ssize_t i = 0; i < x.size(); ++i) {
        const T small = from_float<T>(x.data()[i]);
        narrow.mutable_data()[i] = small.bits;
        wide.mutable_data()[i] = to_float(small);
    }
}

}  // namespace

PYBIND11_MODULE(_emulator, m) {
    m.def("reverse", [](const Floats& x, Floats& y, const std::string& fault) {
        launch({"reverse", 1, threads, 0, 0}, reverse, x.data(), y.mutable_data(), fault);
    });
    m.def("write_beyond", [](const std::string& fault) {
        launch({"write_beyond", 1, 32, 128, 0}, write_beyond, fault);
    });
    m.def("load_vectors", [](const Floats& x, Floats& y, int offset) {
        launch({"load_vectors", 1, 4, 0, 0}, load_vectors, x.data(), y.mutable_data(), offset);
    });
    m.def("copy_stages", [](const Floats& x, Floats& y, const std::string& fault, int valid) {
        launch({"copy_stages", 1, 32, 0, 0}, copy_stages, x.data(), y.mutable_data(), fault, valid);
    });
    m.def("exchange", [](const Floats& x, Floats& y, const std::string& how) {
        launch({"exchange", 1, 32, 0, 0}, exchange, x.data(), y.mutable_data(), how);
    });
    m.def("start", [](unsigned blocks, unsigned block, size_t shared) {
        launch({"start", blocks, block, shared, 0}, load_vectors, nullptr, nullptr, 0);
    });
    m.def("multiply_f16", &product<f16>);
    m.def("multiply_bf16", &product<bf16>);
    m.def("convert_f16", &convert<f16>);
    m.def("convert_bf16", &convert<bf16>);
}
