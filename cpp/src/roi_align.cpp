// RoIAlign on the CPU. Forward, channels-last: threads share out groups of RoIs. Everything else: threads own planes,
// or ranges of channels of an image, and work through that image's RoIs in order, so that the backward pass needs no
// atomics and its sums do not depend on the number of threads.
#include "fastmrcnn/ops/roi_align.h"

#include <algorithm>
#include <vector>

#include "fastmrcnn/dtype.h"
#include "fastmrcnn/isa.h"
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

// One call in one dtype: what forward and backward share.
template <class T>
class RoiAlign {
 public:
  RoiAlign(const char* op, const Context& context, const TensorView& features, const TensorView& rois,
           const TensorView& pooled, const geometry::Sampling<T>& sampling)
      : plan_(op, context, features, rois, pooled, sampling),
        threads_(std::max(context.num_threads, 1)),
        channels_(features.shape[1]),
        features_(features.as<T>()),
        pooled_(pooled.as<T>()) {}

  void pool_pixels() const {
    plan_.over_groups([&](std::int64_t image, const TapTables<T>& tables) {
      Kernels<T>::pixels.get()(pixels_of(image), tables.data(), tables.size());
    });
  }

  void pool_planes() const { over_planes(Kernels<T>::planes.get()); }

  void backward_planes() const {
    clear_features();
    over_planes(Kernels<T>::planes_backward.get());
  }

  void backward_pixels() const {
    clear_features();
    const std::int64_t rows = std::max(kLeastRowsPerTask, plan_.shape().height / (kTasksPerThread * threads_));
    plan_.over_images((plan_.shape().height + rows - 1) / rows,
                      [&](std::int64_t image, std::int64_t part, const TapTables<T>* tables, std::int64_t count) {
                        Pixels<T> map = pixels_of(image);
                        map.row_begin = part * rows;
                        map.row_end = std::min(map.row_begin + rows, map.row_end);
                        for (std::int64_t g = 0; g < count; ++g) {
                          Kernels<T>::pixels_backward.get()(map, tables[g].data(), tables[g].size());
                        }
                      });
  }

 private:
  std::int64_t parts_of(std::int64_t channels) const { return (channels_ + channels - 1) / channels; }

  void clear_features() const { plan_.fill_zero(features_, plan_.shape().images * channels_ * plan_.plane_size()); }

  Pixels<T> pixels_of(std::int64_t image) const {
    Pixels<T> map;
    map.features = features_ + image * plan_.plane_size() * channels_;
    map.pooled = pooled_;
    map.channels = channels_;
    map.width = plan_.shape().width;
    map.row_begin = 0;
    map.row_end = plan_.shape().height;
    return map;
  }

  // At most `count` planes of an image, from `channel` on.
  Planes<T> planes_of(std::int64_t image, std::int64_t channel, std::int64_t count) const {
    Planes<T> planes;
    planes.features = features_ + (image * channels_ + channel) * plan_.plane_size();
    planes.pooled = pooled_ + channel * plan_.bins();
    planes.channels = std::min(count, channels_ - channel);
    planes.height = plan_.shape().height;
    planes.width = plan_.shape().width;
    planes.roi_stride = channels_ * plan_.bins();
    return planes;
  }

  template <class Kernel>
  void over_planes(Kernel kernel) const {
    plan_.over_images(parts_of(kPlanesPerTask),
                      [&](std::int64_t image, std::int64_t part, const TapTables<T>* tables, std::int64_t count) {
                        const Planes<T> planes = planes_of(image, part * kPlanesPerTask, kPlanesPerTask);
                        std::vector<T> scratch;
                        for (std::int64_t g = 0; g < count; ++g) {
                          scratch.resize(std::max(static_cast<std::int64_t>(scratch.size()), scratch_of(tables[g])));
                          kernel(planes, tables[g].data(), tables[g].size(), scratch.data());
                        }
                      });
  }

  std::int64_t scratch_of(const TapTables<T>& tables) const {
    std::int64_t most = plan_.shape().width;
    for (const RoiTaps<T>& roi : tables) most = std::max<std::int64_t>(most, roi.x.begin[roi.x.bins]);
    return most + kPlaneScratchPadding;
  }

  PoolingPlan<T, geometry::Sampling<T>> plan_;
  std::int64_t threads_;
  std::int64_t channels_;
  T* features_;
  T* pooled_;
};

}  // namespace

void roi_align(const Context& context, const TensorView& input, const TensorView& rois, double spatial_scale,
               std::int64_t sampling_ratio, bool aligned, const TensorView& output) {
  check_roi_pooling("roi_align", {"input", input}, rois, {"output", output});
  check_writable("roi_align", "output", output);
  dispatch_floating("roi_align", "input", input.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const RoiAlign<T> call("roi_align", context, input, rois, output,
                           {static_cast<T>(spatial_scale), sampling_ratio, aligned});
    return input.is_contiguous() && output.is_contiguous() ? call.pool_planes() : call.pool_pixels();
  });
}

void roi_align_backward(const Context& context, const TensorView& grad_output, const TensorView& rois,
                        double spatial_scale, std::int64_t sampling_ratio, bool aligned, const TensorView& grad_input) {
  check_roi_pooling("roi_align_backward", {"grad_input", grad_input}, rois, {"grad_output", grad_output});
  check_writable("roi_align_backward", "grad_input", grad_input);
  dispatch_floating("roi_align_backward", "grad_input", grad_input.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const RoiAlign<T> call("roi_align_backward", context, grad_input, rois, grad_output,
                           {static_cast<T>(spatial_scale), sampling_ratio, aligned});
    return grad_input.is_contiguous() && grad_output.is_contiguous() ? call.backward_planes() : call.backward_pixels();
  });
}

}  // namespace fastmrcnn::cpu
