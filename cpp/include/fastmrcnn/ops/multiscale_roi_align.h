// RoIAlign over the levels of a feature pyramid: each RoI from the level that fits its size, all in one call.
#pragma once

#include <string>
#include <vector>

#include "fastmrcnn/ops/assign_levels.h"
#include "fastmrcnn/ops/roi_align.h"

namespace fastmrcnn {

// Tensors as in roi_pooling.h, half types too; features[i] [N, C, H_i, W_i], from fine to coarse, all in the dtype and
// order of the first -> output [K, C, height, width], a row for each row of rois. features[i] is of level finest_level
// + i, and a RoI is pooled from the level that assign_levels gives its box, in the dtype of rois. spatial_scales: of
// each level, feature-map pixels per image pixel; sampling_ratio, aligned: as for roi_align.
inline geometry::LevelAssignment check_multiscale_roi_align(const char* op, const char* name,
                                                            const std::vector<TensorView>& maps, const TensorView& rois,
                                                            const std::vector<double>& spatial_scales,
                                                            std::int64_t finest_level, double canonical_scale,
                                                            std::int64_t canonical_level, const std::string& level_rule,
                                                            const NamedTensor& pooled) {
  check(!maps.empty() && maps.size() <= geometry::kMostLevels, op, ": ", name, " must be 1 to ", geometry::kMostLevels,
        " tensors; got ", maps.size());
  check(spatial_scales.size() == maps.size(), op, ": spatial_scales must be ", maps.size(),
        " numbers, one for each of ", name, "; got ", spatial_scales.size());
  const TensorView& first = maps[0];
  // Together, not in pairs: a tensor of one pixel or one channel has both orders and vouches for none.
  bool contiguous = pooled.tensor.is_contiguous(), channels_last = pooled.tensor.is_channels_last();
  for (std::size_t level = 0; level < maps.size(); ++level) {
    const std::string map_name = std::string(name) + "[" + std::to_string(level) + "]";
    const NamedTensor map{map_name.c_str(), maps[level]};
    if (level > 0) {
      check_shape(op, map.name, map.tensor, {first.shape[0], first.shape[1], -1, -1},
                  "[N, C, H, W] with the N and C of the first");
      check_dtype(op, map.name, map.tensor, first.dtype);
    }
    check_roi_pooling(op, map, rois, pooled);
    check(spatial_scales[level] > 0 && spatial_scales[level] <= std::numeric_limits<double>::max(), op,
          ": spatial_scales must be positive and finite; got ", spatial_scales[level]);
    contiguous = contiguous && map.tensor.is_contiguous();
    channels_last = channels_last && map.tensor.is_channels_last();
  }
  check(contiguous || channels_last, op, ": ", name, " and ", pooled.name,
        " must all be contiguous or all channels-last");
  check_level(op, finest_level);
  const auto coarsest_level = finest_level + static_cast<std::int64_t>(maps.size()) - 1;
  return check_level_assignment(op, finest_level, coarsest_level, canonical_scale, canonical_level, level_rule);
}

namespace cpu {
void multiscale_roi_align(const Context& context, const std::vector<TensorView>& features, const TensorView& rois,
                          const std::vector<double>& spatial_scales, std::int64_t finest_level, double canonical_scale,
                          std::int64_t canonical_level, const std::string& level_rule, std::int64_t sampling_ratio,
                          bool aligned, const TensorView& output);

// grad_output [K, C, height, width] -> grad_features[i] [N, C, H_i, W_i], overwritten, zeros where a map has no RoIs;
// the adjoint of multiscale_roi_align. Needs no workspace, and ignores one.
void multiscale_roi_align_backward(const Context& context, const TensorView& grad_output, const TensorView& rois,
                                   const std::vector<double>& spatial_scales, std::int64_t finest_level,
                                   double canonical_scale, std::int64_t canonical_level, const std::string& level_rule,
                                   std::int64_t sampling_ratio, bool aligned,
                                   const std::vector<TensorView>& grad_features, const TensorView& workspace);
}  // namespace cpu

namespace cuda {
decltype(cpu::multiscale_roi_align) multiscale_roi_align;

// workspace [roi_align_backward_workspace(K)] uint8.
decltype(cpu::multiscale_roi_align_backward) multiscale_roi_align_backward;
}  // namespace cuda

}  // namespace fastmrcnn
