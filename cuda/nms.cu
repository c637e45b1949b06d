// NMS: sort by group and score, suppress within the groups (segmented_nms.cu), collect what is kept in order of score.
//
// The sort is CUB's radix sort of 32-bit keys that carry an index: one launch for some thousands of boxes, else a
// histogram and a pass a byte. float64 scores take two, so do the int64 groups. Besides these, and the two launches or
// more of the suppression, each sort has one that makes its keys, one gathers the boxes in order and a last one, of one
// block, collects 8,192 boxes a microsecond; groups take three more. Each moves some tens of bytes a box. Predicted on
// an H200 after the sort, for 1,000 / 4,000 / 12,000 boxes: 12 / 28 / 101 us, most of it segmented_nms.
// Nothing is read back: Python trims `keep` to `count`. Deterministic; IoUs are computed in the dtype of the boxes.
#include "fastmrcnn/ops/nms.h"

#include <cub/block/block_scan.cuh>
#include <optional>

#include "fastmrcnn/dtype.h"
#include "launch.cuh"
#include "score_order.cuh"
#include "segmented_nms.cuh"
#include "workspace.cuh"

namespace fastmrcnn::cuda {
namespace {

using geometry::Box;

constexpr int kThreads = 256, kCollectThreads = 1024;

template <class T>
__global__ void gather_boxes(const Box<T>* __restrict__ boxes, const Keyed* __restrict__ order, std::int64_t n,
                             Box<T>* __restrict__ sorted) {
  const std::int64_t k = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (k < n) sorted[k] = boxes[index_of(order[k])];
}

// The same in the order of groups, with the group of each.
template <class T>
__global__ void gather_grouped(const Box<T>* __restrict__ boxes, const std::int64_t* __restrict__ groups,
                               const Keyed* __restrict__ order, const Keyed* __restrict__ ranks, std::int64_t n,
                               Box<T>* __restrict__ sorted, std::int64_t* __restrict__ sorted_groups) {
  const std::int64_t k = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (k >= n) return;
  const std::int64_t index = index_of(order[index_of(ranks[k])]);
  sorted[k] = boxes[index];
  sorted_groups[k] = groups[index];
}

__global__ void scatter_flags(const std::uint8_t* __restrict__ kept, const Keyed* __restrict__ ranks, std::int64_t n,
                              std::uint8_t* __restrict__ kept_rank) {
  const std::int64_t k = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (k < n) kept_rank[index_of(ranks[k])] = kept[k];
}

// One block: copies those of `order` that are flagged, in their order, and counts them. A thread looks at eight flags.
__global__ void __launch_bounds__(kCollectThreads)
    collect_flagged(const Keyed* __restrict__ order, const std::uint8_t* __restrict__ flags, std::int64_t n,
                    std::int64_t* __restrict__ keep, std::int64_t* __restrict__ count) {
  constexpr int kFlags = 8;
  using Scan = cub::BlockScan<int, kCollectThreads>;
  __shared__ typename Scan::TempStorage storage;
  std::int64_t before = 0;
  for (std::int64_t tile = 0; tile < n; tile += kCollectThreads * kFlags) {
    const std::int64_t first = tile + threadIdx.x * kFlags;
    unsigned long long own = 0;  // a byte each, 0 or 1
    if (first + kFlags <= n) {
      own = *reinterpret_cast<const unsigned long long*>(flags + first);
    } else {
      for (int k = 0; first + k < n; ++k) own |= static_cast<unsigned long long>(flags[first + k]) << 8 * k;
    }
    int place, total;
    Scan(storage).ExclusiveSum(__popcll(own), place, total);
#pragma unroll
    for (int k = 0; k < kFlags; ++k) {
      if (own >> 8 * k & 1) keep[before + place++] = index_of(order[first + k]);
    }
    before += total;
    __syncthreads();  // before the next scan
  }
  if (threadIdx.x == 0) *count = before;
}

template <class T>
struct Memory {
  KeyedSort by_score;
  std::optional<KeyedSort> by_group;
  Box<T>* sorted;
  std::int64_t* groups = nullptr;
  std::int32_t* begins = nullptr;
  std::uint8_t *kept, *kept_rank;
  SuppressionMemory suppression;

