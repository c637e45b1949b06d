// The logistic function.
#pragma once

#include "fastmrcnn/geometry/exponential.h"

namespace fastmrcnn::geometry {

FM_HD double sigmoid(double x) {
  return 1.0 / (1.0 + exponential(-x));
}

// Through double precision: the float nearest to the true value but for rare ties, so monotone and alike on all
// devices.
FM_HD float sigmoid(float x) {
  return static_cast<float>(sigmoid(static_cast<double>(x)));
}

}  // namespace fastmrcnn::geometry
