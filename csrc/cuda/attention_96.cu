// v4 of paged attention for heads of up to 96 numbers.
#include "attention_tiled.cuh"

namespace miniapr {

template bool fit_tensor<bf16, 96>(Choice&, int, size_t);
template bool fit_tensor<f16, 96>(Choice&, int, size_t);

}  // namespace miniapr
