// Everything that isa_kernels.inl uses from elsewhere. It must be seen before a target is set: an inline
// function of the library that was compiled for AVX-512 could otherwise be the one copy that the linker
// keeps, and run on a processor without it.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>

#include "attention.h"
#include "common.h"
#include "kernels.h"
#include "linear.h"
#include "plan.h"
#include "sample.h"
