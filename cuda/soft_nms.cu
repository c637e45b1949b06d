// Soft-NMS: sort by group, select in each group one box after the other, sort what was selected by its decayed score.
//
// A block of 512 threads serves the groups that begin among 64 boxes, mostly one. For every box that it selects each
// thread decays the scores of its own share of the others and finds the best of them; the best of all is found by
// shuffles and one barrier. That order is the algorithm's: n boxes take n rounds, each of ceil(n / 512) boxes a thread.
// Predicted on an H200: 0.4 us a round for up to some thousand boxes, so 0.4 ms for 1,000 in one group; groups run side
// by side. Boxes and scores, 20 bytes a box and round, come from L1. The sorts and the three launches of one thread a
// box add some 20 us. Deterministic; computed in the dtype of the boxes. Nothing is read back.
#include "fastmrcnn/ops/soft_nms.h"

#include <optional>

#include "fastmrcnn/dtype.h"
#include "fastmrcnn/geometry/box.h"
#include "fastmrcnn/geometry/exponential.h"
#include "fastmrcnn/round_down.h"
#include "launch.cuh"
#include "score_order.cuh"
#include "warp.cuh"
#include "workspace.cuh"

namespace fastmrcnn::cuda {
namespace {

using geometry::Box;

constexpr int kThreads = 256, kSelectThreads = 512, kWarps = kSelectThreads / kWarp, kWindow = 64;

template <class T>
struct Rule {
  bool linear;
  T least_iou;             // the score decays where the IoU is greater than this,
  T exponent;              // by exp(exponent * IoU^2), or if linear by 1 - IoU
  double score_threshold;  // not negative

  __device__ bool remains(T score) const { return static_cast<double>(score) >= score_threshold; }

  __device__ T decay(T iou) const {
    if (!(iou > least_iou)) return T(1);
    return linear ? geometry::max_of(T(0), 1 - iou) : geometry::exponential(exponent * (iou * iou));
  }
};

template <class T>
Rule<T> rule_for(const SoftNmsOptions& options) {
  const bool linear = options.method == SoftNmsMethod::linear;
  return {linear, linear ? round_down<T>(options.iou_threshold) : T(0), static_cast<T>(-1 / options.sigma),
          options.score_threshold};
}

template <class T>
constexpr T kGone = T(-INFINITY);  // the score of a box that is no longer there; none that remains has it

// The boxes in the order of their groups.
template <class T>
struct Grouped {
  Box<T>* boxes;
  T* scores;  // decayed so far
  std::int32_t* indices;
  std::int64_t* groups;  // null: one group
  std::int32_t* begins;  // likewise

  Grouped(Workspace& workspace, std::int64_t n, bool grouped)
      : boxes(workspace.take<Box<T>>(n)),
        scores(workspace.take<T>(n)),
        indices(workspace.take<std::int32_t>(n)),
        groups(grouped ? workspace.take<std::int64_t>(n) : nullptr),
        begins(grouped ? workspace.take<std::int32_t>(n) : nullptr) {}

  __device__ std::int64_t begin_of(std::int64_t place) const { return begins == nullptr ? 0 : begins[place]; }
};

template <class T>
__global__ void gather(const Box<T>* __restrict__ boxes, const T* __restrict__ scores,
                       const std::int64_t* __restrict__ groups, const Keyed* __restrict__ order, std::int64_t n,
                       Grouped<T> grouped, T* __restrict__ decayed) {
  const std::int64_t k = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (k >= n) return;
  const std::int64_t index = order == nullptr ? k : index_of(order[k]);
  grouped.boxes[k] = boxes[index];
  grouped.scores[k] = scores[index];
  grouped.indices[k] = static_cast<std::int32_t>(index);
  if (grouped.groups != nullptr) grouped.groups[k] = groups[index];
  decayed[k] = kGone<T>;
}

template <class T>
struct Best {
  T score = kGone<T>;
  int place = 0;

  // Of equal scores that of the lower place, which has the lower index.
  __device__ void take(T other_score, int other_place) {
    if (other_score > score || (other_score == score && other_place < place)) {
      score = other_score;
      place = other_place;
    }
  }

