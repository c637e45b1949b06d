// Greedy NMS: sort by group and score, then test each candidate against the kept boxes of its group. Work is
// O(N x kept); groups run in parallel.
#include "fastmrcnn/ops/nms.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "fastmrcnn/dtype.h"
#include "fastmrcnn/isa.h"
#include "fastmrcnn/parallel.h"
#include "kernels/nms_kernel.h"
#include "radix_order.h"

namespace fastmrcnn::cpu {
namespace {

bool overlaps_kept(const KeptBoxes<float>& kept, std::int64_t count, const geometry::Box<float>& box, float threshold) {
  static constexpr IsaTable<decltype(&baseline::overlaps_kept_f32)> table = FASTMRCNN_ISA_TABLE(overlaps_kept_f32);
  return table.get()(kept, count, box, threshold);
}

bool overlaps_kept(const KeptBoxes<double>& kept, std::int64_t count, const geometry::Box<double>& box,
                   double threshold) {
  static constexpr IsaTable<decltype(&baseline::overlaps_kept_f64)> table = FASTMRCNN_ISA_TABLE(overlaps_kept_f64);
  return table.get()(kept, count, box, threshold);
}

// The greatest T that does not exceed `threshold`: comparing a T with it decides as comparing with the double would.
template <class T>
T round_down(double threshold) {
  const T rounded = static_cast<T>(threshold);
  return static_cast<double>(rounded) > threshold ? std::nextafter(rounded, -std::numeric_limits<T>::infinity())
                                                  : rounded;
}

// The kept boxes of one group.
template <class T>
class KeptList {
 public:
  explicit KeptList(std::int64_t capacity)
      : stride_(capacity / kNmsBlock * kNmsBlock + kNmsBlock), storage_(5 * stride_) {
    T* base = storage_.data();
    boxes_ = {base, base + stride_, base + 2 * stride_, base + 3 * stride_, base + 4 * stride_};
  }

  bool suppresses(const geometry::Box<T>& box, T threshold) const {
    return overlaps_kept(boxes_, padded_, box, threshold);
  }

  void push(const geometry::Box<T>& box) {
    if (count_ == padded_) pad_block();
    boxes_.x1[count_] = box.x1;
    boxes_.y1[count_] = box.y1;
    boxes_.x2[count_] = box.x2;
    boxes_.y2[count_] = box.y2;
    boxes_.area[count_] = geometry::area(box);
    ++count_;
  }

 private:
  void pad_block() {
    constexpr T inf = std::numeric_limits<T>::infinity();
    for (std::int64_t k = padded_; k < padded_ + kNmsBlock; ++k) {
      boxes_.x1[k] = boxes_.y1[k] = inf;
      boxes_.x2[k] = boxes_.y2[k] = -inf;
      boxes_.area[k] = 0;
    }
    padded_ += kNmsBlock;
  }

  std::int64_t stride_;
  std::vector<T> storage_;
  KeptBoxes<T> boxes_;
  std::int64_t count_ = 0;
  std::int64_t padded_ = 0;
};

// Unsigned keys that ascend where scores descend; NaN first, both zeros alike.
std::uint32_t descending_key(float score) {
  const float positive_zero = score + 0.0f;
  std::uint32_t bits;
  std::memcpy(&bits, &positive_zero, sizeof bits);
  return std::isnan(score) ? 0 : bits >> 31 ? bits : ~bits & 0x7fffffffu;
}

std::uint64_t descending_key(double score) {
  const double positive_zero = score + 0.0;
  std::uint64_t bits;
  std::memcpy(&bits, &positive_zero, sizeof bits);
  return std::isnan(score) ? 0 : bits >> 63 ? bits : ~bits & 0x7fffffffffffffffu;
}

// Indices in descending order of score, equal scores by index, NaN first.
template <class T>
std::vector<std::int64_t> descending_order(const T* scores, std::int64_t n) {
  std::vector<decltype(descending_key(T()))> keys(n);
  std::transform(scores, scores + n, keys.begin(), [](T score) { return descending_key(score); });
  return radix_order(std::move(keys));
}

// Ranks (positions in the order of score) sorted by group, and where each group's run begins and ends.
struct Segments {
  std::vector<std::int64_t> ranks;
  std::vector<std::int64_t> bounds;
};

Segments segment(const std::vector<std::int64_t>& order, const std::int64_t* groups) {
  const std::int64_t n = static_cast<std::int64_t>(order.size());
  Segments segments{std::vector<std::int64_t>(n), {0}};
  if (groups == nullptr) {
    std::iota(segments.ranks.begin(), segments.ranks.end(), std::int64_t{0});
  } else {
    std::vector<std::uint64_t> keys(n);  // any order of the groups will do
    std::transform(order.begin(), order.end(), keys.begin(), [groups](std::int64_t index) { return groups[index]; });
    segments.ranks = radix_order(keys);
    for (std::int64_t k = 1; k < n; ++k) {
      if (keys[segments.ranks[k]] != keys[segments.ranks[k - 1]]) segments.bounds.push_back(k);
    }
  }
  segments.bounds.push_back(n);
  return segments;
}

template <class T>
std::int64_t run(const Context& context, const TensorView& boxes, const TensorView& scores, const TensorView& groups,
                 double iou_threshold, std::int64_t* keep) {
  const std::int64_t n = boxes.shape[0];
  const auto* box = boxes.as<const geometry::Box<T>>();
  const T threshold = round_down<T>(iou_threshold);
  const std::vector<std::int64_t> order = descending_order(scores.as<const T>(), n);
  const Segments segments = segment(order, groups.defined() ? groups.as<const std::int64_t>() : nullptr);

  std::vector<unsigned char> kept_rank(n, 0);
  parallel_for(context, static_cast<std::int64_t>(segments.bounds.size()) - 1, [&](std::int64_t s) {
    const std::int64_t begin = segments.bounds[s], end = segments.bounds[s + 1];
    KeptList<T> kept(end - begin);
    for (std::int64_t k = begin; k < end; ++k) {
      const std::int64_t rank = segments.ranks[k];
      const geometry::Box<T>& candidate = box[order[rank]];
      if (kept.suppresses(candidate, threshold)) continue;
      kept.push(candidate);
      kept_rank[rank] = 1;
    }
  });

  std::int64_t count = 0;
  for (std::int64_t rank = 0; rank < n; ++rank) {
    if (kept_rank[rank]) keep[count++] = order[rank];
  }
  return count;
}

}  // namespace

void nms(const Context& context, const TensorView& boxes, const TensorView& scores, const TensorView& groups,
         double iou_threshold, const TensorView& keep, const TensorView& count) {
  check_nms(boxes, scores, groups, keep, count);
  *count.as<std::int64_t>() = dispatch_floating("nms", "boxes", boxes.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    return run<T>(context, boxes, scores, groups, iou_threshold, keep.as<std::int64_t>());
  });
}

}  // namespace fastmrcnn::cpu
