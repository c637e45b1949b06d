// The exponential function in plain arithmetic, so that a loop over it vectorises and both devices agree.
#pragma once

#include <stdint.h>
#include <string.h>

#include "fastmrcnn/geometry/host_device.h"

namespace fastmrcnn::geometry {

// 2^n for n in [-126, 127]; some other number elsewhere.
FM_HD float power_of_two(int32_t n) {
  const uint32_t bits = static_cast<uint32_t>(n + 127) << 23;
  float power;
  memcpy(&power, &bits, sizeof power);
  return power;
}

// e^x within two units in the last place. Zero where the result would be subnormal, infinity above 88.72, NaN for NaN.
FM_HD float exponential(float x) {
  constexpr float kLog2e = 1.44269504088896341f;
  constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;  // their sum is ln 2; n * high is exact
  constexpr float kRounder = 12582912.0f;                              // 1.5 * 2^23: adding it rounds to an integer
  const float shifted = x * kLog2e + kRounder;
  const float n = shifted - kRounder;
  const float r = (x - n * kLn2High) - n * kLn2Low;  // |r| <= ln(2) / 2
  // e^r = 1 + r + r^2 p(r), the minimax polynomial of Moshier's Cephes library (expf)
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const float mantissa = p * (r * r) + r + 1.0f;
  // The low bits of `shifted` hold n. 2^n goes on in two factors, since 2^128 is no float.
  uint32_t bits;
  memcpy(&bits, &shifted, sizeof bits);
  const int32_t exponent = static_cast<int32_t>(bits - 0x4b400000u);
  const float low = power_of_two(exponent >> 1), high = power_of_two(exponent - (exponent >> 1));
  const float result = mantissa * low * high;
  if (x < -87.33f) return 0.0f;
  if (x > 88.7228394f) return __builtin_inff();
  return x == x ? result : x;
}

FM_HD double exponential(double x) {
  return __builtin_exp(x);
}

}  // namespace fastmrcnn::geometry
