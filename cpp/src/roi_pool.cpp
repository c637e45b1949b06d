// RoIPool on the CPU. Forward: threads share out groups of RoIs. Backward: threads own channels of an image.
#include "fastmrcnn/ops/roi_pool.h"

#include "fastmrcnn/dtype.h"
#include "pooling_plan.h"

namespace fastmrcnn::cpu {
namespace {

std::int64_t offset(const TensorView& tensor, std::int64_t n, std::int64_t c, std::int64_t y, std::int64_t x) {
  return n * tensor.strides[0] + c * tensor.strides[1] + y * tensor.strides[2] + x * tensor.strides[3];
}

template <class T>
struct Maximum {
  T value = 0;
  std::int32_t pixel = -1;
};

template <class T>
Maximum<T> maximum_of_bin(const TensorView& input, std::int64_t image, std::int64_t c, const RoiTaps<T>& roi,
                          std::int32_t i, std::int32_t j) {
  Maximum<T> best;
  for (std::int32_t a = roi.y.begin[i]; a < roi.y.begin[i + 1]; ++a) {
    for (std::int32_t b = roi.x.begin[j]; b < roi.x.begin[j + 1]; ++b) {
      const std::int64_t y = roi.y.index[a], x = roi.x.index[b];
      const T value = input.as<const T>()[offset(input, image, c, y, x)];
      if (best.pixel < 0 || value > best.value || value != value) {
        best = {value, static_cast<std::int32_t>(y * input.shape[3] + x)};
      }
    }
  }
  return best;
}

template <class T>
void pool(const TensorView& input, std::int64_t image, const RoiTaps<T>& roi, const TensorView& output,
          const TensorView& argmax) {
  for (std::int64_t c = 0; c < input.shape[1]; ++c) {
    for (std::int32_t i = 0; i < roi.y.bins; ++i) {
      for (std::int32_t j = 0; j < roi.x.bins; ++j) {
        const Maximum<T> best = maximum_of_bin<T>(input, image, c, roi, i, j);
        output.as<T>()[offset(output, roi.roi, c, i, j)] = best.value;
        argmax.as<std::int32_t>()[offset(argmax, roi.roi, c, i, j)] = best.pixel;
      }
    }
  }
}

// Adds one channel of one RoI's gradient to the pixels that were its maxima.
template <class T>
void spread(const TensorView& grad_output, std::int64_t image, std::int64_t c, std::int64_t roi,
            const TensorView& argmax, const TensorView& grad_input) {
  for (std::int64_t i = 0; i < grad_output.shape[2]; ++i) {
    for (std::int64_t j = 0; j < grad_output.shape[3]; ++j) {
      const std::int32_t pixel = argmax.as<const std::int32_t>()[offset(argmax, roi, c, i, j)];
      if (pixel < 0) continue;
      check(pixel < grad_input.shape[2] * grad_input.shape[3], "roi_pool_backward: argmax holds pixel ", pixel,
            ", which is not in grad_input of ", shape_of(grad_input));
      const std::int64_t y = pixel / grad_input.shape[3], x = pixel % grad_input.shape[3];
      grad_input.as<T>()[offset(grad_input, image, c, y, x)] +=
          grad_output.as<const T>()[offset(grad_output, roi, c, i, j)];
    }
  }
}

template <class T>
using Plan = PoolingPlan<T, geometry::Quantised<T>>;

constexpr bool kEndInclusive = true;

}  // namespace

void roi_pool(const Context& context, const TensorView& input, const TensorView& rois, double spatial_scale,
              const TensorView& output, const TensorView& argmax) {
  check_roi_pooling("roi_pool", {"input", input}, rois, {"output", output});
  check_writable("roi_pool", "output", output);
  check_argmax("roi_pool", {"input", input}, {"output", output}, argmax);
  check_writable("roi_pool", "argmax", argmax);
  dispatch_floating("roi_pool", "input", input.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Plan<T> plan("roi_pool", context, input, rois, output, {static_cast<T>(spatial_scale), kEndInclusive});
    plan.over_groups([&](const MapIndex& map, const TapTables<T>& tables) {
      for (const RoiTaps<T>& roi : tables) pool(input, map.image, roi, output, argmax);
    });
  });
}

void roi_pool_backward(const Context& context, const TensorView& grad_output, const TensorView& rois,
                       const TensorView& argmax, const TensorView& grad_input) {
  constexpr const char* op = "roi_pool_backward";
  check_roi_pooling(op, {"grad_input", grad_input}, rois, {"grad_output", grad_output});
  check_writable(op, "grad_input", grad_input);
  check_argmax(op, {"grad_input", grad_input}, {"grad_output", grad_output}, argmax);
  dispatch_floating(op, "grad_input", grad_input.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Plan<T> plan(op, context, grad_input, rois, grad_output, {T(1), kEndInclusive});
    fill_zero(context, grad_input.as<T>(), grad_input.numel());
    plan.over_maps([&](std::int64_t) { return grad_input.shape[1]; },
                   [&](const MapIndex& map, std::int64_t c, const auto& for_each_group) {
                     for_each_group([&](const TapTables<T>& tables) {
                       for (const RoiTaps<T>& roi : tables)
                         spread<T>(grad_output, map.image, c, roi.roi, argmax, grad_input);
                     });
                   });
  });
}

}  // namespace fastmrcnn::cpu
