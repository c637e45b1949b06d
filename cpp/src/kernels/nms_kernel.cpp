// The inner loop of NMS: one candidate against the kept boxes, a block at a time with an early exit. A product stands
// in for the division of the IoU, which would cost more than all the rest, and only where it says "perhaps" is divided.
#include "kernels/nms_kernel.h"

namespace fastmrcnn::FASTMRCNN_ISA {
namespace {

template <class T>
struct Limits;

template <>
struct Limits<float> {
  static constexpr float slack = 1e-6f, tiny = 1e-37f;  // several units in the last place; near the least normal number
};

template <>
struct Limits<double> {
  static constexpr double slack = 1e-14, tiny = 1e-307;
};

template <class T>
bool overlaps_block(const KeptBoxes<T>& kept, int64_t begin, const geometry::Box<T>& box, T box_area, T threshold) {
  int over = 0;
  for (int64_t k = begin; k < begin + kNmsBlock; ++k) {
    const geometry::Box<T> other{kept.x1[k], kept.y1[k], kept.x2[k], kept.y2[k]};
    over |= geometry::iou(other, kept.area[k], box, box_area) > threshold;
  }
  return over != 0;
}

// False only where overlaps_block is false, for thresholds >= 0: there a quotient above the threshold needs an overlap
// above a little less than threshold * union, and a negative union passes.
template <class T>
bool may_overlap_block(const KeptBoxes<T>& kept, int64_t begin, const geometry::Box<T>& box, T box_area, T threshold) {
  const T least = threshold * (1 - Limits<T>::slack);
  int over = 0;
  for (int64_t k = begin; k < begin + kNmsBlock; ++k) {
    const geometry::Box<T> other{kept.x1[k], kept.y1[k], kept.x2[k], kept.y2[k]};
    const T overlap = geometry::intersection(other, box);
    over |= overlap > least * (kept.area[k] + box_area - overlap) - Limits<T>::tiny;
  }
  return over != 0;
}

template <class T>
bool overlaps_kept(const KeptBoxes<T>& kept, int64_t padded_count, const geometry::Box<T>& box, T threshold) {
  const T box_area = geometry::area(box);
  const bool product_decides = threshold >= 0;
  for (int64_t begin = 0; begin < padded_count; begin += kNmsBlock) {
    if (product_decides && !may_overlap_block(kept, begin, box, box_area, threshold)) continue;
    if (overlaps_block(kept, begin, box, box_area, threshold)) return true;
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
