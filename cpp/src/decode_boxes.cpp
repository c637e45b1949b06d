#include "fastmrcnn/ops/decode_boxes.h"

#include <algorithm>

#include "decode_dispatch.h"
#include "fastmrcnn/dtype.h"
#include "fastmrcnn/parallel.h"

namespace fastmrcnn::cpu {
namespace {

constexpr std::int64_t kDeltasPerTask = 8192;

}  // namespace

void decode_boxes(const Context& context, const TensorView& deltas, const TensorView& boxes,
                  const std::array<double, 4>& weights, double max_log_size,
                  const std::optional<std::array<double, 2>>& image_size, const TensorView& decoded) {
  check_decode_boxes(deltas, boxes, decoded);
  const std::int64_t count = deltas.shape[0], classes = deltas.shape[1] / 4;
  if (count == 0 || classes == 0) return;
  dispatch_floating("decode_boxes", "deltas", deltas.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto* delta = deltas.as<const geometry::Deltas<T>>();
    const auto* box = boxes.as<const geometry::Box<T>>();
    auto* out = decoded.as<geometry::Box<T>>();
    const auto [height, width] = image_size.value_or(std::array<double, 2>{});
    const DecodeParameters<T> parameters{
        {{T(weights[0]), T(weights[1]), T(weights[2]), T(weights[3])}, T(max_log_size)},
        image_size.has_value(),
        T(width),
        T(height)};
    const std::int64_t step = std::max<std::int64_t>(kDeltasPerTask / classes, 1);
    parallel_for(context, (count + step - 1) / step, [&](std::int64_t task) {
      const std::int64_t begin = task * step, size = std::min(step, count - begin);
      decode(delta + begin * classes, box + begin, size, classes, parameters, out + begin * classes);
    });
  });
}

}  // namespace fastmrcnn::cpu
