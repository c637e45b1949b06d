// RoIAlign on the CPU. Forward, channels-last: threads share out groups of RoIs. Everything else: threads own planes,
// or ranges of channels of an image, and work through that image's RoIs in order, so that the backward pass needs no
// atomics and its sums do not depend on the number of threads.
#include "fastmrcnn/ops/roi_align.h"

#include <algorithm>
#include <vector>

#include "fastmrcnn/dtype.h"
#include "fastmrcnn/isa.h"
#include "fastmrcnn/parallel.h"
#include "kernels/roi_align_kernel.h"
#include "tap_tables.h"

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
constexpr std::int64_t kChannelsPerTask = 64;  // whole cache lines, and few enough to feed several threads
constexpr std::int64_t kTableBytes = std::int64_t{1} << 26;  // bound on the tap tables that are alive at a time

// One call in one dtype: what forward and backward share.
template <class T>
class RoiAlign {
 public:
  RoiAlign(const char* op, const Context& context, const TensorView& features, const TensorView& rois,
           const TensorView& pooled, const geometry::Sampling<T>& sampling)
      : context_(context),
        shape_{features.shape[0], features.shape[2], features.shape[3], pooled.shape[2], pooled.shape[3]},
        channels_(features.shape[1]),
        features_(features.as<T>()),
        pooled_(pooled.as<T>()),
        rois_(rois.as<const geometry::Roi<T>>()),
        sampling_(sampling),
        order_(order_rois(op, rois_, rois.shape[0], shape_, static_cast<double>(sampling.spatial_scale))) {}

  void pool_pixels() const {
    parallel_for(context_, group_count(), [&](std::int64_t g) {
      const TapTables<T> tables = tables_of(order_.groups[g]);
      Kernels<T>::pixels.get()(pixels_of(order_.groups[g].image, 0, channels_), tables.data(), tables.size());
    });
  }

  void pool_planes() const { over_planes(Kernels<T>::planes.get()); }

  void backward_planes() const {
    clear_features();
    over_planes(Kernels<T>::planes_backward.get());
  }

  void backward_pixels() const {
    clear_features();
    const std::int64_t ranges = (channels_ + kChannelsPerTask - 1) / kChannelsPerTask;
    for_each_pass([&](const std::vector<TapTables<T>>& tables, std::int64_t first_group, std::int64_t last_group) {
      over_images(first_group, last_group, ranges, [&](std::int64_t image, std::int64_t range, auto begin, auto end) {
        const std::int64_t channel = range * kChannelsPerTask;
        const Pixels<T> map = pixels_of(image, channel, std::min(kChannelsPerTask, channels_ - channel));
        for (std::int64_t g = begin; g < end; ++g) {
          const TapTables<T>& group = tables[g - first_group];
          Kernels<T>::pixels_backward.get()(map, group.data(), group.size());
        }
      });
    });
  }

 private:
  std::int64_t group_count() const { return static_cast<std::int64_t>(order_.groups.size()); }
  std::int64_t bins() const { return shape_.bins_y * shape_.bins_x; }
  std::int64_t plane_size() const { return shape_.height * shape_.width; }

  TapTables<T> tables_of(const RoiGroup& group) const {
    return {rois_, order_.rois.data() + group.begin, group.end - group.begin, shape_, sampling_};
  }

  Pixels<T> pixels_of(std::int64_t image, std::int64_t channel, std::int64_t count) const {
    return {features_ + image * plane_size() * channels_ + channel,
            pooled_ + channel,
            count,
            shape_.width,
            channels_,
            channels_,
            bins() * channels_};
  }

  Planes<T> planes_of(std::int64_t image, std::int64_t channel, std::int64_t count) const {
    return {features_ + (image * channels_ + channel) * plane_size(),
            pooled_ + channel * bins(),
            count,
            shape_.height,
            shape_.width,
            channels_ * bins()};
  }

  void clear_features() const {
    constexpr std::int64_t kBlock = std::int64_t{1} << 16;
    const std::int64_t count = shape_.images * channels_ * plane_size();
    parallel_for(context_, (count + kBlock - 1) / kBlock, [&](std::int64_t block) {
      std::fill(features_ + block * kBlock, features_ + std::min(count, (block + 1) * kBlock), T(0));
    });
  }

