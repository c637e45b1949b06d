// RoIPool on the CPU. Forward, channels-last: threads share out groups of RoIs. Everything else: threads own planes of
// a map, or blocks of its channels, and work through that map's RoIs in order.
#include "fastmrcnn/ops/roi_pool.h"

#include <vector>

#include "fastmrcnn/dtype.h"
#include "gradient_sums.h"
#include "kernels/roi_pool_kernel.h"
#include "pooling_plan.h"
#include "task_size.h"

namespace fastmrcnn::cpu {
namespace {

constexpr IsaTable<const PerStorage<RoiPoolKernels>*> kKernels = FASTMRCNN_ISA_TABLE(roi_pool_kernels);
constexpr bool kEndInclusive = true;

// The tensors of a call, of either direction, stored as S.
template <class S>
struct Call {
  using T = Accumulator<S>;
  using Plan = PoolingPlan<T, geometry::Quantised<T>>;

  const char* op;
  Context context;
  TensorView features, rois, pooled, argmax;
  T spatial_scale;

  std::int64_t images = features.shape[0], channels = features.shape[1];
  std::int64_t height = features.shape[2], width = features.shape[3], pixels = height * width;
  std::int64_t bins = pooled.shape[2] * pooled.shape[3];
  // Whether planes are dense, else pixels are.
  bool contiguous = features.is_contiguous() && pooled.is_contiguous();

