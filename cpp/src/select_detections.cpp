// Score first, decode after. One pass over the logits finds the candidates; they are decoded and suppressed in
// descending order of score until the image has its detections.
#include "fastmrcnn/ops/select_detections.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "decode_dispatch.h"
#include "fastmrcnn/dtype.h"
#include "fastmrcnn/isa.h"
#include "fastmrcnn/parallel.h"
#include "greedy_nms.h"
#include "kernels/softmax_kernel.h"
#include "score_order.h"

namespace fastmrcnn::cpu {
namespace {

constexpr IsaTable<const PerStorage<SoftmaxKernels>*> kSoftmax = FASTMRCNN_ISA_TABLE(softmax_kernels);

// Scores and where they stand: position / columns is the region, position % columns the class.
template <class T>
struct Candidates {
  std::vector<T> scores;
  std::vector<std::uint32_t> positions;
};

// Those of the regions [begin, end) of an image.
template <class Storage, class T = Accumulator<Storage>>
Candidates<T> find_candidates(const Storage* logits, std::int64_t begin, std::int64_t end, std::int64_t columns,
                              const ScoreRule<T>& rule) {
  // The kernel wants room for all classes of its regions, so it gets a few at a time: the list grows with what is
  // found.
  const std::int64_t block = std::max<std::int64_t>(2048 / columns, 1);
  std::vector<T> workspace(softmax_workspace(columns)), scores(block * columns);
  std::vector<std::uint32_t> positions(block * columns);
  Candidates<T> found;
  for (; begin < end; begin += block) {
    const std::int64_t count = kSoftmax.get()->of<Storage>().likely(
        logits + begin * columns, std::min(block, end - begin), columns, rule,
        static_cast<std::uint32_t>(begin * columns), workspace.data(), scores.data(), positions.data());
    found.scores.insert(found.scores.end(), scores.begin(), scores.begin() + count);
    found.positions.insert(found.positions.end(), positions.begin(), positions.begin() + count);
  }
  return found;
}

// The regions of one image.
template <class Storage>
struct Regions {
  using T = Accumulator<Storage>;

  const Storage* deltas;
  const geometry::Box<T>* proposals;
  std::uint32_t columns;  // of the logits: the classes and the background
  bool class_agnostic;

  geometry::Deltas<T> deltas_of(std::uint32_t position) const {
    const Storage* delta = deltas + std::int64_t{4} * (class_agnostic ? position / columns : position);
    return {value_of(delta[0]), value_of(delta[1]), value_of(delta[2]), value_of(delta[3])};
  }
};

// Where the detections of one image go.
template <class T>
struct DetectionRows {
  geometry::Box<T>* boxes;
  T* scores;
  std::int64_t* labels;
  std::int64_t* rows;
  std::int64_t capacity;

  void clear_from(std::int64_t count) const {
    std::fill(boxes + count, boxes + capacity, geometry::Box<T>{});
    std::fill(scores + count, scores + capacity, T(0));
    std::fill(labels + count, labels + capacity, 0);
    std::fill(rows + count, rows + capacity, 0);
  }
};

// Suppression within each class; most classes have no candidate in most images.
template <class T>
class ClasswiseNms {
 public:
  // Keeps at most `capacity` boxes of a class.
  ClasswiseNms(double iou_threshold, std::int64_t capacity, const std::vector<std::uint32_t>& positions,
               std::int64_t columns)
      : iou_threshold_(iou_threshold), capacity_(capacity), candidates_(columns), classes_(columns) {
    for (const std::uint32_t position : positions) ++candidates_[position % static_cast<std::uint32_t>(columns)];
  }

  bool keep(std::uint32_t label, const geometry::Box<T>& box) {
    std::optional<GreedyNms<T>>& nms = classes_[label];
    if (!nms) nms.emplace(iou_threshold_, std::min(capacity_, candidates_[label]));
    return nms->keep(box);
  }

 private:
  double iou_threshold_;
  std::int64_t capacity_;
  std::vector<std::int64_t> candidates_;  // of each class
  std::vector<std::optional<GreedyNms<T>>> classes_;
};

// Writes the detections and returns how many they are. Decodes a block at a time: most candidates are never reached.
template <class Storage, class T = Accumulator<Storage>>
std::int64_t keep_best(const Candidates<T>& candidates, const Regions<Storage>& regions,
                       const DecodeParameters<T>& decoding, T min_size, ClasswiseNms<T>& nms,
                       const DetectionRows<T>& output) {
  constexpr std::int64_t kBlock = 64;
  geometry::Deltas<T> deltas[kBlock];
  geometry::Box<T> proposals[kBlock], boxes[kBlock];
  const std::int64_t n = candidates.scores.size();
  std::vector<std::uint32_t> order(n);
  descending_order(candidates.scores.data(), n, order.data());
  std::int64_t count = 0;
  for (std::int64_t begin = 0; begin < n && count < output.capacity; begin += kBlock) {
    const std::int64_t size = std::min(kBlock, n - begin);
    for (std::int64_t k = 0; k < size; ++k) {
      const std::uint32_t position = candidates.positions[order[begin + k]];
      deltas[k] = regions.deltas_of(position);
      proposals[k] = regions.proposals[position / regions.columns];
    }
    decode(deltas, proposals, size, 1, decoding, boxes);
    for (std::int64_t k = 0; k < size && count < output.capacity; ++k) {
      const geometry::Box<T>& box = boxes[k];
      const std::uint32_t candidate = order[begin + k], position = candidates.positions[candidate];
      const std::uint32_t label = position % regions.columns;
      const bool large_enough = box.x2 - box.x1 >= min_size && box.y2 - box.y1 >= min_size;
      if (!large_enough || !nms.keep(label, box)) continue;
      output.boxes[count] = box;
      output.scores[count] = candidates.scores[candidate];
      output.labels[count] = label;
      output.rows[count] = position / regions.columns;
      ++count;
    }
  }
  output.clear_from(count);
  return count;
}

// All of the images' candidates, in parts that share the regions of an image between threads.
template <class Storage, class T = Accumulator<Storage>>
class CandidateParts {
 public:
  CandidateParts(const Context& context, const TensorView& logits, const std::vector<std::int64_t>& counts,
                 const ScoreRule<T>& rule) {
    const std::int64_t images = logits.shape[0], regions = logits.shape[1], columns = logits.shape[2];
    per_image_ = (regions + kRegions - 1) / kRegions;
    parts_.resize(images * per_image_);
    // Half a nanosecond a logit, more or less as many regions are background.
    parallel_for(limit_threads(context, logits.numel() / 2), images * per_image_, [&](std::int64_t task) {
      const std::int64_t image = task / per_image_, begin = task % per_image_ * kRegions;
      const Storage* of_image = logits.as<const Storage>() + image * regions * columns;
      parts_[task] = find_candidates(of_image, begin, std::min(begin + kRegions, counts[image]), columns, rule);
    });
  }