  // Builds the tap tables in passes of bounded memory and calls body(tables, first group, last group) for each.
  template <class Body>
  void for_each_pass(const Body& body) const {
    const std::int64_t most_taps = shape_.height + shape_.width + 4 * (shape_.bins_y + shape_.bins_x);
    const std::int64_t group_bytes = kRoisPerGroup * most_taps * static_cast<std::int64_t>(sizeof(T) + 4);
    const std::int64_t groups_per_pass = std::max<std::int64_t>(1, kTableBytes / group_bytes);
    for (std::int64_t first = 0; first < group_count(); first += groups_per_pass) {
      const std::int64_t last = std::min(group_count(), first + groups_per_pass);
      std::vector<TapTables<T>> tables(last - first);
      parallel_for(context_, last - first, [&](std::int64_t g) { tables[g] = tables_of(order_.groups[first + g]); });
      body(tables, first, last);
    }
  }

  // Calls body(image, part, begin, end) in parallel for each image with groups in [first, last) and each of `parts`
  // parts of its channels; [begin, end) are the image's groups.
  template <class Body>
  void over_images(std::int64_t first, std::int64_t last, std::int64_t parts, const Body& body) const {
    std::vector<std::int64_t> bounds{first};
    for (std::int64_t g = first + 1; g <= last; ++g) {
      if (g == last || order_.groups[g].image != order_.groups[g - 1].image) bounds.push_back(g);
    }
    const std::int64_t images = static_cast<std::int64_t>(bounds.size()) - 1;
    parallel_for(context_, images * parts, [&](std::int64_t task) {
      const std::int64_t begin = bounds[task / parts], end = bounds[task / parts + 1];
      body(order_.groups[begin].image, task % parts, begin, end);
    });
  }

  template <class Kernel>
  void over_planes(Kernel kernel) const {
    const std::int64_t parts = (channels_ + kPlanesPerTask - 1) / kPlanesPerTask;
    for_each_pass([&](const std::vector<TapTables<T>>& tables, std::int64_t first_group, std::int64_t last_group) {
      const std::int64_t scratch_size = scratch_of(tables);
      over_images(first_group, last_group, parts, [&](std::int64_t image, std::int64_t part, auto begin, auto end) {
        std::vector<T> scratch(scratch_size);
        const std::int64_t channel = part * kPlanesPerTask;
        const Planes<T> planes = planes_of(image, channel, std::min(kPlanesPerTask, channels_ - channel));
        for (std::int64_t g = begin; g < end; ++g) {
          const TapTables<T>& group = tables[g - first_group];
          kernel(planes, group.data(), group.size(), scratch.data());
        }
      });
    });
  }

  std::int64_t scratch_of(const std::vector<TapTables<T>>& tables) const {
    std::int64_t most = shape_.width;
    for (const TapTables<T>& group : tables) {
      for (std::int64_t k = 0; k < group.size(); ++k) {
        const AxisTaps<T>& x = group.data()[k].x;
        most = std::max<std::int64_t>(most, x.begin[x.bins]);
      }
    }
    return most + kPlaneScratchPadding;
  }

  Context context_;
  PooledShape shape_;
  std::int64_t channels_;
  T* features_;
  T* pooled_;
  const geometry::Roi<T>* rois_;
  geometry::Sampling<T> sampling_;
  RoiOrder order_;
};

}  // namespace

void roi_align(const Context& context, const TensorView& input, const TensorView& rois, double spatial_scale,
               std::int64_t sampling_ratio, bool aligned, const TensorView& output) {
  check_roi_align("roi_align", "input", input, rois, "output", output);
  dispatch_floating("roi_align", "input", input.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const RoiAlign<T> call("roi_align", context, input, rois, output,
                           {static_cast<T>(spatial_scale), sampling_ratio, aligned});
    return input.is_contiguous() && output.is_contiguous() ? call.pool_planes() : call.pool_pixels();
  });
}

void roi_align_backward(const Context& context, const TensorView& grad_output, const TensorView& rois,
                        double spatial_scale, std::int64_t sampling_ratio, bool aligned, const TensorView& grad_input) {
  check_roi_align("roi_align_backward", "grad_input", grad_input, rois, "grad_output", grad_output);
  dispatch_floating("roi_align_backward", "grad_input", grad_input.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const RoiAlign<T> call("roi_align_backward", context, grad_input, rois, grad_output,
                           {static_cast<T>(spatial_scale), sampling_ratio, aligned});
    return grad_input.is_contiguous() && grad_output.is_contiguous() ? call.backward_planes() : call.backward_pixels();
  });
}

}  // namespace fastmrcnn::cpu
