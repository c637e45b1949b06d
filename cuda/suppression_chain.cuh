// The serial part of segmented NMS: a block that walks over the words of a segment and decides 64 boxes at a time.
// segmented_nms.cu tells how the parts fit.
#pragma once

#include <cstdint>

#include "segmented_nms.cuh"
#include "warp.cuh"

namespace fastmrcnn::cuda {

using Word = unsigned long long;  // a bit for each of 64 consecutive boxes; what atomicOr takes

constexpr int kWord = 64;
constexpr int kBand = 64;  // words

__host__ __device__ inline std::int64_t words_of(std::int64_t places) {
  return (places + kWord - 1) / kWord;
}

__device__ inline Word bit(int k) {
  return Word{1} << k;
}

// The bits from `begin` up to before `end`, both in 0..64.
__device__ inline Word bits_between(int begin, int end) {
  const Word below_end = end >= kWord ? ~Word{0} : bit(end) - 1;
  return begin >= kWord ? Word{0} : below_end & ~(bit(begin) - 1);
}

__device__ inline Word ballot(bool low, bool high) {
  return Word{__ballot_sync(kAllLanes, low)} | Word{__ballot_sync(kAllLanes, high)} << 32;
}

// Where the overlaps of 64 boxes with the word `distance` before them lie.
__device__ inline std::int64_t tile_of(std::int64_t word, int distance, int reach) {
  return (word * reach + distance) * kWord;
}

// What a block of `resolve` works on: the segments that begin in the word `home`, and of those the words of one band.
struct Chain {
  const Segments& segments;
  const Word* __restrict__ overlaps;
  int reach;
  std::int64_t home, first;  // words
  int words;                 // of this band, which go on without a gap

  __device__ bool owns(std::int64_t place) const {
    return segments.holds_box(place) && segments.begin_of(place) / kWord == home;
  }

  __device__ Word overlap(int word, int distance, int box) const {
    return overlaps[tile_of(first + word, distance, reach) + box];
  }

  // By all threads of the block. Of the first word any place may be the chain's, of the others the first one is.
  __device__ void count_words(bool first_band) {
    const bool begins = first_band && __syncthreads_or(threadIdx.x < kWord && owns(home * kWord + threadIdx.x));
    const int from = first_band ? 1 : 0, word = threadIdx.x;
    words = begins + __syncthreads_count(word >= from && word < kBand && owns((first + word) * kWord));
  }
};

constexpr int kHelpers = 16;  // warps
constexpr int kResolveThreads = kWarp * (kHelpers + 1);

struct Progress {  // shared by the warps of a block
  Word kept[kBand];
  Word far[2];  // boxes of even and of odd words that overlap one kept two words before or earlier
};

// One of the warps that look two words and more back. Each takes every kHelpers-th distance, a lane two boxes.
class Helper {
 public:
  __device__ Helper(const Chain& chain, int warp, int lane) : chain_(chain), warp_(warp), lane_(lane) {}

  __device__ void fetch(int word) {
#pragma unroll
    for (int k = 0; k < kShare; ++k) {
      const int distance = distance_of(k);
      const bool there = word < chain_.words && distance <= word;
      low_[k] = there ? chain_.overlap(word, distance, lane_) : 0;
      high_[k] = there ? chain_.overlap(word, distance, lane_ + 32) : 0;
    }
  }

  // Of the word that was fetched.
  __device__ void find_overlapped(int word, Progress& progress) const {
    Word low = 0, high = 0;
#pragma unroll
    for (int k = 0; k < kShare; ++k) {
      if (word >= chain_.words || distance_of(k) > word) break;
      const Word kept = progress.kept[word - distance_of(k)];
      low |= low_[k] & kept;
      high |= high_[k] & kept;
    }
    const Word overlapped = ballot(low != 0, high != 0);
    if (lane_ == 0 && overlapped != 0) atomicOr(&progress.far[word % 2], overlapped);
  }

