// The k greatest logits of one image and level, in order, by one block.
//
// One pass over all logits collects those within a limit that a sample suggests. The limit need not be right: where it
// lets through fewer than k, or more than there is room for, an exact one is found by a radix select over all logits,
// and a second pass collects. Limits hold keys and anchors, so that they tell equal logits apart, and logits that are
// all alike or close together take no other path. What is collected comes in any order and is then sorted:
// deterministic.
#pragma once

#include <cub/block/block_scan.cuh>
#include <type_traits>

#include "block_sort.cuh"
#include "fastmrcnn/float_format.h"
#include "fastmrcnn/head_maps.h"

namespace fastmrcnn::cuda {
namespace {

constexpr int kSelectThreads = 1024;

using BlockScan = cub::BlockScan<unsigned, kSelectThreads>;

// A logit's key in geometry::FloatOrder and, in the lower 32 bits, its anchor: ascends where logits descend, among
// equal ones with the anchors.
template <class Bits>
using Item = std::conditional_t<sizeof(Bits) <= 4, unsigned long long, unsigned __int128>;

template <class Bits>
constexpr int kItemBits = 8 * sizeof(Bits) + 32;

template <class Bits>
constexpr Item<Bits> kLastItem = Item<Bits>(~Item<Bits>(0)) >> (8 * sizeof(Item<Bits>) - kItemBits<Bits>);

// Items are sorted in shared memory: 32 KiB.
template <class Bits>
constexpr int kItemsEach = 32 / sizeof(Item<Bits>);

template <class Bits>
constexpr unsigned kNearby = kSelectThreads * kItemsEach<Bits>;

// The logits of one image and level as items.
template <class Storage>
struct LevelItems {
  using Bits = typename FloatFormat<Storage>::Bits;

  LogitMap<Bits> logits;

  __device__ std::uint32_t size() const { return static_cast<std::uint32_t>(logits.size()); }

  __device__ Bits key(Bits bits) const {
    constexpr auto order = FloatFormat<Storage>::order;
    return order.key(bits);
  }

  __device__ Item<Bits> item(Bits key, std::uint32_t position) const {
    return Item<Bits>(key) << 32 | logits.anchor_at(position);
  }

  __device__ Item<Bits> at(std::uint32_t position) const { return item(key(logits.at(position)), position); }
};

// Some of them, spread evenly.
template <class Storage>
struct Sample {
  const LevelItems<Storage>& items;
  std::uint32_t step;

  __device__ Sample(const LevelItems<Storage>& all, std::uint32_t size) : items(all), step(all.size() / size) {}

  __device__ std::uint32_t size() const { return items.size() / step; }

