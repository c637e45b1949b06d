// The pixels that a RoI averages as tables of weights, one per axis: built once, used for all channels, by the forward
// and the backward pass alike.
#pragma once

#include <cstdint>
#include <vector>

#include "fastmrcnn/geometry/quantised_roi.h"
#include "fastmrcnn/geometry/roi.h"
#include "fastmrcnn/tensor.h"
#include "kernels/roi_align_kernel.h"

namespace fastmrcnn {

// The sides of a feature map and of the grid that its RoIs are pooled to.
struct PooledShape {
  std::int64_t height, width;
  std::int64_t bins_y, bins_x;
};

inline PooledShape pooled_shape(const TensorView& features, const TensorView& pooled) {
  return {features.shape[2], features.shape[3], pooled.shape[2], pooled.shape[3]};
}

template <class T>
class TapTables {
 public:
  TapTables() = default;

  // `rule` says which pixels a bin averages: geometry::Sampling<T> or geometry::Quantised<T>.
  template <class Rule>
  TapTables(const geometry::Roi<T>* rois, const std::int64_t* order, std::int64_t count, const PooledShape& shape,
            const Rule& rule);

  TapTables(const TapTables&) = delete;
  TapTables& operator=(const TapTables&) = delete;
  TapTables(TapTables&&) = default;
  TapTables& operator=(TapTables&&) = default;

  const RoiTaps<T>* data() const { return rois_.data(); }
  std::int64_t size() const { return static_cast<std::int64_t>(rois_.size()); }
  const RoiTaps<T>* begin() const { return data(); }
  const RoiTaps<T>* end() const { return data() + size(); }

 private:
  void append_roi(std::int64_t row, const geometry::Roi<T>& roi, const PooledShape& shape,
                  const geometry::Sampling<T>& sampling);
  void append_roi(std::int64_t row, const geometry::Roi<T>& roi, const PooledShape& shape,
                  const geometry::Quantised<T>& rule);
  template <class AppendBin>
  AxisTaps<T> append_axis(std::int64_t bins, const AppendBin& append_bin);
  AxisTaps<T> append_transpose(const AxisTaps<T>& axis, std::size_t begin, std::size_t tap);
  void append_samples(const geometry::AxisBins<T>& axis, std::int64_t bin, std::int64_t size);
  void append_range(const geometry::PixelRange& range);
  void resolve(AxisTaps<T>& axis, std::size_t& begin, std::size_t& tap) const;

  std::vector<std::int32_t> begin_;
  std::vector<std::int32_t> index_;
  std::vector<T> weight_;
  std::vector<RoiTaps<T>> rois_;
};

}  // namespace fastmrcnn