 private:
  static constexpr int kShare = (kBand - 2 + kHelpers - 1) / kHelpers;

  __device__ int distance_of(int k) const { return 2 + warp_ + k * kHelpers; }

  const Chain& chain_;
  int warp_, lane_;
  Word low_[kShare], high_[kShare];
};

// The warp that decides.
class Resolver {
 public:
  __device__ Resolver(const Chain& chain, const Word* dropped, int lane, std::int64_t limit, std::int64_t count)
      : chain_(chain), dropped_(dropped), lane_(lane), limit_(limit), count_(count) {}

  __device__ void fetch(int word) {
    const bool there = word < chain_.words;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int box = lane_ + 32 * half;
      mine_[half] = there && chain_.owns((chain_.first + word) * kWord + box);
      own_[half] = there ? chain_.overlap(word, 0, box) : 0;
      near_[half] = there && word > 0 ? chain_.overlap(word, 1, box) : 0;
    }
    gone_ = there && dropped_ != nullptr ? dropped_[chain_.first + word] : 0;
  }

  // Decides the word that was fetched and fetches the next.
  __device__ void resolve(int word, Progress& progress, std::uint8_t* keep) {
    const Word far = progress.far[word % 2];
    __syncwarp();
    if (lane_ == 0) progress.far[word % 2] = 0;
    const bool mine[2] = {mine_[0], mine_[1]};
    const Word own[2] = {own_[0], own_[1]};
    const Word gone = gone_ | far | ballot((near_[0] & previous_) != 0, (near_[1] & previous_) != 0);
    fetch(word + 1);

    const Word all = ballot(mine[0], mine[1]);
    Word kept = decide(own, all & ~gone);
    if (limit_ < chain_.segments.room) kept = limited(word, kept, all);
    if (lane_ == 0) progress.kept[word] = kept;
    previous_ = kept;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int box = lane_ + 32 * half;
      if (kept >> box & 1) keep[(chain_.first + word) * kWord + box] = 1;
    }
  }

  // Kept so far of the segment that goes on; known where there is a limit.
  __device__ std::int64_t count() const { return count_; }

  __device__ bool is_full() const { return count_ >= limit_; }

 private:
  // Each round decides at least the first box that is left: nothing undecided is before it.
  __device__ Word decide(const Word (&overlaps)[2], Word undecided) const {
    Word kept = 0;
    while (undecided != 0) {
      const Word keeps = undecided & ballot((overlaps[0] & undecided) == 0, (overlaps[1] & undecided) == 0);
      kept |= keeps;
      undecided &= ~(keeps | ballot((overlaps[0] & keeps) != 0, (overlaps[1] & keeps) != 0));
    }
    return kept;
  }

  // Without the boxes beyond the limit of their segment.
  __device__ Word limited(int word, Word kept, Word all) {
    const std::int64_t first = (chain_.first + word) * kWord;
    bool within[2] = {};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int box = lane_ + 32 * half;
      if (all >> box & 1) within[half] = kept_before(kept, box, first) < limit_;
    }
    const int last = 63 - __clzll(static_cast<long long>(all));
    const std::int64_t count = kept_before(kept, last, first) + (kept >> last & 1);
    count_ = count;
    return kept & ballot(within[0], within[1]);
  }

  // How many of its segment are kept before a box of the word that begins at `first`.
  __device__ std::int64_t kept_before(Word kept, int box, std::int64_t first) const {
    const std::int64_t begin = chain_.segments.begin_of(first + box) - first;
    return begin < 0 ? count_ + __popcll(kept & bits_between(0, box))
                     : __popcll(kept & bits_between(static_cast<int>(begin), box));
  }

  const Chain& chain_;
  const Word* dropped_;
  int lane_;
  std::int64_t limit_, count_;
  bool mine_[2];
  Word own_[2], near_[2], gone_, previous_ = 0;
};

}  // namespace fastmrcnn::cuda