  template <int kLanes>
  __device__ void take_lanes() {
#pragma unroll
    for (int distance = kLanes / 2; distance > 0; distance /= 2) {
      take(__shfl_xor_sync(kAllLanes, score, distance), __shfl_xor_sync(kAllLanes, place, distance));
    }
  }
};

// The best of all threads' boxes, known to all of them. Two sets of partial results take turns: one barrier serves.
template <class T>
__device__ Best<T> best_of_block(Best<T> best, T (&scores)[kWarps], int (&places)[kWarps]) {
  best.template take_lanes<kWarp>();
  if (threadIdx.x % kWarp == 0) {
    scores[threadIdx.x / kWarp] = best.score;
    places[threadIdx.x / kWarp] = best.place;
  }
  __syncthreads();
  const int warp = threadIdx.x % kWarps;
  best = {scores[warp], places[warp]};
  best.template take_lanes<kWarps>();
  return best;
}

// Decays by the selected box the scores of the boxes from `begin` to before `end` that are this thread's. The best
// left.
template <class T>
__device__ Best<T> decay_own(const Grouped<T>& grouped, int begin, int end, const Box<T>& selected,
                             const Rule<T>& rule) {
  const T area = geometry::area(selected);
  Best<T> best;
  for (int k = begin + static_cast<int>(threadIdx.x); k < end; k += kSelectThreads) {
    const T score = grouped.scores[k];
    if (!rule.remains(score)) continue;
    const Box<T> box = grouped.boxes[k];
    const T left = score * rule.decay(geometry::iou(selected, area, box, geometry::area(box)));
    grouped.scores[k] = left;
    best.take(left, k);
  }
  return best;
}

// Scores of the boxes that are selected go to `decayed`, by index.
template <class T>
__global__ void __launch_bounds__(kSelectThreads, 1)
    select_softly(Grouped<T> grouped, int n, Rule<T> rule, T* __restrict__ decayed) {
  __shared__ T scores[2][kWarps];
  __shared__ int places[2][kWarps];
  const int window = static_cast<int>(blockIdx.x) * kWindow, thread = static_cast<int>(threadIdx.x);
  const int in_window = min(kWindow, n - window);
  // The first boxes may belong to a group that begins in a window before.
  int begin = window + __syncthreads_count(thread < in_window && grouped.begin_of(window + thread) < window);
  int turn = 0;
  while (begin < window + in_window) {
    int end = begin, more = kSelectThreads;
    while (more == kSelectThreads) {
      more = __syncthreads_count(end + thread < n && grouped.begin_of(end + thread) == begin);
      end += more;
    }
    Best<T> best = decay_own(grouped, begin, end, Box<T>{}, rule);  // by an empty box, which touches nothing
    for (;; turn ^= 1) {
      best = best_of_block(best, scores[turn], places[turn]);
      if (!rule.remains(best.score)) break;
      if ((best.place - begin) % kSelectThreads == thread) {  // whose share it is in
        decayed[grouped.indices[best.place]] = best.score;
        grouped.scores[best.place] = kGone<T>;
      }
      best = decay_own(grouped, begin, end, grouped.boxes[best.place], rule);
    }
    turn ^= 1;
    begin = end;
  }
}

// What was selected comes first in `order`.
template <class T>
__global__ void list_selected(const T* __restrict__ decayed_of, const Keyed* __restrict__ order, std::int64_t n,
                              std::int64_t* __restrict__ keep, T* __restrict__ decayed,
                              std::int64_t* __restrict__ count) {
  const std::int64_t k = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (k > n) return;
  const bool selected = k < n && decayed_of[index_of(order[k])] != kGone<T>;
  if (selected) {
    keep[k] = index_of(order[k]);
    decayed[k] = decayed_of[index_of(order[k])];
  } else if (k == 0 || decayed_of[index_of(order[k - 1])] != kGone<T>) {
    *count = k;
  }
}

template <class T>
struct Memory {
  Grouped<T> grouped;
  std::optional<KeyedSort> by_group;
  KeyedSort by_score;
  T* decayed;

  Memory(Workspace& workspace, std::int64_t n, bool with_groups)
      : grouped(workspace, n, with_groups), by_score(workspace, n), decayed(workspace.take<T>(n)) {
    if (with_groups) by_group.emplace(workspace, n);
  }
};

}  // namespace

std::size_t soft_nms_workspace(std::int64_t n, bool grouped, bool float64) {
  Workspace workspace;
  if (n > 0 && float64) Memory<double>(workspace, n, grouped);
  if (n > 0 && !float64) Memory<float>(workspace, n, grouped);
  return workspace.bytes();
}

void soft_nms(const Context& context, const TensorView& boxes, const TensorView& scores, const TensorView& groups,
              const std::string& method, double sigma, double iou_threshold, double score_threshold,
              const TensorView& keep, const TensorView& decayed, const TensorView& count, const TensorView& workspace) {
  const char* const op = "soft_nms";
  check_soft_nms(boxes, scores, groups, keep, decayed, count);
  const SoftNmsOptions options = soft_nms_options(method, sigma, iou_threshold, score_threshold);
  const std::int64_t n = boxes.shape[0];
  check(n >> 31 == 0, op, ": boxes must be fewer than 2^31 on CUDA; got ", n);
  if (n == 0) {
    clear(op, context, count.data, sizeof(std::int64_t));
    return;
  }
  dispatch_floating(op, "boxes", boxes.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    Workspace parts(op, workspace, soft_nms_workspace(n, groups.defined(), sizeof(T) > sizeof(float)));
    const Memory<T> memory(parts, n, groups.defined());
    const auto* group = groups.defined() ? groups.as<const std::int64_t>() : nullptr;
    const Keyed* order = nullptr;
    if (memory.by_group) {
      memory.by_group->by_group(op, context, group, nullptr);
      order = memory.by_group->result();
    }
    launch(op, context, gather<T>, {blocks_for(n, kThreads), kThreads}, boxes.as<const Box<T>>(), scores.as<const T>(),
           group, order, n, memory.grouped, memory.decayed);
    if (memory.by_group) find_begins(op, context, memory.grouped.groups, n, memory.grouped.begins);
    launch(op, context, select_softly<T>, {blocks_for(n, kWindow), kSelectThreads}, memory.grouped, n,
           rule_for<T>(options), memory.decayed);
    memory.by_score.by_score(op, context, memory.decayed);
    launch(op, context, list_selected<T>, {blocks_for(n + 1, kThreads), kThreads}, memory.decayed,
           memory.by_score.result(), n, keep.as<std::int64_t>(), decayed.as<T>(), count.as<std::int64_t>());
  });
}

}  // namespace fastmrcnn::cuda