  Plan plan() const { return Plan(op, context, features, rois, pooled, {spatial_scale, kEndInclusive}); }
  // Of pixels. Sums in the tensor itself take a thread's share at once, for a pixel's channels are neighbours; sums
  // beside it are held for a few channels at a time.
  std::int64_t channels_per_task() const {
    constexpr std::int64_t kLine = 32;
    const std::int64_t share = channels / std::max(context.num_threads, 1) / kLine * kLine;
    return std::is_same_v<S, T> ? std::max(kLine, share) : kLine;
  }
  TaskSize task_size() const { return {channels, std::max(context.num_threads, 1)}; }
  S* map(std::int64_t image) const { return features.as<S>() + image * channels * pixels; }
};

template <class S>
void pool_pixels(const Call<S>& call) {
  call.plan().over_groups([&](const MapIndex& map, const auto& tables) {
    const Pixels<const S, S> pixels{call.map(map.image), call.pooled.template as<S>(), call.channels, call.width, 0,
                                    call.height};
    kKernels.get()->of<S>().pixels(pixels, call.argmax.template as<std::int32_t>(), tables.data(), tables.size());
  });
}

// Calls body(image, first channel, last channel + 1, for_each_group) for blocks of the channels of every map.
template <class S, class Body>
void over_channels(const Call<S>& call, std::int64_t block, const Body& body) {
  call.plan().over_maps([&](std::int64_t) { return (call.channels + block - 1) / block; },
                        [&](const MapIndex& map, std::int64_t part, const auto& for_each_group) {
                          body(map.image, part * block, std::min((part + 1) * block, call.channels), for_each_group);
                        });
}

template <class S>
std::int64_t planes_per_task(const Call<S>& call) {
  return call.task_size().planes(pooled_shape(call.features, call.pooled));
}

template <class S>
void pool_planes(const Call<S>& call) {
  over_channels(call, planes_per_task(call),
                [&](std::int64_t image, std::int64_t begin, std::int64_t end, const auto& for_each_group) {
                  const Planes<const S, S> planes{call.map(image) + begin * call.pixels,
                                                  call.pooled.template as<S>() + begin * call.bins,
                                                  end - begin,
                                                  call.height,
                                                  call.width,
                                                  call.channels * call.bins};
                  std::vector<Index<S>> keys(call.width), ties(call.width);
                  for_each_group([&](const auto& tables) {
                    kKernels.get()->of<S>().planes(planes, call.argmax.template as<std::int32_t>() + begin * call.bins,
                                                   tables.data(), tables.size(), {keys.data(), ties.data()});
                  });
                });
}

template <class S>
std::int64_t checked_pixel(const Call<S>& call, std::int64_t pixel) {
  if (pixel < call.pixels) return pixel;
  fail(call.op, ": argmax holds pixel ", pixel, ", which is not in grad_input of ", shape_of(call.features));
}

// Adds the gradient of `count` neighbouring pooled values from `offset` on, each to the pixel that was its maximum:
// sums[pixel x pixel_stride + value x value_stride].
template <class S>
void spread(const Call<S>& call, std::int64_t offset, std::int64_t count, Accumulator<S>* sums,
            std::int64_t pixel_stride, std::int64_t value_stride) {
  const S* gradient = call.pooled.template as<const S>() + offset;
  const std::int32_t* argmax = call.argmax.template as<const std::int32_t>() + offset;
  for (std::int64_t k = 0; k < count; ++k) {
    if (argmax[k] < 0) continue;
    sums[checked_pixel(call, argmax[k]) * pixel_stride + k * value_stride] += value_of(gradient[k]);
  }
}

template <class S>
void spread_planes(const Call<S>& call) {
  over_channels(call, planes_per_task(call),
                [&](std::int64_t image, std::int64_t begin, std::int64_t end, const auto& for_each_group) {
                  GradientSums<S> sums(call.map(image) + begin * call.pixels, (end - begin) * call.pixels);
                  for_each_group([&](const auto& tables) {
                    for (const auto& roi : tables) {
                      for (std::int64_t c = begin; c < end; ++c) {
                        spread(call, (roi.roi * call.channels + c) * call.bins, call.bins,
                               sums.data() + (c - begin) * call.pixels, 1, 0);
                      }
                    }
                  });
                  sums.store();
                });
}

template <class S>
void spread_pixels(const Call<S>& call) {
  over_channels(call, call.channels_per_task(),
                [&](std::int64_t image, std::int64_t begin, std::int64_t end, const auto& for_each_group) {
                  GradientSums<S> sums(call.map(image) + begin, end - begin, call.pixels, call.channels);
                  for_each_group([&](const auto& tables) {
                    for (const auto& roi : tables) {
                      for (std::int64_t bin = roi.roi * call.bins; bin < (roi.roi + 1) * call.bins; ++bin) {
                        spread(call, bin * call.channels + begin, end - begin, sums.data(), sums.stride(), 1);
                      }
                    }
                  });
                  sums.store();
                });
}

}  // namespace

void roi_pool(const Context& context, const TensorView& input, const TensorView& rois, double spatial_scale,
              const TensorView& output, const TensorView& argmax) {
  check_roi_pooling("roi_pool", {"input", input}, rois, {"output", output});
  check_writable("roi_pool", "output", output);
  check_argmax("roi_pool", {"input", input}, {"output", output}, argmax);
  check_writable("roi_pool", "argmax", argmax);
  dispatch_storage("roi_pool", "input", input.dtype, [&](auto tag) {
    using S = typename decltype(tag)::type;
    const Call<S> call{"roi_pool", context, input, rois, output, argmax, static_cast<Accumulator<S>>(spatial_scale)};
    return call.contiguous ? pool_planes(call) : pool_pixels(call);
  });
}

void roi_pool_backward(const Context& context, const TensorView& grad_output, const TensorView& rois,
                       const TensorView& argmax, double spatial_scale, const TensorView& grad_input) {
  constexpr const char* op = "roi_pool_backward";
  check_roi_pooling(op, {"grad_input", grad_input}, rois, {"grad_output", grad_output});
  check_writable(op, "grad_input", grad_input);
  check_argmax(op, {"grad_input", grad_input}, {"grad_output", grad_output}, argmax);
  dispatch_storage(op, "grad_input", grad_input.dtype, [&](auto tag) {
    using S = typename decltype(tag)::type;
    const Call<S> call{op, context, grad_input, rois, grad_output, argmax, static_cast<Accumulator<S>>(spatial_scale)};
    return call.contiguous ? spread_planes(call) : spread_pixels(call);
  });
}

}  // namespace fastmrcnn::cpu
