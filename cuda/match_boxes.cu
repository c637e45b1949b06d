// Matching without an N x M matrix: a lane a box, a warp 32 neighbours, which cover a small part of the image.
// Thirty-two objects at a time are held against the box around them, one a lane; the few that may overlap are then
// tried one by one on all lanes. The IoUs, the order in which objects are tried and so every decision are the CPU's.
//
// Two launches behind a memset of `highest`. The first finds the highest IoU of each object: a maximum over the warp,
// one over the block in shared memory, then an integer atomic on its bits, whose result does not depend on the order.
// All objects' maxima lie in a few sectors, so their atomics queue: 3,500 of blocks for 20 objects (11,500 if each warp
// sent its own), 35,000 for 200. Blocks share out the objects, 32 each, for the anchors of the coarsest levels meet
// them all. The second finds the best object of each box and decides.
//
// Memory: each launch reads the boxes (coalesced; the first once for every 32 objects, from L2) and the objects through
// the L1 cache; the second writes 8 bytes a box. 268,569 boxes and 20 objects move 10.7 MB in both. Of these a warp of
// anchors meets one in thirteen, at some 200 cycles each, one after the other: the coarsest levels' warps decide how
// long it takes. Predicted on an H200: 4 us and 3 us for 20 objects; for 200, 20 us if a slice of L2 takes an atomic a
// clock, and 14 us. At most 40 registers in float32: full occupancy or nearly so. Deterministic; computed in the
// tensors' dtype.
#include "fastmrcnn/ops/match_boxes.h"

#include <algorithm>

#include "fastmrcnn/dtype.h"
#include "launch.cuh"
#include "warp.cuh"

