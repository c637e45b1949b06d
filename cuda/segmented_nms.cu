// Greedy suppression of boxes in segments.
//
// Places are cut into words of 64. `overlaps` holds, for each box, one bit for every earlier box of its segment whose
// IoU with it exceeds the threshold: word by word, going back from the box's own (distance 0).
//   1. find_overlaps: one block of 64 threads for a word of boxes and a distance; a thread tests its box against 64
//      boxes in shared memory. All pairs of the whole GPU at once, without a division for most.
//   2. resolve: one block for the segments that begin in a word; mostly one. It walks over their words. One warp
//      decides a word's 64 boxes together: a box whose overlapping predecessors are all dropped is kept, one with a
//      kept predecessor is dropped, and so on until none is left, which takes as many rounds as the longest chain of
//      overlaps (two or three, at most 64) of four ballots each. Meanwhile the other warps find which boxes of the next
//      word overlap those kept up to the word before, and fetch the overlaps of the one after. One barrier a word.
// Beyond a band of 4,096 boxes (64 words) a single multiprocessor could not read the overlaps in time, and all of them
// would be N^2 / 8 bytes. So overlaps reach back to the beginning of the band, and between two bands
//   3. drop_overlapped tests the boxes behind a band against those kept in it, on the whole GPU.
// Launches: 2 for rooms of up to 4,096 boxes, 2 more for each further band.
//
// Limits on an H200: step 1 and 3 do N^2 / 2 pairs of about 16 issue slots: 0.2 / 4 / 37 us for 1,000 / 4,000 / 12,000
// boxes of which nothing is suppressed. Step 2 writes and reads N^2 / 8 bytes, at most 512 a box (6 MB for 12,000,
// which L2 holds), and takes about 0.25 us a word: 4 / 16 / 47 us. Predicted with 2 us a launch: 8 / 24 / 96 us.
// Segments are resolved side by side. No atomics but on words of dropped boxes, where the order does not matter:
// deterministic. IoUs are computed in the dtype of the boxes.
#include "segmented_nms.cuh"

#include <algorithm>

#include "fastmrcnn/geometry/suppression.h"
#include "fastmrcnn/round_down.h"
#include "launch.cuh"
#include "suppression_chain.cuh"

