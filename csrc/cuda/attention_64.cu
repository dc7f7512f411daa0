// v2, v3 and v4 of paged attention for heads of up to 64 numbers.
#include "attention_tiled.cuh"

namespace miniapr {

template bool fit_ordinary<float, 64>(Choice&, int, size_t);
template bool fit_ordinary<bf16, 64>(Choice&, int, size_t);
template bool fit_ordinary<f16, 64>(Choice&, int, size_t);
template bool fit_tensor<bf16, 64>(Choice&, int, size_t);
template bool fit_tensor<f16, 64>(Choice&, int, size_t);

}  // namespace miniapr
