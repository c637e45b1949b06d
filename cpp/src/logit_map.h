// The logits of one image and level, wherever the memory layout of the head's output put them.
#pragma once

#include <algorithm>
#include <cstdint>

#include "fastmrcnn/tensor.h"

namespace fastmrcnn::cpu {

// Positions count the logits in the order of memory, so that a pass over them runs through it; anchors are counted in
// the order (row, column, anchor of the cell).
template <class Bits>
class LogitMap {
 public:
  // logits [B, A, H, W], fewer than 2^32 an image; their values are never computed with, only their bits.
  LogitMap(const TensorView& logits, std::int64_t image)
      : base_(logits.as<const Bits>() + image * logits.strides[0]),
        size_(logits.shape[1] * logits.shape[2] * logits.shape[3]) {
    const std::int64_t anchors = logits.shape[1], columns = logits.shape[3];
    const std::int64_t steps[] = {1, columns * anchors, anchors};  // of the anchor index along A, H and W
    for (int d = 0; d < 3; ++d) axes_[d] = {logits.shape[d + 1], logits.strides[d + 1], steps[d]};
    std::sort(axes_, axes_ + 3, [](const Axis& a, const Axis& b) { return a.stride > b.stride; });
    std::int64_t dense = 1;
    for (int d = 2; d >= 0; dense *= axes_[d].size, --d) {
      dense_ &= axes_[d].size == 1 || axes_[d].stride == dense;
      in_anchor_order_ &= axes_[d].size == 1 || axes_[d].step == dense;
    }
  }

  std::int64_t size() const { return size_; }

  std::uint32_t anchor_at(std::int64_t position) const {
    if (in_anchor_order_) return static_cast<std::uint32_t>(position);
    const Place place = place_of(position);
    return static_cast<std::uint32_t>(place.i * axes_[0].step + place.j * axes_[1].step + place.k * axes_[2].step);
  }

  Bits at(std::int64_t position) const { return dense_ ? base_[position] : *address_of(place_of(position)); }

  // `count` values from `position` on, in place or copied to `buffer`.
  const Bits* read(std::int64_t position, std::int64_t count, Bits* buffer) const {
    if (dense_) return base_ + position;
    for (std::int64_t done = 0; done < count;) {
      const Place place = place_of(position + done);
      const Bits* source = address_of(place);
      const std::int64_t run = std::min(count - done, axes_[2].size - place.k);
      for (std::int64_t n = 0; n < run; ++n) buffer[done + n] = source[n * axes_[2].stride];
      done += run;
    }
    return buffer;
  }

 private:
  struct Axis {
    std::int64_t size, stride, step;
  };
  struct Place {
    std::uint32_t i, j, k;  // along the axes, outermost first
  };

  Place place_of(std::int64_t position) const {
    const auto p = static_cast<std::uint32_t>(position);  // 32-bit division is several times faster
    const auto inner = static_cast<std::uint32_t>(axes_[2].size), middle = static_cast<std::uint32_t>(axes_[1].size);
    return {p / inner / middle, p / inner % middle, p % inner};
  }

  const Bits* address_of(const Place& place) const {
    return base_ + place.i * axes_[0].stride + place.j * axes_[1].stride + place.k * axes_[2].stride;
  }

  const Bits* base_;
  std::int64_t size_;
  Axis axes_[3];  // by descending stride
  bool dense_ = true;
  bool in_anchor_order_ = true;
};

}  // namespace fastmrcnn::cpu
