// Select first, decode after. One pass over the logits of each (image, level) finds its best anchors. Then the levels
// of an image are merged in descending order, and candidates are decoded and suppressed until it has its proposals: of
// the 268,569 anchors of an 800 x 1344 image about 1500 are ever decoded.
#include "fastmrcnn/ops/generate_proposals.h"

#include <algorithm>

#include "candidate_queue.h"
#include "fastmrcnn/dtype.h"
#include "fastmrcnn/geometry/sigmoid.h"
#include "fastmrcnn/parallel.h"
#include "greedy_nms.h"

namespace fastmrcnn::cpu {
namespace {

template <class T>
struct ProposalRule {
  geometry::BoxCoding<T> coding;
  T min_size, score_threshold;
};

// Where the proposals of one image go.
template <class T>
struct ProposalRows {
  geometry::Box<T>* boxes;
  T* scores;
  std::int64_t capacity;
};

template <class Storage>
struct Level {
  CandidateQueue<Storage> candidates;
  GreedyNms<Accumulator<Storage>> nms;
};

// The level whose next candidate has the greatest logit, of equal ones the first; null when none has any.
template <class Storage>
Level<Storage>* leading_level(std::vector<Level<Storage>>& levels) {
  Level<Storage>* leading = nullptr;
  for (Level<Storage>& level : levels) {
    if (level.candidates.empty()) continue;
    if (leading == nullptr || level.candidates.key() < leading->candidates.key()) leading = &level;
  }
  return leading;
}

// Writes the proposals and returns how many they are.
template <class Storage, class T = Accumulator<Storage>>
std::int64_t merge_levels(std::vector<Level<Storage>>& levels, const ProposalRule<T>& rule,
                          const ProposalRows<T>& rows) {
  std::int64_t count = 0;
  while (count < rows.capacity) {
    Level<Storage>* level = leading_level(levels);
    if (level == nullptr) break;
    const auto key = level->candidates.key();
    const geometry::Box<T> box = level->candidates.pop();
    if (FloatFormat<Storage>::order.is_nan(key)) continue;
    const T score = geometry::sigmoid(value_of_key<Storage>(key));
    if (!(score >= rule.score_threshold)) break;  // as are all that follow
    const bool large_enough = box.x2 - box.x1 >= rule.min_size && box.y2 - box.y1 >= rule.min_size;
    if (!large_enough || !level->nms.keep(box)) continue;
    rows.boxes[count] = box;
    rows.scores[count] = score;
    ++count;
  }
  std::fill(rows.boxes + count, rows.boxes + rows.capacity, geometry::Box<T>{});
  std::fill(rows.scores + count, rows.scores + rows.capacity, T(0));
  return count;
}

constexpr std::int64_t kProposalNanoseconds = 100;  // to decode, test and write one, of a thousand

// A logit that is passed over takes a fraction of a nanosecond, one that is sorted some twenty.
std::int64_t selection_nanoseconds(const std::vector<TensorView>& logits, std::int64_t pre_nms) {
  std::int64_t total = 0;
  for (const TensorView& level : logits) {
    const std::int64_t size = level.shape[1] * level.shape[2] * level.shape[3];
    total += level.shape[0] * (size / 4 + 20 * std::min(pre_nms, size));
  }
  return total;
}

}  // namespace

void generate_proposals(const Context& context, const std::vector<TensorView>& logits,
                        const std::vector<TensorView>& deltas, const std::vector<TensorView>& anchors,
                        const TensorView& image_sizes, std::int64_t pre_nms, double nms_iou, double min_size,
                        double score_threshold, const std::array<double, 4>& weights, double max_log_size,
                        const TensorView& boxes, const TensorView& scores, const TensorView& counts,
                        const TensorView& /*workspace*/) {
  check_generate_proposals(logits, deltas, anchors, image_sizes, pre_nms, nms_iou, boxes, scores, counts);
  const auto levels = static_cast<std::int64_t>(logits.size());
  const std::int64_t images = boxes.shape[0], capacity = boxes.shape[1];
  dispatch_storage("generate_proposals", "logits", logits[0].dtype, [&](auto tag) {
    using Storage = typename decltype(tag)::type;
    using T = Accumulator<Storage>;
    using Bits = typename FloatFormat<Storage>::Bits;

    std::vector<std::vector<Ranked<Bits>>> candidates(images * levels);
    parallel_for(limit_threads(context, selection_nanoseconds(logits, pre_nms)), images * levels,
                 [&](std::int64_t task) {  // level by level: the large ones first
                   const std::int64_t level = task / images, image = task % images;
                   const LogitMap<Bits> map(logits[level]);
                   candidates[image * levels + level] =
                       leading_logits(map.of_image(image), FloatFormat<Storage>::order, pre_nms);
                 });

    const ProposalRule<T> rule{{{T(weights[0]), T(weights[1]), T(weights[2]), T(weights[3])}, T(max_log_size)},
                               T(min_size),
                               T(score_threshold)};
    parallel_for(limit_threads(context, images * capacity * kProposalNanoseconds), images, [&](std::int64_t image) {
      const auto* size = image_sizes.as<const std::int64_t>() + 2 * image;
      const DecodeParameters<T> decoding{rule.coding, true, T(size[1]), T(size[0])};
      std::vector<Level<Storage>> queues;
      queues.reserve(levels);
      for (std::int64_t level = 0; level < levels; ++level) {
        const auto& best = candidates[image * levels + level];
        const auto delta_map = DeltaMap<Storage>(deltas[level]).of_image(image);
        const std::int64_t most_kept = std::min<std::int64_t>(capacity, best.size());
        queues.push_back({{best, {delta_map, anchors[level], decoding}}, {nms_iou, most_kept}});
      }
      const ProposalRows<T> rows{boxes.as<geometry::Box<T>>() + image * capacity, scores.as<T>() + image * capacity,
                                 capacity};
      counts.as<std::int64_t>()[image] = merge_levels(queues, rule, rows);
    });
  });
}

}  // namespace fastmrcnn::cpu
