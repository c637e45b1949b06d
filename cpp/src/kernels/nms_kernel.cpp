// The inner loop of NMS: one candidate against the kept boxes, a block at a time with an early exit.
#include "kernels/nms_kernel.h"

namespace fastmrcnn::FASTMRCNN_ISA {
namespace {

template <class T>
bool overlaps_kept(const KeptBoxes<T>& kept, int64_t padded_count, const geometry::Box<T>& box, T threshold) {
  const T box_area = geometry::area(box);
  for (int64_t begin = 0; begin < padded_count; begin += kNmsBlock) {
    int over = 0;
    for (int64_t k = begin; k < begin + kNmsBlock; ++k) {
      const geometry::Box<T> other{kept.x1[k], kept.y1[k], kept.x2[k], kept.y2[k]};
      over |= geometry::iou(other, kept.area[k], box, box_area) > threshold;
    }
    if (over) return true;
  }
  return false;
}

}  // namespace

bool overlaps_kept_f32(const KeptBoxes<float>& kept, int64_t padded_count, const geometry::Box<float>& box,
                       float threshold) {
  return overlaps_kept(kept, padded_count, box, threshold);
}

bool overlaps_kept_f64(const KeptBoxes<double>& kept, int64_t padded_count, const geometry::Box<double>& box,
                       double threshold) {
  return overlaps_kept(kept, padded_count, box, threshold);
}

}  // namespace fastmrcnn::FASTMRCNN_ISA
