// RoIAlign on the CPU, over one feature map or the levels of a pyramid. Forward, channels-last: threads share out
// groups of RoIs. Everything else: threads own planes, or ranges of rows of a map, and work through that map's RoIs in
// order, so that the backward pass needs no atomics and its sums do not depend on the number of threads.
#include "fastmrcnn/ops/roi_align.h"

#include <algorithm>
#include <vector>

#include "fastmrcnn/dtype.h"
#include "fastmrcnn/isa.h"
#include "fastmrcnn/ops/multiscale_roi_align.h"
#include "kernels/roi_align_kernel.h"
#include "pooling_plan.h"

namespace fastmrcnn::cpu {
namespace {

template <class T>
struct Kernels;

template <>
struct Kernels<float> {
  static constexpr IsaTable<decltype(&baseline::roi_align_planes_f32)> planes =
      FASTMRCNN_ISA_TABLE(roi_align_planes_f32);
  static constexpr IsaTable<decltype(&baseline::roi_align_pixels_f32)> pixels =
      FASTMRCNN_ISA_TABLE(roi_align_pixels_f32);
  static constexpr IsaTable<decltype(&baseline::roi_align_planes_backward_f32)> planes_backward =
      FASTMRCNN_ISA_TABLE(roi_align_planes_backward_f32);
  static constexpr IsaTable<decltype(&baseline::roi_align_pixels_backward_f32)> pixels_backward =
      FASTMRCNN_ISA_TABLE(roi_align_pixels_backward_f32);
};

template <>
struct Kernels<double> {
  static constexpr IsaTable<decltype(&baseline::roi_align_planes_f64)> planes =
      FASTMRCNN_ISA_TABLE(roi_align_planes_f64);
  static constexpr IsaTable<decltype(&baseline::roi_align_pixels_f64)> pixels =
      FASTMRCNN_ISA_TABLE(roi_align_pixels_f64);
  static constexpr IsaTable<decltype(&baseline::roi_align_planes_backward_f64)> planes_backward =
      FASTMRCNN_ISA_TABLE(roi_align_planes_backward_f64);
  static constexpr IsaTable<decltype(&baseline::roi_align_pixels_backward_f64)> pixels_backward =
      FASTMRCNN_ISA_TABLE(roi_align_pixels_backward_f64);
};

constexpr std::int64_t kPlanesPerTask = 4;
constexpr std::int64_t kLeastRowsPerTask = 8;  // few RoIs are shorter, and each task reads their gradients anew
constexpr std::int64_t kTasksPerThread = 4;

// The arguments of a call, of either direction, over the levels of a pyramid from fine to coarse.
struct Call {
  const char* op;
  const Context& context;
  std::vector<TensorView> maps;  // features, or their gradients
  std::vector<double> spatial_scales;
  geometry::LevelAssignment assignment;  // of RoIs to levels
  TensorView rois;
  TensorView pooled;
  std::int64_t sampling_ratio;
  bool aligned;

  // Whether planes are dense, else pixels are; the checks hold that it is the same for all tensors.
  bool contiguous() const {
    return pooled.is_contiguous() &&
           std::all_of(maps.begin(), maps.end(), [](const TensorView& map) { return map.is_contiguous(); });
  }
};

// One call in one dtype: what forward and backward share.
template <class T>
class RoiAlign {
 public:
  explicit RoiAlign(const Call& call)
      : call_(call),
        plan_(call.op, limit_threads(call.context, call.pooled), call.maps[0].shape[0], levels_of(call),
              geometry::level_borders<T>(call.assignment), call.rois),
        threads_(std::max(call.context.num_threads, 1)),
        channels_(call.pooled.shape[1]),
        bins_(call.pooled.shape[2] * call.pooled.shape[3]) {}

  void pool_pixels() const {
    plan_.over_groups([&](const MapIndex& map, const TapTables<T>& tables) {
      Kernels<T>::pixels.get()(pixels_of(map), tables.data(), tables.size());
    });
  }

  void pool_planes() const { over_planes(Kernels<T>::planes.get()); }

  void backward_planes() const {
    clear_maps();
    over_planes(Kernels<T>::planes_backward.get());
  }

  void backward_pixels() const {
    clear_maps();
    plan_.over_maps([&](std::int64_t level) { return parts_of(plan_.shape(level).height, rows_per_task(level)); },
                    [&](const MapIndex& map, std::int64_t part, const TapTables<T>* tables, std::int64_t count) {
                      Pixels<T> pixels = pixels_of(map);
                      const std::int64_t rows = rows_per_task(map.level);
                      pixels.row_begin = part * rows;
                      pixels.row_end = std::min(pixels.row_begin + rows, pixels.row_end);
                      for (std::int64_t g = 0; g < count; ++g) {
                        Kernels<T>::pixels_backward.get()(pixels, tables[g].data(), tables[g].size());
                      }
                    });
  }

 private:
  static std::vector<PooledLevel<geometry::Sampling<T>>> levels_of(const Call& call) {
    std::vector<PooledLevel<geometry::Sampling<T>>> levels;
    for (std::size_t level = 0; level < call.maps.size(); ++level) {
      levels.push_back({pooled_shape(call.maps[level], call.pooled),
                        {static_cast<T>(call.spatial_scales[level]), call.sampling_ratio, call.aligned}});
    }
    return levels;
  }

  static std::int64_t parts_of(std::int64_t whole, std::int64_t part) { return (whole + part - 1) / part; }

  std::int64_t rows_per_task(std::int64_t level) const {
    return std::max(kLeastRowsPerTask, plan_.shape(level).height / (kTasksPerThread * threads_));
  }