  __device__ auto at(std::uint32_t n) const {
    const std::uint32_t random = n * 2654435769u >> 8;  // steps without jitter might meet one anchor of the cells only
    return items.at(n * step + random % step);
  }
};

constexpr int kDigitBits = 12, kDigits = 1 << kDigitBits;
constexpr int kDigitsEach = kDigits / kSelectThreads;

// How often each digit, of the bits from `shift` on, occurs among the items from `low` up to low + span. Ends with a
// barrier.
template <class Source, class Item>
__device__ void count_digits(const Source& source, Item low, Item span, int shift, unsigned* counts) {
  __syncthreads();
  for (int digit = threadIdx.x; digit < kDigits; digit += kSelectThreads) counts[digit] = 0;
  __syncthreads();
  for (std::uint32_t n = threadIdx.x; n < source.size(); n += kSelectThreads) {
    const Item above = source.at(n) - low;
    if (above <= span) atomicAdd(&counts[static_cast<unsigned>(above >> shift)], 1u);
  }
  __syncthreads();
}

struct DigitOfRank {
  unsigned digit;
  unsigned before, inside;  // how many items have a lower digit, and this one
};

// That of the k-th item, counted from 1.
__device__ inline DigitOfRank digit_of_rank(const unsigned* counts, unsigned k) {
  __shared__ typename BlockScan::TempStorage scan;
  __shared__ DigitOfRank found;
  unsigned each[kDigitsEach], before[kDigitsEach];
#pragma unroll
  for (int j = 0; j < kDigitsEach; ++j) each[j] = counts[threadIdx.x * kDigitsEach + j];
  BlockScan(scan).ExclusiveSum(each, before);
#pragma unroll
  for (int j = 0; j < kDigitsEach; ++j) {
    if (before[j] < k && k <= before[j] + each[j]) found = {threadIdx.x * kDigitsEach + j, before[j], each[j]};
  }
  __syncthreads();
  return found;
}

// A limit within which are at least k and at most `most` items. 1 <= k <= source.size(), k <= most.
template <class Bits, class Source>
__device__ Item<Bits> find_limit(const Source& source, unsigned k, unsigned most, unsigned* counts) {
  Item<Bits> low = 0, span = kLastItem<Bits>;
  unsigned before = 0;
  int shift = kItemBits<Bits>;
  DigitOfRank found;
  do {
    shift = max(shift - kDigitBits, 0);
    count_digits(source, low, span, shift, counts);
    found = digit_of_rank(counts, k - before);
    before += found.before;
    low += Item<Bits>(found.digit) << shift;
    span = (Item<Bits>(1) << shift) - 1;
  } while (before + found.inside > most && shift > 0);  // at the last digit no two are alike
  return low + span;
}

// Writes the items within the limit, in any order and as far as there is room. Returns how many they are. `read` gives
// the bits at a position; kTogether reads are on their way at a time.
template <int kTogether, class Storage, class Item, class Read>
__device__ unsigned collect(const LevelItems<Storage>& source, Item limit, Item* items, unsigned room,
                            const Read& read) {
  using Bits = typename FloatFormat<Storage>::Bits;
  __shared__ unsigned count;
  __syncthreads();
  if (threadIdx.x == 0) count = 0;
  __syncthreads();
  const std::uint32_t size = source.size();
  const auto last_key = static_cast<Bits>(limit >> 32);
  for (std::uint64_t begin = 0; begin < size; begin += kTogether * kSelectThreads) {
    Bits bits[kTogether];
    const auto first = static_cast<std::uint32_t>(begin + threadIdx.x);
#pragma unroll
    for (int j = 0; j < kTogether; ++j) {
      if (first + j * kSelectThreads < size) bits[j] = read(first + j * kSelectThreads);
    }
#pragma unroll
    for (int j = 0; j < kTogether; ++j) {
      const std::uint32_t position = first + j * kSelectThreads;
      Item item = 0;
      bool within = position < size && source.key(bits[j]) <= last_key;
      if (within) {
        item = source.item(source.key(bits[j]), position);
        within = item <= limit;
      }
      const unsigned lanes = __ballot_sync(kAllLanes, within);
      if (lanes == 0) continue;
      unsigned place = 0;
      if (threadIdx.x % 32 == 0) place = atomicAdd(&count, static_cast<unsigned>(__popc(lanes)));
      place = __shfl_sync(kAllLanes, place, 0) + __popc(lanes & ((1u << threadIdx.x % 32) - 1));
      if (within && place < room) items[place] = item;
    }
  }
  __syncthreads();
  return count;
}

template <class Storage, class Item>
__device__ unsigned collect(const LevelItems<Storage>& source, Item limit, Item* items, unsigned room) {
  using Bits = typename FloatFormat<Storage>::Bits;
  const Bits* dense = source.logits.dense();
  if (dense != nullptr) return collect<8>(source, limit, items, room, [=](std::uint32_t k) { return dense[k]; });
  return collect<1>(source, limit, items, room, [&](std::uint32_t k) { return source.logits.at(k); });
}

// Memory for the items of a block.
template <class Bits>
struct ItemLists {
  Item<Bits>* nearby;        // shared, room for kNearby
  Item<Bits>*items, *spare;  // global, room for `room` each; null where `nearby` suffices
  unsigned room;
};

// How many items a block collects: twice what it looks for.
template <class Bits>
__host__ __device__ std::int64_t list_room(std::int64_t most) {
  return 2 * most <= kNearby<Bits> ? kNearby<Bits> : 2 * most;
}

// The first k items in order, 1 <= k <= source.size(). `counts`: shared, room for kDigits, and may be that of `nearby`.
template <class Storage, class Bits>
__device__ const Item<Bits>* find_leading(const LevelItems<Storage>& source, unsigned k, const ItemLists<Bits>& lists,
                                          unsigned* counts) {
  Item<Bits>* items = lists.items != nullptr ? lists.items : lists.nearby;
  Item<Bits> limit = kLastItem<Bits>;
  if (source.size() > lists.room) {
    const Sample<Storage> sample(source, kNearby<Bits>);
    const float expected =
        static_cast<float>(k) * static_cast<float>(sample.size()) / static_cast<float>(source.size());
    const auto rank = static_cast<unsigned>(expected + 3 * sqrtf(expected) + 2);
    limit = find_limit<Bits>(sample, rank, rank + rank / 8, counts);
  }
  unsigned found = collect(source, limit, items, lists.room);
  if (found < k || found > lists.room) {
    limit = find_limit<Bits>(source, k, lists.room, counts);
    found = collect(source, limit, items, lists.room);
  }
  if (lists.items != nullptr) {
    return sort_anywhere<kSelectThreads, kItemsEach<Bits>>(lists.items, lists.spare, found, lists.nearby);
  }
  sort_nearby<kSelectThreads, kItemsEach<Bits>>(lists.nearby, found);
  return lists.nearby;
}

}  // namespace
}  // namespace fastmrcnn::cuda
