// From a region proposal network's head to proposals in four launches, two of them NMS. Nothing is copied to the host.
//   1. select_candidates: a block of 1,024 threads for each level and image. It finds the best pre_nms logits
//      (leading_logits.cuh), decodes and clips these alone, drops what is too small or scores too low, and leaves the
//      others in order, one segment a block.
//   2, 3. segmented_nms.cuh.
//   4. merge_levels: a block for each image. What each level kept is in order, so the row of a proposal is its place on
//      its own level plus, by binary searches, the numbers of better ones on the others.
//
// Memory, for 2 x 268,569 anchors in float32: 2.1 MB of logits once, which the head's convolution has left in the L2
// cache, 32 bytes of deltas (a sector each in NCHW) and 16 of the anchor for 10,000 candidates: 1 MB. Time is latency:
// a multiprocessor draws some 90 GB/s, so that the 806 kB of the largest level take 9 us (half as long in 16 bits).
// More blocks a level would be faster there, but need two launches more and a reset of counters. Predicted on an H200:
// 9 us for the logits, 2 for the limit, 5 to sort 2,000 items, 3 to decode; 8 for NMS of 1,000 boxes; 6 to merge; 4
// launches: 40 us. 64 registers and 41 KiB of shared memory let a multiprocessor hold one block of 1,024 threads; there
// are fewer blocks than multiprocessors.
//
// Arithmetic in float32, float64 for float64, as the CPU's to the bit but for the library's exponential in float64 and
// in scores. Shared atomics count and hand out places, but the order comes from sorting: deterministic.
#include "fastmrcnn/ops/generate_proposals.h"

#include <algorithm>

#include "fastmrcnn/dtype.h"
#include "launch.cuh"
#include "proposal_merging.cuh"
#include "proposal_selection.cuh"
#include "segmented_nms.cuh"
#include "workspace.cuh"

namespace fastmrcnn::cuda {
namespace {

constexpr const char* kOp = "generate_proposals";

template <class Storage>
struct Memory {
  using T = Accumulator<Storage>;
  using Bits = typename FloatFormat<Storage>::Bits;

  Candidates<Bits, T> candidates;
  SuppressionMemory suppression;

  Memory(Workspace& workspace, std::int64_t segments, std::int64_t room)
      : suppression(workspace, segments * room, room) {
    const std::int64_t places = segments * room, far = list_room<Bits>(room);
    candidates.room = room;
    candidates.boxes = workspace.take<Box<T>>(places);
    candidates.keys = workspace.take<Bits>(places);
    candidates.counts = workspace.take<std::int32_t>(segments);
    candidates.keep = workspace.take<std::uint8_t>(places);
    candidates.kept_keys = workspace.take<Bits>(places);
    candidates.kept_places = workspace.take<std::uint32_t>(places);
    candidates.items = far > kNearby<Bits> ? workspace.take<Item<Bits>>(segments * 2 * far) : nullptr;
  }
};

template <class Storage>
std::size_t bytes_of(std::int64_t segments, std::int64_t room) {
  Workspace workspace;
  Memory<Storage>(workspace, segments, room);
  return workspace.bytes();
}

// What the kernels need beyond the contract: indices of 32 bits, a grid, the parameters' room.
void check_sizes(const std::vector<TensorView>& logits, std::int64_t segments, std::int64_t room) {
  check(logits.size() <= kMostLevels, kOp, ": on CUDA logits must be of at most ", kMostLevels, " levels; got ",
        logits.size());
  check(logits[0].shape[0] <= 0xffff, kOp, ": on CUDA logits must be of fewer than 65,536 images; got ",
        logits[0].shape[0]);
  for (const TensorView& level : logits) {
    check(level.shape[1] * level.shape[2] * level.shape[3] >> 31 == 0, kOp,
          ": on CUDA a level must have fewer than 2^31 anchors; got logits of ", shape_of(level));
  }
  check(segments * room >> 31 == 0, kOp,
        ": on CUDA the candidates of all levels and images must be fewer than 2^31; got ", segments * room);
}

std::int64_t room_of(const std::vector<TensorView>& logits, std::int64_t pre_nms) {
  std::int64_t largest = 0;
  for (const TensorView& level : logits) {
    largest = std::max(largest, level.shape[1] * level.shape[2] * level.shape[3]);
  }
  return std::min(pre_nms, largest);
}

}  // namespace

std::size_t generate_proposals_workspace(std::int64_t images, std::int64_t levels, std::int64_t most_candidates,
                                         std::int64_t logit_bytes) {
  const std::int64_t segments = images * levels;
  if (logit_bytes == 8) return bytes_of<double>(segments, most_candidates);
  return logit_bytes == 4 ? bytes_of<float>(segments, most_candidates) : bytes_of<Half>(segments, most_candidates);
}

void generate_proposals(const Context& context, const std::vector<TensorView>& logits,
                        const std::vector<TensorView>& deltas, const std::vector<TensorView>& anchors,
                        const TensorView& image_sizes, std::int64_t pre_nms, double nms_iou, double min_size,
                        double score_threshold, const std::array<double, 4>& weights, double max_log_size,
                        const TensorView& boxes, const TensorView& scores, const TensorView& counts,
                        const TensorView& workspace) {
  check_generate_proposals(logits, deltas, anchors, image_sizes, pre_nms, nms_iou, boxes, scores, counts);
  const auto levels = static_cast<int>(logits.size());
  const std::int64_t images = boxes.shape[0], capacity = boxes.shape[1];
  const std::int64_t segments = images * levels, room = room_of(logits, pre_nms);
  check_sizes(logits, segments, room);
  if (images == 0) return;
  dispatch_storage(kOp, "logits", logits[0].dtype, [&](auto tag) {
    using Storage = typename decltype(tag)::type;
    using T = Accumulator<Storage>;
    if (room == 0 || capacity == 0) {
      clear(kOp, context, boxes.data, boxes.numel() * sizeof(T));
      clear(kOp, context, scores.data, scores.numel() * sizeof(T));
      clear(kOp, context, counts.data, counts.numel() * sizeof(std::int64_t));
      return;
    }
    Workspace arena(kOp, workspace, bytes_of<Storage>(segments, room));
    const Memory<Storage> memory(arena, segments, room);
    Head<Storage> head{{}, levels};
    for (int level = 0; level < levels; ++level) {
      head.levels[level] = {LogitMap<typename FloatFormat<Storage>::Bits>(logits[level]),
                            DeltaMap<Storage>(deltas[level]), anchors[level].as<const Box<T>>()};
    }
    const Rule<T> rule{static_cast<std::uint32_t>(room),
                       {{T(weights[0]), T(weights[1]), T(weights[2]), T(weights[3])}, T(max_log_size)},
                       T(min_size),
                       T(score_threshold)};
    const auto grid_images = static_cast<unsigned>(images);
    launch(kOp, context, select_candidates<Storage>, {{static_cast<unsigned>(levels), grid_images}, kSelectThreads},
           head, image_sizes.as<const std::int64_t>(), rule, memory.candidates);
    segmented_nms(kOp, context, memory.candidates.boxes, {segments * room, room, memory.candidates.counts}, nms_iou,
                  capacity, memory.suppression, memory.candidates.keep);
    launch(kOp, context, merge_levels<Storage>, {grid_images, kSelectThreads}, levels, memory.candidates,
           Proposals<T>{boxes.as<Box<T>>(), scores.as<T>(), counts.as<std::int64_t>(), capacity});
  });
}

}  // namespace fastmrcnn::cuda
