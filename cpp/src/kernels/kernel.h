// Included by the headers of the kernels that are compiled once per instruction set.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fastmrcnn/half.h"

// Declares a kernel at every level.
#define FASTMRCNN_DECLARE_KERNEL(...) \
  namespace baseline {                \
  __VA_ARGS__;                        \
  }                                   \
  namespace avx2 {                    \
  __VA_ARGS__;                        \
  }                                   \
  namespace avx512 {                  \
  __VA_ARGS__;                        \
  }

namespace fastmrcnn {

// What a kernel file exports when it serves every storage type: a Kernels<S> for each.
template <template <class> class Kernels>
struct PerStorage {
  Kernels<float> f32;
  Kernels<double> f64;
  Kernels<Half> f16;
  Kernels<BFloat16> bf16;

  template <class S>
  FM_HD const Kernels<S>& of() const {
    return select(static_cast<S*>(nullptr));
  }

 private:
  FM_HD const Kernels<float>& select(float*) const { return f32; }
  FM_HD const Kernels<double>& select(double*) const { return f64; }
  FM_HD const Kernels<Half>& select(Half*) const { return f16; }
  FM_HD const Kernels<BFloat16>& select(BFloat16*) const { return bf16; }
};

}  // namespace fastmrcnn