namespace fastmrcnn::cuda {
namespace {

using geometry::Box;
using geometry::max_of;
using geometry::min_of;

constexpr int kThreads = 256;

// Objects or ignore regions.
template <class T>
struct Candidates {
  const Box<T>* boxes;
  unsigned count;  // < 2^31
};

// Unsigned numbers that ascend with floating-point numbers >= 0: their bits.
template <class T>
struct BitsOf;
template <>
struct BitsOf<float> {
  using type = unsigned;
};
template <>
struct BitsOf<double> {
  using type = unsigned long long;
};

// The box of a lane; behind the last of `count`, one that overlaps nothing and widens no bounds.
template <class T>
__device__ Box<T> box_or_none(const Box<T>* boxes, std::int64_t index, std::int64_t count) {
  constexpr T inf = static_cast<T>(__builtin_inff());
  return index < count ? boxes[index] : Box<T>{inf, inf, -inf, -inf};
}

// The box around all of the warp's. NaN coordinates are left out: their boxes overlap nothing.
template <class T>
__device__ Box<T> bounds_of_warp(const Box<T>& box) {
  constexpr T inf = static_cast<T>(__builtin_inff());
  return {-max_of_warp(max_of(-inf, -box.x1)), -max_of_warp(max_of(-inf, -box.y1)), max_of_warp(max_of(-inf, box.x2)),
          max_of_warp(max_of(-inf, box.y2))};
}

// Calls visit(k, box) on all lanes, for those of the candidates first + k, k = 0..31, in turn that may overlap a box
// inside of `bounds`.
template <class T, class Visit>
__device__ void visit_near(const Candidates<T>& candidates, unsigned first, const Box<T>& bounds, const Visit& visit) {
  const unsigned mine = first + threadIdx.x % kWarp;
  const bool is_near = mine < candidates.count && geometry::touches(candidates.boxes[mine], bounds);
  for (unsigned near = __ballot_sync(kAllLanes, is_near); near != 0; near &= near - 1) {
    const int k = __ffs(near) - 1;
    visit(k, candidates.boxes[first + k]);
  }
}

// `highest`: the bits of the objects' highest IoUs; comes with zeros. Grid: boxes, objects.
template <class T>
__global__ void __launch_bounds__(kThreads)
    find_highest_ious(const Box<T>* __restrict__ boxes, std::int64_t count, Candidates<T> objects,
                      typename BitsOf<T>::type* highest) {
  using Bits = typename BitsOf<T>::type;
  __shared__ Bits of_block[kWarp];
  const int thread = static_cast<int>(threadIdx.x);
  const Box<T> box = box_or_none(boxes, std::int64_t{blockIdx.x} * kThreads + thread, count);
  const Box<T> bounds = bounds_of_warp(box);
  const T area = geometry::area(box);
  for (unsigned first = blockIdx.y * kWarp; first < objects.count; first += gridDim.y * kWarp) {
    if (thread < kWarp) of_block[thread] = 0;
    __syncthreads();
    visit_near(objects, first, bounds, [&](int k, const Box<T>& object) {
      const T iou = geometry::iou(object, geometry::area(object), box, area);
      const T greatest = max_of_warp(iou > 0 ? iou : T(0));
      if (thread % kWarp == 0 && greatest > 0) atomicMax(&of_block[k], half_bits::bit_cast<Bits>(greatest));
    });
    __syncthreads();
    if (thread < kWarp && of_block[thread] != 0) atomicMax(&highest[first + thread], of_block[thread]);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    decide_matches(const Box<T>* __restrict__ boxes, std::int64_t count, Candidates<T> objects, Candidates<T> regions,
                   geometry::MatchRule<T> rule, bool every_object, const T* __restrict__ highest,
                   std::int64_t* __restrict__ matches) {
  const std::int64_t index = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const Box<T> box = box_or_none(boxes, index, count);
  const Box<T> bounds = bounds_of_warp(box);
  const T area = geometry::area(box);

  T best_iou = 0;  // without any overlap, with the first object as with all others
  std::int64_t best_object = 0;
  bool is_claimed = false;
  for (unsigned begin = 0; begin < objects.count; begin += kWarp) {
    visit_near(objects, begin, bounds, [&](int k, const Box<T>& object) {
      const T iou = geometry::iou(object, geometry::area(object), box, area);
      if (iou > best_iou) best_object = begin + k;
      best_iou = max_of(best_iou, iou);  // NaN in the second argument is ignored
      is_claimed |= iou > 0 && iou == highest[begin + k];
    });
  }
  bool is_covered = false;
  for (unsigned begin = 0; begin < regions.count; begin += kWarp) {
    visit_near(regions, begin, bounds, [&](int, const Box<T>& region) {
      is_covered |= geometry::covered_share(box, area, region) >= rule.ignore_overlap;
    });
  }

  std::int64_t match = geometry::match_by_iou(best_iou, best_object, rule);
  if (match == geometry::kBackground && is_covered) match = geometry::kIgnored;
  if (every_object && is_claimed) match = best_object;
  if (index < count) matches[index] = match;
}

template <class T>
Candidates<T> candidates_of(const TensorView& tensor) {
  return {tensor.as<const Box<T>>(), tensor.defined() ? static_cast<unsigned>(tensor.shape[0]) : 0};
}

}  // namespace

void match_boxes(const Context& context, const TensorView& objects, const TensorView& boxes,
                 const TensorView& ignore_regions, double foreground, double background, double ignore_overlap,
                 bool every_object, const TensorView& highest, const TensorView& matches) {
  constexpr const char* op = "match_boxes";
  const MatchThresholds thresholds{foreground, background, ignore_overlap};
  check_match_boxes(objects, boxes, ignore_regions, thresholds, highest, matches);
  dispatch_floating(op, "boxes", boxes.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const std::int64_t count = boxes.shape[0];
    const Candidates<T> tried = candidates_of<T>(objects);
    if (tried.count > 0) clear(op, context, highest.data, sizeof(T) * tried.count);
    if (count == 0) return;
    const unsigned blocks = all_blocks(op, (count + kThreads - 1) / kThreads);
    const auto* box = boxes.as<const Box<T>>();
    if (tried.count > 0) {
      constexpr unsigned kMostShares = 16;
      const unsigned shares = std::min(kMostShares, blocks_for(tried.count, kWarp));
      launch(op, context, find_highest_ious<T>, {{blocks, shares}, kThreads}, box, count, tried,
             highest.as<typename BitsOf<T>::type>());
    }
    launch(op, context, decide_matches<T>, {blocks, kThreads}, box, count, tried, candidates_of<T>(ignore_regions),
           match_rule<T>(thresholds, tried.count), every_object, highest.as<const T>(), matches.as<std::int64_t>());
  });
}

}  // namespace fastmrcnn::cuda
