// Position-sensitive pooling on the CPU. Every input channel belongs to one bin of one output channel, so in the
// backward pass a task that owns output channels owns their input channels too.
#include "fastmrcnn/ops/position_sensitive.h"

#include "fastmrcnn/dtype.h"
#include "pooling_plan.h"

namespace fastmrcnn::cpu {
namespace {

// One call in one dtype. Tensors may be stored in any order.
template <class T, class Rule>
class PositionSensitive {
 public:
  PositionSensitive(const char* op, const Context& context, const TensorView& features, const TensorView& rois,
                    const TensorView& pooled, const Rule& rule)
      : context_(context), plan_(op, context, features, rois, pooled, rule), features_(features), pooled_(pooled) {}

  void forward() const {
    plan_.over_groups([&](const MapIndex& map, const TapTables<T>& tables) {
      for (const RoiTaps<T>& roi : tables) {
        for (std::int64_t c = 0; c < pooled_.shape[1]; ++c) {
          for_each_bin(
              map.image, c, roi, [](T& pooled) { pooled = 0; },
              [](T& pooled, T& pixel, T weight) { pooled += pixel * weight; });
        }
      }
    });
  }

  void backward() const {
    fill_zero(context_, features_.as<T>(), features_.numel());
    plan_.over_maps([&](std::int64_t) { return pooled_.shape[1]; },
                    [&](const MapIndex& map, std::int64_t c, const auto& for_each_group) {
                      for_each_group([&](const TapTables<T>& tables) {
                        for (const RoiTaps<T>& roi : tables) {
                          for_each_bin(
                              map.image, c, roi, [](T&) {},
                              [](T& pooled, T& pixel, T weight) { pixel += pooled * weight; });
                        }
                      });
                    });
  }

 private:
  // Calls on_bin(pooled) for every bin, and on_tap(pooled, pixel, weight) for each of its taps.
  template <class OnBin, class OnTap>
  void for_each_bin(std::int64_t image, std::int64_t c, const RoiTaps<T>& roi, const OnBin& on_bin,
                    const OnTap& on_tap) const {
    for (std::int32_t i = 0; i < roi.y.bins; ++i) {
      for (std::int32_t j = 0; j < roi.x.bins; ++j) {
        T& pooled = at(pooled_, roi.roi, c, i, j);
        on_bin(pooled);
        const std::int64_t channel = (c * roi.y.bins + i) * roi.x.bins + j;
        for (std::int32_t a = roi.y.begin[i]; a < roi.y.begin[i + 1]; ++a) {
          for (std::int32_t b = roi.x.begin[j]; b < roi.x.begin[j + 1]; ++b) {
            on_tap(pooled, at(features_, image, channel, roi.y.index[a], roi.x.index[b]),
                   roi.y.weight[a] * roi.x.weight[b]);
          }
        }
      }
    }
  }

  static T& at(const TensorView& tensor, std::int64_t n, std::int64_t c, std::int64_t y, std::int64_t x) {
    return tensor
        .as<T>()[n * tensor.strides[0] + c * tensor.strides[1] + y * tensor.strides[2] + x * tensor.strides[3]];
  }

  Context context_;
  PoolingPlan<T, Rule> plan_;
  TensorView features_;
  TensorView pooled_;
};

constexpr bool kAligned = true;
constexpr bool kEndInclusive = false;

}  // namespace

void ps_roi_align(const Context& context, const TensorView& input, const TensorView& rois, double spatial_scale,
                  std::int64_t sampling_ratio, const TensorView& output) {
  check_position_sensitive("ps_roi_align", {"input", input}, rois, {"output", output});
  check_writable("ps_roi_align", "output", output);
  check_sampling_ratio("ps_roi_align", sampling_ratio);
  dispatch_floating("ps_roi_align", "input", input.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const geometry::Sampling<T> sampling{static_cast<T>(spatial_scale), sampling_ratio, kAligned};
    PositionSensitive<T, geometry::Sampling<T>>("ps_roi_align", context, input, rois, output, sampling).forward();
  });
}

void ps_roi_align_backward(const Context& context, const TensorView& grad_output, const TensorView& rois,
                           double spatial_scale, std::int64_t sampling_ratio, const TensorView& grad_input) {
  constexpr const char* op = "ps_roi_align_backward";
  check_position_sensitive(op, {"grad_input", grad_input}, rois, {"grad_output", grad_output});
  check_writable(op, "grad_input", grad_input);
  check_sampling_ratio(op, sampling_ratio);
  dispatch_floating(op, "grad_input", grad_input.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const geometry::Sampling<T> sampling{static_cast<T>(spatial_scale), sampling_ratio, kAligned};
    PositionSensitive<T, geometry::Sampling<T>>(op, context, grad_input, rois, grad_output, sampling).backward();
  });
}

void ps_roi_pool(const Context& context, const TensorView& input, const TensorView& rois, double spatial_scale,
                 const TensorView& output) {
  check_position_sensitive("ps_roi_pool", {"input", input}, rois, {"output", output});
  check_writable("ps_roi_pool", "output", output);
  dispatch_floating("ps_roi_pool", "input", input.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const geometry::Quantised<T> rule{static_cast<T>(spatial_scale), kEndInclusive};
    PositionSensitive<T, geometry::Quantised<T>>("ps_roi_pool", context, input, rois, output, rule).forward();
  });
}

void ps_roi_pool_backward(const Context& context, const TensorView& grad_output, const TensorView& rois,
                          double spatial_scale, const TensorView& grad_input) {
  constexpr const char* op = "ps_roi_pool_backward";
  check_position_sensitive(op, {"grad_input", grad_input}, rois, {"grad_output", grad_output});
  check_writable(op, "grad_input", grad_input);
  dispatch_floating(op, "grad_input", grad_input.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const geometry::Quantised<T> rule{static_cast<T>(spatial_scale), kEndInclusive};
    PositionSensitive<T, geometry::Quantised<T>>(op, context, grad_input, rois, grad_output, rule).backward();
  });
}

}  // namespace fastmrcnn::cpu
