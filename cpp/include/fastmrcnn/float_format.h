// The bits of floating-point numbers as they are stored, in the order of geometry::FloatOrder.
#pragma once

#include <string.h>

#include <cstdint>

#include "fastmrcnn/geometry/float_order.h"
#include "fastmrcnn/half.h"

namespace fastmrcnn {

template <class Storage>
struct FloatFormat;

template <>
struct FloatFormat<Half> {
  using Bits = std::uint16_t;
  static constexpr geometry::FloatOrder<Bits> order{0x7c00};
};

template <>
struct FloatFormat<BFloat16> {
  using Bits = std::uint16_t;
  static constexpr geometry::FloatOrder<Bits> order{0x7f80};
};

template <>
struct FloatFormat<float> {
  using Bits = std::uint32_t;
  static constexpr geometry::FloatOrder<Bits> order{0x7f800000};
};

template <>
struct FloatFormat<double> {
  using Bits = std::uint64_t;
  static constexpr geometry::FloatOrder<Bits> order{0x7ff0000000000000};
};

// The number whose key this is.
template <class Storage>
FM_HD Accumulator<Storage> value_of_key(typename FloatFormat<Storage>::Bits key) {
  constexpr auto order = FloatFormat<Storage>::order;
  const auto bits = order.bits(key);
  Storage stored;
  memcpy(&stored, &bits, sizeof stored);
  return value_of(stored);
}

}  // namespace fastmrcnn
