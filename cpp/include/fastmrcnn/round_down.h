#pragma once

#include <cmath>
#include <limits>

namespace fastmrcnn {

// The greatest T that does not exceed `threshold`: comparing a T with it decides as comparing with the double would.
template <class T>
T round_down(double threshold) {
  const T rounded = static_cast<T>(threshold);
  return static_cast<double>(rounded) > threshold ? std::nextafter(rounded, -std::numeric_limits<T>::infinity())
                                                  : rounded;
}

}  // namespace fastmrcnn
