// What every kernel of RoIAlign is told of a call, over one feature map or the levels of a pyramid, and where in it a
// RoI lies.
#pragma once

#include <vector>

#include "fastmrcnn/geometry/level.h"
#include "fastmrcnn/geometry/roi.h"
#include "fastmrcnn/half.h"
#include "fastmrcnn/ops/roi_align.h"
#include "pack.cuh"

namespace fastmrcnn::cuda {

// The maps of one level: [images, channels, height, width], in NCHW or NHWC order.
template <class S>
struct FeatureMaps {
  S* data;
  std::int32_t height, width;  // below kMostSide
  Accumulator<S> spatial_scale;
};

// A kernel parameter, about a kilobyte. Features and pooled values are read by the one direction and written by the
// other, and both are passed as what can be written.
template <class S>
struct RoiAlignCall {
  using T = Accumulator<S>;

  FeatureMaps<S> levels[geometry::kMostLevels];  // from fine to coarse
  std::int32_t level_count;
  geometry::LevelBorders<T> borders;
  std::int64_t images, channels;

  const geometry::Roi<T>* rois;
  std::int64_t roi_count;
  std::int64_t sampling_ratio;
  bool aligned;

  S* pooled;  // [roi_count, channels, bins_y, bins_x], in the order of the features
  std::int32_t bins_y, bins_x;

  // Elements of one image on a level.
  __device__ std::int64_t image_size(const FeatureMaps<S>& level) const {
    return channels * level.height * level.width;
  }
};

// Which map a RoI is pooled from.
struct RoiPlace {
  std::int32_t level;
  std::int64_t image;  // -1 where the batch index is of no image, or NaN
};

template <class S, class T>
__device__ RoiPlace place_of(const RoiAlignCall<S>& call, const geometry::Roi<T>& roi) {
  const auto level = static_cast<std::int32_t>(geometry::level_of(call.borders, {roi.x1, roi.y1, roi.x2, roi.y2}));
  return {level, geometry::image_of(roi, call.images)};
}

// The bins of a RoI along one axis of its map. Without samples on either, the RoI has no taps.
template <class S, class T>
__device__ geometry::AxisBins<T> axis_of(const RoiAlignCall<S>& call, const geometry::Roi<T>& roi,
                                         const RoiPlace& place, bool vertical) {
  if (place.image < 0) return {};
  const geometry::Sampling<T> sampling{call.levels[place.level].spatial_scale, call.sampling_ratio, call.aligned};
  return geometry::axis_bins(vertical ? roi.y1 : roi.x1, vertical ? roi.y2 : roi.x2,
                             vertical ? call.bins_y : call.bins_x, sampling);
}

// The arguments of an operator, of either direction.
struct RoiAlignArguments {
  const char* op;
  const Context& context;
  std::vector<TensorView> maps;  // features, or their gradients
  std::vector<double> spatial_scales;
  geometry::LevelAssignment assignment;
  TensorView rois;
  std::int64_t sampling_ratio;
  bool aligned;
  TensorView pooled;

  // Whether planes are dense, else pixels are; the checks hold that it is the same for all tensors.
  bool contiguous() const {
    for (const TensorView& map : maps) {
      if (!map.is_contiguous()) return false;
    }
    return pooled.is_contiguous();
  }

  template <class S>
  RoiAlignCall<S> call() const {
    using T = Accumulator<S>;
    RoiAlignCall<S> call{};
    for (const TensorView& map : maps) {
      const double scale = spatial_scales[call.level_count];
      call.levels[call.level_count++] = {map.as<S>(), static_cast<std::int32_t>(map.shape[2]),
                                         static_cast<std::int32_t>(map.shape[3]), static_cast<T>(scale)};
    }
    call.borders = geometry::level_borders<T>(assignment);
    call.images = maps[0].shape[0];
    call.channels = pooled.shape[1];
    call.rois = rois.as<const geometry::Roi<T>>();
    call.roi_count = rois.shape[0];
    call.sampling_ratio = sampling_ratio;
    call.aligned = aligned;
    call.pooled = pooled.as<S>();
    call.bins_y = static_cast<std::int32_t>(pooled.shape[2]);
    call.bins_x = static_cast<std::int32_t>(pooled.shape[3]);
    return call;
  }
};

// Whether channels-last kernels can move kWidth channels at once.
template <int kWidth, class S>
bool holds_packs(const RoiAlignCall<S>& call) {
  bool holds = holds_packs<kWidth>(call.pooled, call.channels);
  for (int level = 0; level < call.level_count; ++level) {
    holds = holds && holds_packs<kWidth>(call.levels[level].data, call.channels);
  }
  return holds;
}

}  // namespace fastmrcnn::cuda
