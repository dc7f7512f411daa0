// The extension module miniapr._native.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <map>
#include <string>

#include "calls.h"
#include "kernels.h"

namespace py = pybind11;
using namespace miniapr;

extern "C" const char miniapr_sources[];  // compiled beside this file (miniapr/ops/built.py)

namespace {

#define MINIAPR_STRING_(x) #x
#define MINIAPR_STRING(x) MINIAPR_STRING_(x)

std::map<std::string, std::string> build_info() {
    return {
#if defined(__clang__)
        {"compiler", "clang " __clang_version__},
#elif defined(__GNUC__)
        {"compiler", "gcc " __VERSION__},
#else
        {"compiler", "unknown"},
#endif
#ifdef MINIAPR_FLAGS
        {"flags", MINIAPR_FLAGS},
#else
        {"flags", "unknown"},
#endif
#ifdef _OPENMP
        {"threads", "OpenMP " MINIAPR_STRING(_OPENMP)},
#else
        {"threads", "std::thread"},
#endif
        {"pybind11", MINIAPR_STRING(PYBIND11_VERSION_MAJOR) "." MINIAPR_STRING(PYBIND11_VERSION_MINOR) "." MINIAPR_STRING(
                         PYBIND11_VERSION_PATCH)},
        {"instructions", kernels().name},
        {"sources", miniapr_sources},
    };
}

#ifdef MINIAPR_PLANT_OVERFLOW
// Proves that the sanitizer job can fail: reads one element past the end.
int overflow(int count) {
    std::vector<int> values(static_cast<size_t>(count), 1);
    return values.data()[count];
}
#endif

}  // namespace

PYBIND11_MODULE(_native, m) {
    using release = py::call_guard<py::gil_scoped_release>;
    kernels();  // an instruction set that does not exist is an error of the import
    py::class_<CutPlan>(m, "Plan", py::module_local())  // several builds may be loaded side by side
        .def(py::init(&make_plan))
        // Another step's plan in the same object: calls that were recorded go on with it.
        .def("assign", [](CutPlan& plan, const CutPlan& other) { plan = other; })
        .def_property_readonly("rows", [](const CutPlan& cut) { return cut.plan.rows(); })
        .def_property_readonly("shifted", [](const CutPlan& cut) { return cut.plan.shifted; });
    m.def("paged_attention", &attend_all, release());
    m.def("write_kv", &write_tokens, release());
    m.def("copy_blocks", &copy_all, release());
    m.def("shift_keys", &shift_all, release());
    m.def("copy_and_shift", &copy_and_shift_all, release());
    m.def("linear", &multiply_all, release());
    m.def("rope", &turn_heads, release());
    m.def("sample", &sample_all, release());
    m.def("build_info", &build_info);
#ifdef MINIAPR_PLANT_OVERFLOW
    m.def("overflow", &overflow);
#endif
}
