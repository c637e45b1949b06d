// Mask targets from polygons and run lengths.
//
// Two launches. The first draws every object once as bits (mask_strip.cuh), 32 columns a block, into the workspace, a
// bit a pixel; the second makes the targets from the bits as from a bitmap (crop_cells.cuh), where one load serves 32
// rows of a column. Drawing per object rather than per RoI: ten RoIs match an object. For binary targets a third one
// draws polygons in the frames of the RoIs instead.
//
// Memory: 10 objects on 800 x 1333 write 1.3 MB of bits, which the second-level cache keeps, and read their outlines in
// each block, some KB; 128 RoIs read 0.9 MB of bits and write 0.4 MB of 28 x 28 targets. Predicted 5 us for the drawing
// (420 blocks of 4 warps, a column's division in double precision decides) and 8 us for the targets on an H200. 16 and
// 33 KiB of shared memory a block. Sums in float32; deterministic; the CPU's bits.
#include "crop_cells.cuh"
#include "fastmrcnn/ops/crop_masks.h"
#include "mask_strip.cuh"
#include "workspace.cuh"

namespace fastmrcnn::cuda {
namespace {

constexpr const char* kOp = "crop_masks";

// Rows of bits: bit r % 32 of word [object, r / 32, column].
struct BitPixels {
  const std::uint32_t* bits;
  std::int64_t words, width;
  EncodedArrays masks;
  bool binary;

  struct Column {
    const std::uint32_t* top;
    std::int64_t width;
    std::int32_t held = -1;
    std::uint32_t word = 0;

    __device__ float at(std::int32_t row) {
      if (row / 32 != held) {
        held = row / 32;
        word = __ldg(top + held * width);
      }
      return static_cast<float>(word >> (row % 32) & 1);
    }
  };

  __device__ Column column(std::int64_t object, std::int32_t column) const {
    return {bits + object * words * width + column, width};
  }
  __device__ bool is_drawn_elsewhere(std::int64_t object) const { return binary && !masks.polygons_of(object).empty(); }
};

__global__ void __launch_bounds__(kStripThreads)
    draw_objects(EncodedArrays masks, std::int64_t height, std::int64_t width, std::int64_t strips, bool binary,
                 std::uint32_t* __restrict__ bits) {
  __shared__ StripBits drawn;
  const std::int64_t object = blockIdx.x / strips;
  const IndexRange polygons = masks.polygons_of(object);
  if (binary && !polygons.empty()) return;
  const Strip strip = Strip::of(blockIdx.x % strips, height, width);
  drawn.clear(strip);
  const auto as_it_is = [](const geometry::Point& point) { return point; };
  for (std::int64_t q = polygons.begin; q < polygons.end; ++q) drawn.add_polygon(masks, q, as_it_is, height, strip);
  drawn.add_transitions(masks, object, height, strip);
  const std::int64_t words = (height + 31) / 32;
  std::uint32_t* const target = bits + (object * words + strip.top / 32) * width + strip.columns.begin;
  for (int k = threadIdx.x; k < strip.words() * kStripColumns; k += kStripThreads) {
    const int word = k / kStripColumns, column = k % kStripColumns;
    if (column < strip.width()) target[word * width + column] = drawn.word(word, column);
  }
}

// detectron2's targets of objects with polygons.
__global__ void __launch_bounds__(kStripThreads)
    draw_binary(EncodedArrays masks, const geometry::Box<float>* __restrict__ boxes,
                const std::int64_t* __restrict__ matched, std::int64_t objects, std::int64_t size, std::int64_t strips,
                float* __restrict__ cropped) {
  __shared__ StripBits drawn;
  const std::int64_t p = blockIdx.x / strips, object = matched[p];
  if (!(object >= 0 && object < objects)) return;
  const IndexRange polygons = masks.polygons_of(object);
  if (polygons.empty()) return;
  const Strip strip = Strip::of(blockIdx.x % strips, size, size);
  drawn.clear(strip);
  const geometry::Box<float> box = boxes[p];
  if (geometry::is_finite(box.x2 - box.x1) && geometry::is_finite(box.y2 - box.y1)) {
    const double scale_x = geometry::frame_scale(box.x2 - box.x1, size);
    const double scale_y = geometry::frame_scale(box.y2 - box.y1, size);
    const auto in_frame = [=](const geometry::Point& point) {
      return geometry::Point{(point.x - box.x1) * scale_x, (point.y - box.y1) * scale_y};
    };
    for (std::int64_t q = polygons.begin; q < polygons.end; ++q) drawn.add_polygon(masks, q, in_frame, size, strip);
  }
  float* const target = cropped + (p * size + strip.top) * size + strip.columns.begin;
  for (int k = threadIdx.x; k < static_cast<int>(strip.rows) * kStripColumns; k += kStripThreads) {
    const int row = k / kStripColumns, column = k % kStripColumns;
    if (column < strip.width()) target[row * size + column] = drawn.pixel(row, column) ? 1.0f : 0.0f;
  }
}

std::uint32_t* take_bits(Workspace& workspace, std::int64_t objects, std::int64_t height, std::int64_t width) {
  return workspace.take<std::uint32_t>(objects * ((height + 31) / 32) * width);
}

}  // namespace

std::size_t crop_encoded_masks_workspace(std::int64_t objects, std::int64_t height, std::int64_t width) {
  Workspace sizes;
  take_bits(sizes, objects, height, width);
  return sizes.bytes();
}

void crop_encoded_masks(const Context& context, const TensorView& points, const TensorView& polygons,
                        const TensorView& object_polygons, const TensorView& transitions,
                        const TensorView& object_transitions, std::int64_t height, std::int64_t width,
                        const TensorView& boxes, const TensorView& matched, bool aligned, bool binary,
                        const TensorView& cropped, const TensorView& memory) {
  const EncodedMasks masks{points, polygons, object_polygons, transitions, object_transitions, height, width};
  check_crop_encoded(masks, boxes, matched, cropped);
  const std::int64_t count = boxes.shape[0], objects = masks.count(), size = cropped.shape[1];
  Workspace workspace(kOp, memory, crop_encoded_masks_workspace(objects, height, width));
  std::uint32_t* const bits = take_bits(workspace, objects, height, width);
  if (count == 0) return;
  const EncodedArrays arrays = EncodedArrays::of(masks);
  const std::int64_t strips = Strip::count(height, width), frame_strips = Strip::count(size, size);
  if (objects * strips > 0) {
    launch(kOp, context, draw_objects, {all_blocks(kOp, objects * strips), kStripThreads}, arrays, height, width,
           strips, binary, bits);
  }
  const auto* const rois = boxes.as<const geometry::Box<float>>();
  const auto* const wanted = matched.as<const std::int64_t>();
  launch_crop(context,
              CropCall<BitPixels>{{bits, (height + 31) / 32, width, arrays, binary},
                                  rois,
                                  wanted,
                                  objects,
                                  height,
                                  width,
                                  size,
                                  aligned,
                                  binary,
                                  cropped.as<float>()},
              count);
  if (binary) {
    launch(kOp, context, draw_binary, {all_blocks(kOp, count * frame_strips), kStripThreads}, arrays, rois, wanted,
           objects, size, frame_strips, cropped.as<float>());
  }
}

}  // namespace fastmrcnn::cuda
