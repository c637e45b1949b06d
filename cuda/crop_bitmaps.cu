// Mask targets from bitmaps (crop_cells.cuh has the kernel).
//
// Memory: each pixel of a box is read about once, (1 + 1 / pixels of a cell)^2 times exactly, in runs of eight bytes:
// 128 boxes of 200 x 200 pixels read 6.6 MB from the second-level cache, and write 0.4 MB of 28 x 28 targets: predicted
// 10 us on an H200, the loads' latency decides: 9 rows a lane, one after the other. One launch, no workspace, 33 KiB of
// shared memory a block. Sums in float32; deterministic; the CPU's bits.
#include "crop_cells.cuh"
#include "fastmrcnn/ops/crop_masks.h"

namespace fastmrcnn::cuda {
namespace {

struct BitmapPixels {
  const std::uint8_t* bitmaps;
  std::int64_t height, width;

  struct Column {
    const std::uint8_t* top;
    std::int64_t width;

    __device__ float at(std::int32_t row) const { return static_cast<float>(__ldg(top + row * width)); }
  };

  __device__ Column column(std::int64_t object, std::int32_t column) const {
    return {bitmaps + object * height * width + column, width};
  }
  __device__ bool is_drawn_elsewhere(std::int64_t) const { return false; }
};

}  // namespace

void crop_bitmaps(const Context& context, const TensorView& bitmaps, const TensorView& boxes, const TensorView& matched,
                  bool aligned, const TensorView& cropped) {
  check_crop_bitmaps(bitmaps, boxes, matched, cropped);
  if (cropped.numel() == 0) return;
  const std::int64_t height = bitmaps.shape[1], width = bitmaps.shape[2];
  launch_crop(context,
              CropCall<BitmapPixels>{{bitmaps.as<const std::uint8_t>(), height, width},
                                     boxes.as<const geometry::Box<float>>(),
                                     matched.as<const std::int64_t>(),
                                     bitmaps.shape[0],
                                     height,
                                     width,
                                     cropped.shape[1],
                                     aligned,
                                     /*binary=*/false,
                                     cropped.as<float>()},
              boxes.shape[0]);
}

}  // namespace fastmrcnn::cuda
