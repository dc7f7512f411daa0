// v2 and v3 of paged attention for heads of up to 256 numbers.
#include "attention_tiled.cuh"

namespace miniapr {

template bool fit_ordinary<float, 256>(Choice&, int, size_t);
template bool fit_ordinary<bf16, 256>(Choice&, int, size_t);
template bool fit_ordinary<f16, 256>(Choice&, int, size_t);

}  // namespace miniapr
