// The first kernel of generate_proposals: the best anchors of each level and image, decoded.
#pragma once

#include "fastmrcnn/geometry/sigmoid.h"
#include "leading_logits.cuh"

namespace fastmrcnn::cuda {
namespace {

constexpr int kMostLevels = 16;  // what a kernel's parameters have room for

using geometry::Box;

// What the head has on one level, for all images.
template <class Storage, class T = Accumulator<Storage>>
struct HeadLevel {
  LogitMap<typename FloatFormat<Storage>::Bits> logits;
  DeltaMap<Storage> deltas;
  const Box<T>* anchors;
};

template <class Storage>
struct Head {
  HeadLevel<Storage> levels[kMostLevels];
  int count;
};
static_assert(sizeof(Head<double>) < 3500, "parameters of a kernel have 4 KiB");

template <class T>
struct Rule {
  std::uint32_t pre_nms;
  geometry::BoxCoding<T> coding;
  T min_size, score_threshold;

  __device__ bool admits(const Box<T>& box) const { return box.x2 - box.x1 >= min_size && box.y2 - box.y1 >= min_size; }
};

// The candidates of a level and image lie in a segment of `room` places, the first of which they take; segments by
// image, then by level.
template <class Bits, class T>
struct Candidates {
  std::int64_t room;
  Box<T>* boxes;         // [segments, room]
  Bits* keys;            // [segments, room]
  std::int32_t* counts;  // [segments]
  std::uint8_t* keep;    // [segments, room]
  // What merge_levels works with: of those that are kept
  Bits* kept_keys;             // [segments, room]
  std::uint32_t* kept_places;  // [segments, room]
  // What does not fit into shared memory:
  Item<Bits>* items;  // [segments, 2, list_room]; null where all do

  __device__ ItemLists<Bits> lists(std::int64_t segment, Item<Bits>* nearby) const {
    const std::int64_t list = list_room<Bits>(room);
    if (items == nullptr) return {nearby, nullptr, nullptr, static_cast<unsigned>(list)};
    Item<Bits>* const far = items + segment * 2 * list;
    return {nearby, far, far + list, static_cast<unsigned>(list)};
  }
};

// Candidates that can be no proposal are dropped; the others keep their order. Returns how many they are.
template <class Storage, class T, class Bits>
__device__ unsigned decode_leading(const Item<Bits>* leading, unsigned count, const HeadLevel<Storage>& level,
                                   const DeltaMap<Storage>& deltas, const std::int64_t* image_size, const Rule<T>& rule,
                                   Box<T>* boxes, Bits* keys) {
  __shared__ typename BlockScan::TempStorage scan;
  constexpr auto order = FloatFormat<Storage>::order;
  const T height = T(image_size[0]), width = T(image_size[1]);
  unsigned written = 0;
  for (unsigned begin = 0; begin < count; begin += kSelectThreads) {
    Box<T> box;
    Bits key;
    unsigned valid = 0;
    if (begin + threadIdx.x < count) {
      const Item<Bits> item = leading[begin + threadIdx.x];
      const auto anchor = static_cast<std::uint32_t>(item);
      key = static_cast<Bits>(item >> 32);
      box = geometry::clip(geometry::decode(deltas.at(anchor), level.anchors[anchor], rule.coding), width, height);
      valid = !order.is_nan(key) && rule.admits(box) &&
              geometry::sigmoid(value_of_key<Storage>(key)) >= rule.score_threshold;
    }
    unsigned place, all;
    BlockScan(scan).ExclusiveSum(valid, place, all);
    if (valid) {
      boxes[written + place] = box;
      keys[written + place] = key;
    }
    written += all;
    __syncthreads();
  }
  return written;
}

// Grid: levels, images.
template <class Storage, class T = Accumulator<Storage>, class Bits = typename FloatFormat<Storage>::Bits>
__global__ void __launch_bounds__(kSelectThreads, 1)
    select_candidates(Head<Storage> head, const std::int64_t* __restrict__ image_sizes, Rule<T> rule,
                      Candidates<Bits, T> candidates) {
  __shared__ union {
    unsigned counts[kDigits];
    Item<Bits> items[kNearby<Bits>];
  } shared;
  const std::int64_t image = blockIdx.y, segment = image * head.count + blockIdx.x;
  const HeadLevel<Storage>& level = head.levels[blockIdx.x];
  const LevelItems<Storage> source{level.logits.of_image(image)};
  const unsigned count = min(rule.pre_nms, source.size());
  unsigned written = 0;
  if (count > 0) {
    const Item<Bits>* leading = find_leading(source, count, candidates.lists(segment, shared.items), shared.counts);
    written = decode_leading(leading, count, level, level.deltas.of_image(image), image_sizes + 2 * image, rule,
                             candidates.boxes + segment * candidates.room, candidates.keys + segment * candidates.room);
  }
  if (threadIdx.x == 0) candidates.counts[segment] = static_cast<std::int32_t>(written);
}

}  // namespace
}  // namespace fastmrcnn::cuda
