// NMS: sort by group and score, then suppress greedily within each group. Groups run in parallel.
#include "fastmrcnn/ops/nms.h"

#include <vector>

#include "box_groups.h"
#include "fastmrcnn/dtype.h"
#include "fastmrcnn/parallel.h"
#include "greedy_nms.h"
#include "score_order.h"
#include "scratch.h"

namespace fastmrcnn::cpu {
namespace {

constexpr std::int64_t kFew = 64;

// The kept boxes among those that `order` names, which descend in score. Their positions in `order` go to `kept`.
template <class T>
std::int64_t suppress(const geometry::Box<T>* boxes, const std::uint32_t* order, std::int64_t n, double iou_threshold,
                      std::uint32_t* kept) {
  Scratch<geometry::Box<T>, kFew> sorted(n);
  for (std::int64_t k = 0; k < n; ++k) sorted[k] = boxes[order[k]];
  return greedy_nms(sorted.get(), n, iou_threshold, n, kept);
}

template <class T>
std::int64_t suppress_all(const geometry::Box<T>* boxes, const T* scores, std::int64_t n, double iou_threshold,
                          std::int64_t* keep) {
  Scratch<std::uint32_t, kFew> order(n), kept(n);
  descending_order(scores, n, order.get());
  const std::int64_t count = suppress(boxes, order.get(), n, iou_threshold, kept.get());
  for (std::int64_t k = 0; k < count; ++k) keep[k] = order[kept[k]];
  return count;
}

template <class T>
std::int64_t suppress_in_groups(const Context& context, const geometry::Box<T>* boxes, const T* scores,
                                const std::int64_t* groups, std::int64_t n, double iou_threshold, std::int64_t* keep) {
  std::vector<std::uint32_t> order(n), grouped(n), kept(n);
  descending_order(scores, n, order.data());
  const BoxGroups in_groups = group_boxes(order.data(), groups, n);
  const std::vector<std::uint32_t>& ranks = in_groups.ranks;
  for (std::int64_t k = 0; k < n; ++k) grouped[k] = order[ranks[k]];

  std::vector<unsigned char> kept_rank(n, 0);
  // Some ten nanoseconds a box, and where few are suppressed one for every few pairs.
  const Context threads = limit_threads(context, n * 10 + in_groups.pairs() / 16);
  parallel_for(threads, in_groups.count(), [&](std::int64_t group) {
    const std::int64_t begin = in_groups.bounds[group], size = in_groups.bounds[group + 1] - begin;
    const std::int64_t count = suppress(boxes, &grouped[begin], size, iou_threshold, &kept[begin]);
    for (std::int64_t k = 0; k < count; ++k) kept_rank[ranks[begin + kept[begin + k]]] = 1;
  });

  std::int64_t count = 0;
  for (std::int64_t rank = 0; rank < n; ++rank) {
    if (kept_rank[rank]) keep[count++] = order[rank];
  }
  return count;
}

}  // namespace

void nms(const Context& context, const TensorView& boxes, const TensorView& scores, const TensorView& groups,
         double iou_threshold, const TensorView& keep, const TensorView& count, const TensorView&) {
  check_nms(boxes, scores, groups, keep, count);
  const std::int64_t n = boxes.shape[0];
  auto* kept = keep.as<std::int64_t>();
  *count.as<std::int64_t>() = dispatch_floating("nms", "boxes", boxes.dtype, [&](auto tag) -> std::int64_t {
    using T = typename decltype(tag)::type;
    const auto* box = boxes.as<const geometry::Box<T>>();
    const auto* score = scores.as<const T>();
    if (n == 0) return 0;
    if (!groups.defined()) return suppress_all(box, score, n, iou_threshold, kept);
    return suppress_in_groups(context, box, score, groups.as<const std::int64_t>(), n, iou_threshold, kept);
  });
}

}  // namespace fastmrcnn::cpu
