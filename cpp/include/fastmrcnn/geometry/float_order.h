// Unsigned keys that ascend where floating-point numbers descend, computed on their bits: sorting and selecting then
// need no floating-point comparison, and 16-bit numbers no conversion.
#pragma once

#include <stdint.h>

#include "fastmrcnn/geometry/host_device.h"

namespace fastmrcnn::geometry {

// For the IEEE-like format of the width of `Bits` whose positive infinity has the bits `infinity`. The order is that of
// torch.sort(descending=True): NaNs first and all alike, both zeros alike.
template <class Bits>
struct FloatOrder {
  Bits infinity;

  static constexpr Bits kSign = Bits(Bits(1) << (8 * sizeof(Bits) - 1));
  static constexpr Bits kMagnitude = Bits(kSign - 1);

  FM_HD Bits key(Bits bits) const {
    const Bits unsigned_zero = bits == kSign ? Bits(0) : bits;
    const Bits descending = unsigned_zero & kSign ? unsigned_zero : Bits(kMagnitude - unsigned_zero);
    // Negative NaNs are the last of these; turning the circle of keys by their number brings them to the front, where
    // the positive ones are.
    return max_of(Bits(descending - first_negative_nan()), nan_key());
  }

  // The inverse; some NaN for that of the NaNs.
  FM_HD Bits bits(Bits key) const {
    const Bits descending = Bits(key + first_negative_nan());
    return descending & kSign ? descending : Bits(kMagnitude - descending);
  }

  FM_HD bool is_nan(Bits key) const { return key == nan_key(); }

 private:
  FM_HD Bits first_negative_nan() const { return Bits(kSign + infinity + 1); }
  FM_HD Bits nan_key() const { return Bits(2 * (kMagnitude - infinity) - 1); }
};

}  // namespace fastmrcnn::geometry
