// Boxes from regression deltas, one thread a delta.
//
// Memory: reads deltas once (16 bytes a thread, coalesced) and writes boxes once; the C deltas of a row share their
// reference box, which the read-only cache serves. 268,569 deltas move 12.9 MB: predicted 3 us on an H200 (4.3 TB/s),
// launch latency excluded. Twenty-odd registers, so occupancy is full. Deterministic; computed in the tensors' dtype.
#include "fastmrcnn/ops/decode_boxes.h"

#include "fastmrcnn/dtype.h"
#include "fastmrcnn/geometry/box_coding.h"
#include "launch.cuh"

namespace fastmrcnn::cuda {
namespace {

using geometry::Box;
using geometry::BoxCoding;
using geometry::Deltas;

template <class T>
struct ImageSize {
  bool clip;
  T width, height;
};

template <class T>
__global__ void decode(const Deltas<T>* __restrict__ deltas, const Box<T>* __restrict__ boxes, std::int64_t count,
                       std::int64_t classes, BoxCoding<T> coding, ImageSize<T> image, Box<T>* __restrict__ decoded) {
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t k = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; k < count; k += step) {
    const Box<T> box = geometry::decode(deltas[k], boxes[k / classes], coding);
    decoded[k] = image.clip ? geometry::clip(box, image.width, image.height) : box;
  }
}

}  // namespace

void decode_boxes(const Context& context, const TensorView& deltas, const TensorView& boxes,
                  const std::array<double, 4>& weights, double max_log_size,
                  const std::optional<std::array<double, 2>>& image_size, const TensorView& decoded) {
  check_decode_boxes(deltas, boxes, decoded);
  const std::int64_t classes = deltas.shape[1] / 4, count = deltas.shape[0] * classes;
  if (count == 0) return;
  dispatch_floating("decode_boxes", "deltas", deltas.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const BoxCoding<T> coding{{T(weights[0]), T(weights[1]), T(weights[2]), T(weights[3])}, T(max_log_size)};
    const auto [height, width] = image_size.value_or(std::array<double, 2>{});
    constexpr int kThreads = 256;
    launch("decode_boxes", context, decode<T>, {blocks_for(count, kThreads), kThreads}, deltas.as<const Deltas<T>>(),
           boxes.as<const Box<T>>(), count, classes, coding, ImageSize<T>{image_size.has_value(), T(width), T(height)},
           decoded.as<Box<T>>());
  });
}

}  // namespace fastmrcnn::cuda
