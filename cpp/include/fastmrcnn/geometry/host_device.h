// FM_HD marks the geometry that CPU and CUDA kernels share. Always inlined, so that no copy compiled for one
// instruction set can be linked into another's code.
#pragma once

#if defined(__CUDACC__)
#define FM_HD __host__ __device__ __forceinline__
#elif defined(__GNUC__)
#define FM_HD __attribute__((always_inline)) inline
#else
#define FM_HD __forceinline
#endif

namespace fastmrcnn::geometry {

// Plain comparisons: NaN in the second argument is ignored, NaN in the first is kept (as std::min and std::max do).
template <class T>
FM_HD T min_of(T a, T b) {
  return b < a ? b : a;
}

template <class T>
FM_HD T max_of(T a, T b) {
  return a < b ? b : a;
}

}  // namespace fastmrcnn::geometry