  Memory(Workspace& workspace, std::int64_t n, bool grouped)
      : by_score(workspace, n),
        sorted(workspace.take<Box<T>>(n)),
        kept(workspace.take<std::uint8_t>(n)),
        kept_rank(kept),
        suppression(workspace, n, n) {
    if (!grouped) return;
    by_group.emplace(workspace, n);
    groups = workspace.take<std::int64_t>(n);
    begins = workspace.take<std::int32_t>(n);
    kept_rank = workspace.take<std::uint8_t>(n);
  }
};

// The launches of one call, one after the other.
template <class T>
class Run {
 public:
  Run(const Context& context, const Memory<T>& memory, std::int64_t n)
      : context_(context), memory_(memory), n_(n), per_box_{blocks_for(n, kThreads), kThreads} {}

  void order_scores(const T* scores) const { memory_.by_score.by_score("nms", context_, scores); }

  void gather(const Box<T>* boxes, const std::int64_t* groups) const {
    if (groups == nullptr) {
      launch("nms", context_, gather_boxes<T>, per_box_, boxes, order(), n_, memory_.sorted);
      return;
    }
    memory_.by_group->by_group("nms", context_, groups, order());
    launch("nms", context_, gather_grouped<T>, per_box_, boxes, groups, order(), ranks(), n_, memory_.sorted,
           memory_.groups);
    find_begins("nms", context_, memory_.groups, n_, memory_.begins);
  }

  void suppress(double iou_threshold) const {
    segmented_nms<T>("nms", context_, memory_.sorted, {n_, n_, nullptr, memory_.begins}, iou_threshold, n_,
                     memory_.suppression, memory_.kept);
  }

  void collect(std::int64_t* keep, std::int64_t* count) const {
    if (memory_.by_group) {
      launch("nms", context_, scatter_flags, per_box_, memory_.kept, ranks(), n_, memory_.kept_rank);
    }
    launch("nms", context_, collect_flagged, {1, kCollectThreads}, order(), memory_.kept_rank, n_, keep, count);
  }

 private:
  const Keyed* order() const { return memory_.by_score.result(); }
  const Keyed* ranks() const { return memory_.by_group->result(); }

  const Context& context_;
  const Memory<T>& memory_;
  std::int64_t n_;
  LaunchShape per_box_;
};

}  // namespace

std::size_t nms_workspace(std::int64_t n, bool grouped, bool float64) {
  Workspace workspace;
  if (n > 0 && float64) Memory<double>(workspace, n, grouped);
  if (n > 0 && !float64) Memory<float>(workspace, n, grouped);
  return workspace.bytes();
}

void nms(const Context& context, const TensorView& boxes, const TensorView& scores, const TensorView& groups,
         double iou_threshold, const TensorView& keep, const TensorView& count, const TensorView& workspace) {
  check_nms(boxes, scores, groups, keep, count);
  const std::int64_t n = boxes.shape[0];
  check(n >> 31 == 0, "nms: boxes must be fewer than 2^31 on CUDA; got ", n);
  if (n == 0) {
    clear("nms", context, count.data, sizeof(std::int64_t));
    return;
  }
  dispatch_floating("nms", "boxes", boxes.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    Workspace parts("nms", workspace, nms_workspace(n, groups.defined(), sizeof(T) > 4));
    const Memory<T> memory(parts, n, groups.defined());
    const Run<T> run(context, memory, n);
    run.order_scores(scores.as<const T>());
    run.gather(boxes.as<const Box<T>>(), groups.defined() ? groups.as<const std::int64_t>() : nullptr);
    run.suppress(iou_threshold);
    run.collect(keep.as<std::int64_t>(), count.as<std::int64_t>());
  });
}

}  // namespace fastmrcnn::cuda
