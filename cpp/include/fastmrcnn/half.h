// float16 and bfloat16 as they lie in memory: kernels read them, compute in float32 and round once.
#pragma once

#include <stdint.h>
#include <string.h>

#include "fastmrcnn/geometry/host_device.h"

namespace fastmrcnn {

struct Half {
  uint16_t bits;
};

struct BFloat16 {
  uint16_t bits;
};

template <class Storage>
struct AccumulatorOf {
  using type = Storage;
};
template <>
struct AccumulatorOf<Half> {
  using type = float;
};
template <>
struct AccumulatorOf<BFloat16> {
  using type = float;
};

// What values of a storage type are computed in.
template <class Storage>
using Accumulator = typename AccumulatorOf<Storage>::type;

// Conversions of one value (Word uint32_t, Float float) or of vectors of them; 16-bit patterns are in the lower half of
// each word. They round to the nearest, ties to even, keep NaN (as a quiet one), and do not depend on whether the
// processor flushes denormal numbers. The instructions that convert float16 give the same bits.
namespace half_bits {

template <class To, class From>
FM_HD To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

template <class Float, class Word>
FM_HD Float float_of_half(Word half) {
  constexpr uint32_t kRebias = (127 - 15) << 23, kExponent = 0x1f << 23, kLeastNormal = (127 - 14) << 23;
  const Word zero = {};
  const Word magnitude = (half & 0x7fffu) << 13, exponent = magnitude & kExponent;
  const Word is_nan = magnitude > zero + kExponent ? zero + 0x400000u : zero;
  const Word special = (magnitude + 2 * kRebias) | is_nan;
  // A subnormal number as the excess of (1 + mantissa) x 2^-14 over 2^-14.
  const Float excess = bit_cast<Float>(Word(magnitude + kLeastNormal)) - bit_cast<Float>(Word(zero + kLeastNormal));
  const Word finite = exponent == zero ? bit_cast<Word>(excess) : magnitude + kRebias;
  return bit_cast<Float>(Word((exponent == zero + kExponent ? special : finite) | (half & 0x8000u) << 16));
}

template <class Float, class Word>
FM_HD Word half_of_float(Float value) {
  constexpr uint32_t kRebias = (127 - 15) << 23, kOverflow = (127 + 16) << 23, kLeastNormal = (127 - 14) << 23;
  constexpr uint32_t kInfinity = 0xff << 23, kOneHalf = 126 << 23;
  const Word zero = {}, word = bit_cast<Word>(value), magnitude = word & 0x7fffffffu;
  const Word rounded = (magnitude - kRebias + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
  // Beside one half, the mantissa of a float counts units of 2^-24, as that of a subnormal half does.
  const Float beside_half = bit_cast<Float>(magnitude) + bit_cast<Float>(Word(zero + kOneHalf));
  const Word small = bit_cast<Word>(beside_half) - kOneHalf;
  const Word nan = (magnitude >> 13 & 0x3ffu) | 0x7e00u;
  const Word large = magnitude > zero + kInfinity ? nan : zero + 0x7c00u;
  const Word finite = magnitude < zero + kLeastNormal ? small : rounded;
  return (magnitude >= zero + kOverflow ? large : finite) | (word >> 16 & 0x8000u);
}

template <class Float, class Word>
FM_HD Float float_of_bfloat16(Word bfloat16) {
  return bit_cast<Float>(Word(bfloat16 << 16));
}

template <class Float, class Word>
FM_HD Word bfloat16_of_float(Float value) {
  const Word zero = {}, word = bit_cast<Word>(value);
  const Word is_nan = (word & 0x7fffffffu) > zero + 0x7f800000u ? zero + 1u : zero;
  return is_nan == zero ? (word + 0x7fffu + (word >> 16 & 1u)) >> 16 : word >> 16 | 0x40u;
}

}  // namespace half_bits

// One stored value as its accumulator has it, and back.
FM_HD float value_of(float stored) {
  return stored;
}
FM_HD double value_of(double stored) {
  return stored;
}
FM_HD float value_of(Half stored) {
  return half_bits::float_of_half<float, uint32_t>(stored.bits);
}
FM_HD float value_of(BFloat16 stored) {
  return half_bits::float_of_bfloat16<float, uint32_t>(stored.bits);
}

FM_HD void assign(float& stored, float value) {
  stored = value;
}
FM_HD void assign(double& stored, double value) {
  stored = value;
}
FM_HD void assign(Half& stored, float value) {
  stored.bits = static_cast<uint16_t>(half_bits::half_of_float<float, uint32_t>(value));
}
FM_HD void assign(BFloat16& stored, float value) {
  stored.bits = static_cast<uint16_t>(half_bits::bfloat16_of_float<float, uint32_t>(value));
}

}  // namespace fastmrcnn
