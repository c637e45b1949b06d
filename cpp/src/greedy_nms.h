// Greedy suppression of boxes that stand in descending order of score: what NMS and the fused RPN post-processing
// share.
#pragma once

#include <cstdint>
#include <memory>

#include "fastmrcnn/geometry/box.h"

namespace fastmrcnn::cpu {

// A box is kept unless its IoU with one kept before is strictly greater than `iou_threshold`; boxes of zero area and
// boxes that hold a NaN always are. Stops after `limit` kept boxes. Writes the positions of the kept boxes, ascending,
// to `kept` (room for min(n, limit), n < 2^32) and returns how many they are.
std::int64_t greedy_nms(const geometry::Box<float>* boxes, std::int64_t n, double iou_threshold, std::int64_t limit,
                        std::uint32_t* kept);
std::int64_t greedy_nms(const geometry::Box<double>* boxes, std::int64_t n, double iou_threshold, std::int64_t limit,
                        std::uint32_t* kept);

// The same, box by box, where the next candidate is not known before the last is decided. For thresholds >= 0.
template <class T>
class GreedyNms {
 public:
  // Keeps at most `capacity` boxes.
  GreedyNms(double iou_threshold, std::int64_t capacity);
  bool keep(const geometry::Box<T>& box);

 private:
  T threshold_;
  std::int64_t filled_ = 0;
  std::unique_ptr<T[]> workspace_;
};

}  // namespace fastmrcnn::cpu