  void clear_maps() const {
    for (const TensorView& map : call_.maps) fill_zero(call_.context, map.as<T>(), map.numel());
  }

  // Where the features of one image begin.
  T* features_of(const MapIndex& map) const {
    const PooledShape& shape = plan_.shape(map.level);
    return call_.maps[map.level].as<T>() + map.image * channels_ * shape.height * shape.width;
  }

  Pixels<T> pixels_of(const MapIndex& map) const {
    Pixels<T> pixels;
    pixels.features = features_of(map);
    pixels.pooled = call_.pooled.as<T>();
    pixels.channels = channels_;
    pixels.width = plan_.shape(map.level).width;
    pixels.row_begin = 0;
    pixels.row_end = plan_.shape(map.level).height;
    return pixels;
  }

  // At most `count` planes of a map, from `channel` on.
  Planes<T> planes_of(const MapIndex& map, std::int64_t channel, std::int64_t count) const {
    const PooledShape& shape = plan_.shape(map.level);
    Planes<T> planes;
    planes.features = features_of(map) + channel * shape.height * shape.width;
    planes.pooled = call_.pooled.as<T>() + channel * bins_;
    planes.channels = std::min(count, channels_ - channel);
    planes.height = shape.height;
    planes.width = shape.width;
    planes.roi_stride = channels_ * bins_;
    return planes;
  }

  template <class Kernel>
  void over_planes(Kernel kernel) const {
    plan_.over_maps([&](std::int64_t) { return parts_of(channels_, kPlanesPerTask); },
                    [&](const MapIndex& map, std::int64_t part, const TapTables<T>* tables, std::int64_t count) {
                      const Planes<T> planes = planes_of(map, part * kPlanesPerTask, kPlanesPerTask);
                      std::vector<T> scratch;
                      for (std::int64_t g = 0; g < count; ++g) {
                        scratch.resize(std::max(scratch.size(), scratch_of(map, tables[g])));
                        kernel(planes, tables[g].data(), tables[g].size(), scratch.data());
                      }
                    });
  }

  std::size_t scratch_of(const MapIndex& map, const TapTables<T>& tables) const {
    std::int64_t most = plan_.shape(map.level).width;
    for (const RoiTaps<T>& roi : tables) most = std::max<std::int64_t>(most, roi.x.begin[roi.x.bins]);
    return static_cast<std::size_t>(most + kPlaneScratchPadding);
  }

  const Call& call_;
  PoolingPlan<T, geometry::Sampling<T>> plan_;
  std::int64_t threads_;
  std::int64_t channels_;
  std::int64_t bins_;
};

void forward(const Call& call) {
  dispatch_floating(call.op, "input", call.maps[0].dtype, [&](auto tag) {
    const RoiAlign<typename decltype(tag)::type> align(call);
    return call.contiguous() ? align.pool_planes() : align.pool_pixels();
  });
}

void backward(const Call& call) {
  dispatch_floating(call.op, "grad_input", call.maps[0].dtype, [&](auto tag) {
    const RoiAlign<typename decltype(tag)::type> align(call);
    return call.contiguous() ? align.backward_planes() : align.backward_pixels();
  });
}

}  // namespace

void roi_align(const Context& context, const TensorView& input, const TensorView& rois, double spatial_scale,
               std::int64_t sampling_ratio, bool aligned, const TensorView& output) {
  check_roi_pooling("roi_align", {"input", input}, rois, {"output", output});
  check_writable("roi_align", "output", output);
  forward({"roi_align", context, {input}, {spatial_scale}, {}, rois, output, sampling_ratio, aligned});
}

void roi_align_backward(const Context& context, const TensorView& grad_output, const TensorView& rois,
                        double spatial_scale, std::int64_t sampling_ratio, bool aligned, const TensorView& grad_input) {
  constexpr const char* op = "roi_align_backward";
  check_roi_pooling(op, {"grad_input", grad_input}, rois, {"grad_output", grad_output});
  check_writable(op, "grad_input", grad_input);
  backward({op, context, {grad_input}, {spatial_scale}, {}, rois, grad_output, sampling_ratio, aligned});
}

void multiscale_roi_align(const Context& context, const std::vector<TensorView>& features, const TensorView& rois,
                          const std::vector<double>& spatial_scales, std::int64_t finest_level, double canonical_scale,
                          std::int64_t canonical_level, const std::string& level_rule, std::int64_t sampling_ratio,
                          bool aligned, const TensorView& output) {
  constexpr const char* op = "multiscale_roi_align";
  const auto assignment = check_multiscale_roi_align(op, "features", features, rois, spatial_scales, finest_level,
                                                     canonical_scale, canonical_level, level_rule, {"output", output});
  check_writable(op, "output", output);
  forward({op, context, features, spatial_scales, assignment, rois, output, sampling_ratio, aligned});
}

void multiscale_roi_align_backward(const Context& context, const TensorView& grad_output, const TensorView& rois,
                                   const std::vector<double>& spatial_scales, std::int64_t finest_level,
                                   double canonical_scale, std::int64_t canonical_level, const std::string& level_rule,
                                   std::int64_t sampling_ratio, bool aligned,
                                   const std::vector<TensorView>& grad_features) {
  constexpr const char* op = "multiscale_roi_align_backward";
  const auto assignment =
      check_multiscale_roi_align(op, "grad_features", grad_features, rois, spatial_scales, finest_level,
                                 canonical_scale, canonical_level, level_rule, {"grad_output", grad_output});
  for (const TensorView& map : grad_features) check_writable(op, "grad_features", map);
  backward({op, context, grad_features, spatial_scales, assignment, rois, grad_output, sampling_ratio, aligned});
}

}  // namespace fastmrcnn::cpu
