// The output of a region proposal network's head on one level, wherever its memory layout put it. Anchors are counted
// in the order (row, column, anchor of the cell).
#pragma once

#include <algorithm>
#include <cstdint>

#include "fastmrcnn/geometry/box_coding.h"
#include "fastmrcnn/half.h"
#include "fastmrcnn/tensor.h"

namespace fastmrcnn {

// The logits of one image. Positions count them in the order of memory, so that a pass over them runs through it.
template <class Bits>
class LogitMap {
 public:
  LogitMap() = default;

  // Of the first image. logits [B, A, H, W], fewer than 2^32 an image; their values are never computed with, only
  // their bits.
  explicit LogitMap(const TensorView& logits)
      : base_(logits.as<const Bits>()),
        image_stride_(logits.strides[0]),
        size_(logits.shape[1] * logits.shape[2] * logits.shape[3]),
        axes_{axis(logits, 1, 1), axis(logits, 2, logits.shape[3] * logits.shape[1]),
              axis(logits, 3, logits.shape[1])} {
    std::sort(axes_, axes_ + 3, [](const Axis& a, const Axis& b) { return a.stride > b.stride; });
    std::int64_t dense = 1;
    for (int d = 2; d >= 0; dense *= axes_[d].size, --d) {
      dense_ &= axes_[d].size == 1 || axes_[d].stride == dense;
      in_anchor_order_ &= axes_[d].size == 1 || axes_[d].step == dense;
    }
  }

  FM_HD LogitMap of_image(std::int64_t image) const {
    LogitMap map = *this;
    map.base_ += image * image_stride_;
    return map;
  }

  FM_HD std::int64_t size() const { return size_; }

  FM_HD std::uint32_t anchor_at(std::int64_t position) const {
    if (in_anchor_order_) return static_cast<std::uint32_t>(position);
    const Place place = place_of(position);
    return place.i * axes_[0].step + place.j * axes_[1].step + place.k * axes_[2].step;
  }

  FM_HD Bits at(std::int64_t position) const { return dense_ ? base_[position] : *address_of(place_of(position)); }

  // The value at position 0, where the others follow without a gap; else null.
  FM_HD const Bits* dense() const { return dense_ ? base_ : nullptr; }

  // `count` values from `position` on, in place or copied to `buffer`.
  const Bits* read(std::int64_t position, std::int64_t count, Bits* buffer) const {
    if (dense_) return base_ + position;
    for (std::int64_t done = 0; done < count;) {
      const Place place = place_of(position + done);
      const Bits* source = address_of(place);
      const std::int64_t run = std::min<std::int64_t>(count - done, axes_[2].size - place.k);
      for (std::int64_t n = 0; n < run; ++n) buffer[done + n] = source[n * axes_[2].stride];
      done += run;
    }
    return buffer;
  }

 private:
  struct Axis {
    std::int64_t stride;
    std::uint32_t size, step;  // step: of the anchor
  };
  static Axis axis(const TensorView& logits, int d, std::int64_t step) {
    return {logits.strides[d], static_cast<std::uint32_t>(logits.shape[d]), static_cast<std::uint32_t>(step)};
  }

  struct Place {
    std::uint32_t i, j, k;  // along the axes, outermost first
  };

  FM_HD Place place_of(std::int64_t position) const {
    const auto p = static_cast<std::uint32_t>(position);  // 32-bit division is several times faster
    const std::uint32_t inner = axes_[2].size, middle = axes_[1].size;
    return {p / inner / middle, p / inner % middle, p % inner};
  }

  FM_HD const Bits* address_of(const Place& place) const {
    return base_ + place.i * axes_[0].stride + place.j * axes_[1].stride + place.k * axes_[2].stride;
  }

  const Bits* base_ = nullptr;
  std::int64_t image_stride_ = 0;
  std::int64_t size_ = 0;
  Axis axes_[3] = {};  // by descending stride
  bool dense_ = true;
  bool in_anchor_order_ = true;
};

// The deltas of one image.
template <class Storage>
class DeltaMap {
 public:
  DeltaMap() = default;

  // Of the first image. deltas [B, A * 4, H, W]
  explicit DeltaMap(const TensorView& deltas)
      : base_(deltas.as<const Storage>()),
        image_stride_(deltas.strides[0]),
        channel_stride_(deltas.strides[1]),
        row_stride_(deltas.strides[2]),
        column_stride_(deltas.strides[3]),
        per_cell_(static_cast<std::uint32_t>(deltas.shape[1] / 4)),
        columns_(static_cast<std::uint32_t>(deltas.shape[3])) {}

  FM_HD DeltaMap of_image(std::int64_t image) const {
    DeltaMap map = *this;
    map.base_ += image * image_stride_;
    return map;
  }

  FM_HD geometry::Deltas<Accumulator<Storage>> at(std::uint32_t anchor) const {
    const std::uint32_t cell = anchor / per_cell_, channel = 4 * (anchor % per_cell_);
    const Storage* delta =
        base_ + channel * channel_stride_ + cell / columns_ * row_stride_ + cell % columns_ * column_stride_;
    return {value_of(delta[0]), value_of(delta[channel_stride_]), value_of(delta[2 * channel_stride_]),
            value_of(delta[3 * channel_stride_])};
  }

 private:
  const Storage* base_ = nullptr;
  std::int64_t image_stride_ = 0, channel_stride_ = 0, row_stride_ = 0, column_stride_ = 0;
  std::uint32_t per_cell_ = 1, columns_ = 1;
};

}  // namespace fastmrcnn
