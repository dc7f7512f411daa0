// v4 of paged attention for heads of up to 80 numbers.
#include "attention_tiled.cuh"

namespace miniapr {

template bool fit_tensor<bf16, 80>(Choice&, int, size_t);
template bool fit_tensor<f16, 80>(Choice&, int, size_t);

}  // namespace miniapr