  Candidates<T> of(std::int64_t image) const {
    Candidates<T> all;
    for (std::int64_t k = image * per_image_; k < (image + 1) * per_image_; ++k) {
      all.scores.insert(all.scores.end(), parts_[k].scores.begin(), parts_[k].scores.end());
      all.positions.insert(all.positions.end(), parts_[k].positions.begin(), parts_[k].positions.end());
    }
    return all;
  }

 private:
  static constexpr std::int64_t kRegions = 256;

  std::int64_t per_image_;
  std::vector<Candidates<T>> parts_;
};

std::vector<std::int64_t> checked_counts(const TensorView& counts, std::int64_t images, std::int64_t regions) {
  if (!counts.defined()) return std::vector<std::int64_t>(images, regions);
  const auto* count = counts.as<const std::int64_t>();
  for (std::int64_t image = 0; image < images; ++image) {
    check(count[image] >= 0 && count[image] <= regions, "select_detections: counts must lie in 0..", regions, "; got ",
          count[image], " for image ", image);
  }
  return {count, count + images};
}

// A class clearly below the threshold is told by its logit: its score is at most the exponential of its lead over the
// background's. The slack is far more than the roundings of both.
template <class T>
ScoreRule<T> score_rule(double score_threshold) {
  constexpr double kSlack = 1e-4;
  const T threshold = static_cast<T>(score_threshold);
  return {threshold, static_cast<T>(std::log(std::max<double>(threshold, 0)) - kSlack)};
}

constexpr std::int64_t kDetectionNanoseconds = 300;  // to sort, decode and test those that lead to one, of a hundred

}  // namespace

void select_detections(const Context& context, const TensorView& logits, const TensorView& deltas,
                       const TensorView& proposals, const TensorView& counts, const TensorView& image_sizes,
                       double score_threshold, double nms_iou, double min_size, const std::array<double, 4>& weights,
                       double max_log_size, const TensorView& boxes, const TensorView& scores, const TensorView& labels,
                       const TensorView& rows, const TensorView& found, const TensorView&) {
  check_select_detections(logits, deltas, proposals, counts, image_sizes, nms_iou, boxes, scores, labels, rows, found);
  const std::int64_t images = logits.shape[0], regions = logits.shape[1], columns = logits.shape[2];
  const std::int64_t capacity = boxes.shape[1], width = deltas.shape[2];
  const std::vector<std::int64_t> real = checked_counts(counts, images, regions);
  dispatch_storage("select_detections", "logits", logits.dtype, [&](auto tag) {
    using Storage = typename decltype(tag)::type;
    using T = Accumulator<Storage>;
    const CandidateParts<Storage> parts(context, logits, real, score_rule<T>(score_threshold));
    const geometry::BoxCoding<T> coding{{T(weights[0]), T(weights[1]), T(weights[2]), T(weights[3])}, T(max_log_size)};
    parallel_for(limit_threads(context, images * capacity * kDetectionNanoseconds), images, [&](std::int64_t image) {
      const Candidates<T> candidates = parts.of(image);
      const Regions<Storage> inputs{deltas.as<const Storage>() + image * regions * width,
                                    proposals.as<const geometry::Box<T>>() + image * regions,
                                    static_cast<std::uint32_t>(columns), width == 4};
      const auto* size = image_sizes.as<const std::int64_t>() + 2 * image;
      const std::int64_t first = image * capacity;
      const DetectionRows<T> output{boxes.as<geometry::Box<T>>() + first, scores.as<T>() + first,
                                    labels.as<std::int64_t>() + first, rows.as<std::int64_t>() + first, capacity};
      ClasswiseNms<T> nms(nms_iou, capacity, candidates.positions, columns);
      found.as<std::int64_t>()[image] =
          keep_best(candidates, inputs, {coding, true, T(size[1]), T(size[0])}, T(min_size), nms, output);
    });
  });
}

}  // namespace fastmrcnn::cpu