namespace fastmrcnn::cuda {
namespace {

using geometry::Box;
using geometry::Suppression;

// A box with what the pre-test demands of an overlap on its behalf: infinity for one that overlaps nothing.
template <class T>
struct alignas(4 * sizeof(T)) Row {
  Box<T> box;
  T share;
};

template <class T>
__device__ Row<T> row_of(const Box<T>& box, const Suppression<T>& rule) {
  const T area = geometry::area(box);
  return {box, geometry::takes_part(box, area) ? rule.share(area) : T(INFINITY)};
}

// Of boxes that take part, which hold no NaN: the instructions for a minimum and a maximum serve, at half the cost of
// comparing and selecting.
template <class T>
__device__ bool may_exceed(const Row<T>& a, const Row<T>& b) {
  const T width = fmin(a.box.x2, b.box.x2) - fmax(a.box.x1, b.box.x1);
  const T height = fmin(a.box.y2, b.box.y2) - fmax(a.box.y1, b.box.y1);
  return fmax(width, T(0)) * height > a.share + b.share;
}

// Which of the rows `among` have an IoU with `own` that exceeds the threshold.
template <class T>
__device__ Word exceeding(const Row<T>* rows, const Row<T>& own, Word among, const Suppression<T>& rule) {
  constexpr int kStep = 16;
  Word candidates = 0;
  for (int begin = 0; begin < kWord; begin += kStep) {
    if ((among >> begin & ((1 << kStep) - 1)) == 0) continue;
    unsigned found = 0;
#pragma unroll
    for (int k = 0; k < kStep; ++k) found |= static_cast<unsigned>(may_exceed(rows[begin + k], own)) << k;
    candidates |= Word{found} << begin;
  }
  Word exceeds = 0;
  for (candidates = rule.has_shares() ? candidates & among : among; candidates != 0; candidates &= candidates - 1) {
    const int k = __ffsll(candidates) - 1;
    if (rule.exceeds(rows[k].box, own.box)) exceeds |= bit(k);
  }
  return exceeds;
}

// Also sets up `keep` and `dropped`. Boxes without a bit to find in a tile that others have a bit in get zeros.
template <class T>
__global__ void __launch_bounds__(kWord)
    find_overlaps(const Box<T>* __restrict__ boxes, Segments segments, Suppression<T> rule, int reach,
                  Word* __restrict__ overlaps, Word* __restrict__ dropped, std::uint8_t* __restrict__ keep) {
  __shared__ Row<T> rows[kWord];
  const std::int64_t word = blockIdx.x, place = word * kWord + threadIdx.x;
  const int distance = blockIdx.y;
  if (distance == 0 && place < segments.places) keep[place] = 0;
  if (distance == 0 && threadIdx.x == 0) dropped[word] = 0;

  const bool held = segments.holds_box(place);
  const std::int64_t begin = held ? segments.begin_of(place) : 0;
  const bool reaches = held && distance <= (word - begin / kWord) % kBand;
  if (!__syncthreads_or(reaches)) return;

  const std::int64_t first = (word - distance) * kWord, other = first + threadIdx.x;
  rows[threadIdx.x] = segments.holds_box(other) ? row_of(boxes[other], rule) : Row<T>{};
  __syncthreads();
  Word found = 0;
  if (reaches) {
    const int from = begin > first ? static_cast<int>(begin - first) : 0;
    const int to = distance == 0 ? static_cast<int>(threadIdx.x) : kWord;
    found = exceeding(rows, row_of(boxes[place], rule), bits_between(from, to), rule);
  }
  overlaps[tile_of(word, distance, reach) + threadIdx.x] = found;
}

__global__ void __launch_bounds__(kResolveThreads, 1)
    resolve(Segments segments, const Word* __restrict__ overlaps, int reach, int band, const Word* __restrict__ dropped,
            std::int64_t limit, std::int64_t* __restrict__ counts, std::uint8_t* __restrict__ keep) {
  __shared__ Progress progress;
  const std::int64_t home = blockIdx.x;
  Chain chain{segments, overlaps, reach, home, home + std::int64_t{band} * kBand, 0};
  chain.count_words(band == 0);
  const std::int64_t count = band == 0 || chain.words == 0 ? 0 : counts[home];
  if (chain.words == 0 || count >= limit) return;
  if (threadIdx.x < 2) progress.far[threadIdx.x] = 0;

  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  Helper helper(chain, warp, lane);
  Resolver resolver(chain, band == 0 ? nullptr : dropped, lane, limit, count);
  const bool helps = warp < kHelpers;
  if (!helps) resolver.fetch(0);
  if (helps) helper.fetch(1);
  __syncthreads();
  for (int word = 0; word < chain.words; ++word) {
    if (helps) {
      helper.find_overlapped(word + 1, progress);
      helper.fetch(word + 2);
    } else {
      resolver.resolve(word, progress, keep);
    }
    if (__syncthreads_or(!helps && resolver.is_full())) break;
  }
  if (threadIdx.x == kWarp * kHelpers && counts != nullptr) counts[home] = resolver.count();
}

// A block for 64 boxes behind the band and 64 of the band.
template <class T>
__global__ void __launch_bounds__(kWord)
    drop_overlapped(const Box<T>* __restrict__ boxes, Segments segments, Suppression<T> rule, int band,
                    std::int64_t limit, const std::int64_t* __restrict__ counts, const std::uint8_t* __restrict__ keep,
                    Word* __restrict__ dropped) {
  __shared__ Row<T> rows[kWord];
  __shared__ unsigned kept_halves[2];
  __shared__ Word gone;
  const std::int64_t word = blockIdx.x, place = word * kWord + threadIdx.x;
  if (!segments.holds_box(word * kWord)) return;
  const std::int64_t begin = segments.begin_of(word * kWord), home = begin / kWord;
  const std::int64_t first = home + std::int64_t{band} * kBand;
  if (word < first + kBand || counts[home] >= limit) return;

  const std::int64_t other = (first + blockIdx.y) * kWord + threadIdx.x;
  const bool kept = other >= begin && keep[other] != 0;
  const unsigned half = __ballot_sync(kAllLanes, kept);
  if (threadIdx.x % kWarp == 0) kept_halves[threadIdx.x / kWarp] = half;
  if (threadIdx.x == 0) gone = atomicOr(&dropped[word], Word{0});  // of which other blocks write
  __syncthreads();
  const Word rows_kept = Word{kept_halves[0]} | Word{kept_halves[1]} << 32;
  if (kept) rows[__popcll(rows_kept & (bit(threadIdx.x) - 1))] = row_of(boxes[other], rule);
  const int count = __popcll(rows_kept);
  if (static_cast<int>(threadIdx.x) >= count) rows[threadIdx.x] = Row<T>{};
  __syncthreads();

  const bool mine = segments.holds_box(place) && segments.begin_of(place) == begin && !(gone >> threadIdx.x & 1);
  const bool drop = mine && exceeding(rows, row_of(boxes[place], rule), bits_between(0, count), rule) != 0;
  const unsigned drops = __ballot_sync(kAllLanes, drop);
  if (threadIdx.x % 32 == 0 && drops != 0) atomicOr(&dropped[word], Word{drops} << threadIdx.x);
}

// Words that a segment may reach over: it may begin inside of one.
std::int64_t longest(std::int64_t places, std::int64_t room) {
  return std::min(words_of(places), words_of(room) + 1);
}

}  // namespace

SuppressionMemory::SuppressionMemory(Workspace& workspace, std::int64_t places, std::int64_t room)
    : reach(static_cast<int>(std::min<std::int64_t>(longest(places, room), kBand))),
      overlaps(workspace.take<Word>(words_of(places) * reach * kWord)),
      dropped(workspace.take<Word>(words_of(places))),
      counts(workspace.take<std::int64_t>(words_of(places))) {}

template <class T>
void segmented_nms(const char* op, const Context& context, const Box<T>* boxes, const Segments& segments,
                   double iou_threshold, std::int64_t limit, const SuppressionMemory& memory, std::uint8_t* keep) {
  if (segments.places == 0) return;
  const Suppression<T> rule(round_down<T>(iou_threshold));
  const auto words = static_cast<unsigned>(words_of(segments.places));
  const auto reach = static_cast<unsigned>(memory.reach);
  launch(op, context, find_overlaps<T>, {{words, reach}, kWord}, boxes, segments, rule, memory.reach, memory.overlaps,
         memory.dropped, keep);
  const std::int64_t bands = (longest(segments.places, segments.room) + kBand - 1) / kBand;
  for (std::int64_t band = 0; band < bands; ++band) {
    launch(op, context, resolve, {words, kResolveThreads}, segments, memory.overlaps, memory.reach, band,
           memory.dropped, limit, memory.counts, keep);
    if (band + 1 == bands) break;
    launch(op, context, drop_overlapped<T>, {{words, kBand}, kWord}, boxes, segments, rule, band, limit, memory.counts,
           keep, memory.dropped);
  }
}

template void segmented_nms(const char*, const Context&, const Box<float>*, const Segments&, double, std::int64_t,
                            const SuppressionMemory&, std::uint8_t*);
template void segmented_nms(const char*, const Context&, const Box<double>*, const Segments&, double, std::int64_t,
                            const SuppressionMemory&, std::uint8_t*);

}  // namespace fastmrcnn::cuda
