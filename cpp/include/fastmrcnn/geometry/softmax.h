// The order in which the exponentials of a softmax are summed: one for all devices and instruction sets, since the last
// bit of a score decides thresholds and the order of detections.
#pragma once

#include "fastmrcnn/geometry/host_device.h"

namespace fastmrcnn::geometry {

// Partial sum k is that of the classes k, k + 16, k + 32, .., in this order.
constexpr int kSoftmaxLanes = 16;

// Of the partial sums: those at a distance of 8 are added, then at 4, 2 and 1. Overwrites them.
template <class T>
FM_HD T sum_of_lanes(T* lanes) {
  for (int distance = kSoftmaxLanes / 2; distance > 0; distance /= 2) {
    for (int lane = 0; lane < distance; ++lane) lanes[lane] = lanes[lane] + lanes[lane + distance];
  }
  return lanes[0];
}

}  // namespace fastmrcnn::geometry
