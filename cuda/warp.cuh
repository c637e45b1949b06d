// The lanes of a warp, all of which call these together.
#pragma once

#include "fastmrcnn/geometry/box.h"

namespace fastmrcnn::cuda {

constexpr int kWarp = 32;  // lanes
constexpr unsigned kAllLanes = 0xffffffffu;

// Both are known to every lane afterwards.
template <class T>
__device__ T sum_of_warp(T value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(kAllLanes, value, distance);
  return value;
}

// Of numbers that are not NaN.
template <class T>
__device__ T max_of_warp(T value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value = geometry::max_of(value, __shfl_xor_sync(kAllLanes, value, distance));
  }
  return value;
}

}  // namespace fastmrcnn::cuda
