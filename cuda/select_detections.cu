// Detections of a box head, for all images at once, in three launches that a CUDA graph can hold.
//
//   1. score_regions: half a warp a region computes its softmax, sixteen regions a block. The scores of the candidates
//      go to [B, C, P], the classes' columns made rows through shared memory; what is no candidate is -1.
//   2. keep_in_class: a block for each image and class collects its candidates, sorts them, and walks through them in
//      tiles of 32: a tile is decoded, tested against the boxes kept so far and against itself, and resolved by every
//      thread at once from 32 words. It ends when D are kept, since no class can have more detections than that. So the
//      work is P x min(P, D) overlaps a class however many candidates pass, never P^2 and never a matrix in memory.
//   3. rank_detections: each box kept by a class finds its rank in the image as the sum of its places in the sorted
//      lists of all classes, one binary search a lane, and goes to the row of that rank if it is among the first D.
//
// No candidate is dropped before NMS, nothing is counted by the host, and the order of a sum or of a list depends on
// nothing but the input: candidates arrive in any order, but their (score, proposal) are distinct and are sorted.
//
// Memory, B = 1, P = 1000, C = 90, D = 100, float32: logits 0.36 MB in, scores 0.36 MB out and in again (L2), deltas of
// candidates in sectors of 32 bytes (0.06 MB of 2000 candidates; all 90,000 at a threshold of zero are 2.9 MB), lists
// of 24 bytes a kept box: a microsecond of an H200's 4.3 TB/s. What counts is latency. Predicted: 3 us + 5 us + 3 us at
// the usual threshold of 0.05, where a class has some ten candidates; at zero, with 1000 candidates a class, 55 steps
// of sorting and up to 32 tiles, 3 us + 10 to 40 us + 5 us.
//
// Blocks of 256 threads; 4, 16 and 0 KB of shared memory (twice that in float64) and some 48, 40 and 32 registers, so
// that an H200 holds 792 blocks of the second kernel: eight images are one wave and take hardly longer than one.
// Accumulator: float32, float64 for float64. Deterministic, and to the bit the CPU's results in float32.
#include "fastmrcnn/ops/select_detections.h"

#include <algorithm>

#include "detection_nms.cuh"
#include "detection_order.cuh"
#include "detection_parts.cuh"
#include "detection_scores.cuh"
#include "fastmrcnn/dtype.h"
#include "fastmrcnn/round_down.h"
#include "launch.cuh"

namespace fastmrcnn::cuda {

std::size_t select_detections_workspace(std::int64_t images, std::int64_t regions, std::int64_t columns,
                                        std::int64_t detections, std::int64_t score_bytes) {
  Workspace workspace;
  const Sizes sizes{images, regions, columns, detections};
  if (score_bytes == sizeof(double)) {
    Parts<double>(workspace, sizes);
  } else {
    Parts<float>(workspace, sizes);
  }
  return workspace.bytes();
}

void select_detections(const Context& context, const TensorView& logits, const TensorView& deltas,
                       const TensorView& proposals, const TensorView& counts, const TensorView& image_sizes,
                       double score_threshold, double nms_iou, double min_size, const std::array<double, 4>& weights,
                       double max_log_size, const TensorView& boxes, const TensorView& scores, const TensorView& labels,
                       const TensorView& rows, const TensorView& found, const TensorView& memory) {
  const char* op = "select_detections";
  check_select_detections(logits, deltas, proposals, counts, image_sizes, nms_iou, boxes, scores, labels, rows, found);
  const Sizes sizes{logits.shape[0], logits.shape[1], logits.shape[2], boxes.shape[1]};
  if (sizes.images == 0) return;
  dispatch_storage(op, "logits", logits.dtype, [&](auto tag) {
    using S = typename decltype(tag)::type;
    using T = Accumulator<S>;
    Workspace workspace(
        op, memory,
        select_detections_workspace(sizes.images, sizes.regions, sizes.columns, sizes.detections, sizeof(T)));
    const Parts<T> parts(workspace, sizes);
    const std::int64_t segments = sizes.images * sizes.classes();
    if (segments > 0 && sizes.regions > 0) {
      const std::int64_t blocks = sizes.images * ((sizes.regions + kScoredRegions - 1) / kScoredRegions);
      launch(op, context, score_regions<S>, {blocks_for(blocks, 1), {kSoftmaxLanes, kScoredRegions}},
             logits.as<const S>(), counts.defined() ? counts.as<const std::int64_t>() : nullptr, sizes,
             T(score_threshold), parts.scores);
    }
    if (segments > 0) {
      const geometry::BoxCoding<T> coding{{T(weights[0]), T(weights[1]), T(weights[2]), T(weights[3])},
                                          T(max_log_size)};
      const Regions<S> regions{deltas.as<const S>(), proposals.as<const Box<T>>(), image_sizes.as<const std::int64_t>(),
                               deltas.shape[2] == 4, coding};
      const DetectionRule<T> rule{round_down<T>(nms_iou), T(min_size)};
      launch(op, context, keep_in_class<S>, {blocks_for(segments, 1), kSuppressingWarps * kWarp}, regions, sizes, rule,
             parts);
    }
    // At least one, which writes the count.
    const std::int64_t places = std::max({sizes.classes() * sizes.capacity(), sizes.detections, std::int64_t{1}});
    launch(op, context, rank_detections<T>, {blocks_for(sizes.images * places, kRankingWarps), kRankingWarps * kWarp},
           sizes, places, parts,
           Detections<T>{boxes.as<Box<T>>(), scores.as<T>(), labels.as<std::int64_t>(), rows.as<std::int64_t>(),
                         found.as<std::int64_t>()});
  });
}

}  // namespace fastmrcnn::cuda
