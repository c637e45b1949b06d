// The taps of a RoI's bins in shared memory: computed once by a block, used for all channels.
#pragma once

#include <algorithm>

#include "roi_align_call.cuh"

namespace fastmrcnn::cuda {

__device__ __forceinline__ int thread_of_block() {
  return static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x);
}
__device__ __forceinline__ int threads_of_block() {
  return static_cast<int>(blockDim.x * blockDim.y);
}

// Room for the taps of so many bins, whatever the RoI: neighbouring bins share two pixels of a side, or a few where
// coordinates are so large that positions round.
struct TableShape {
  std::int32_t rows, columns;  // of bins
  std::int32_t y_taps, x_taps;

  template <class S>
  static TableShape of(const RoiAlignCall<S>& call, std::int32_t rows) {
    std::int32_t height = 0, width = 0;
    for (int level = 0; level < call.level_count; ++level) {
      height = std::max(height, call.levels[level].height);
      width = std::max(width, call.levels[level].width);
    }
    constexpr std::int32_t kShared = 4;
    return {rows, call.bins_x, height + kShared * rows, width + kShared * call.bins_x};
  }

  // With weights in T.
  template <class T>
  std::size_t bytes() const {
    const std::size_t taps = std::size_t(y_taps) + x_taps, bins = std::size_t(rows) + columns;
    return taps * (sizeof(T) + sizeof(std::int32_t)) + 3 * bins * sizeof(std::int32_t);
  }
};

// The pixels that a bin averages along one axis, ascending, with their weights.
template <class T>
struct BinTaps {
  const std::int32_t* pixels;
  const T* weights;
  int count;
};

template <class T>
class TapTables {
 public:
  // In `memory` of shape.bytes<T>(), aligned for T.
  __device__ TapTables(void* memory, const TableShape& shape)
      : shape_(shape),
        weights_(static_cast<T*>(memory)),
        pixels_(reinterpret_cast<std::int32_t*>(weights_ + shape.y_taps + shape.x_taps)),
        begins_(pixels_ + shape.y_taps + shape.x_taps),
        ends_(begins_ + bins()),
        counts_(ends_ + bins()) {}

  // With the taps of one RoI, rows from bin `first_row` on; by all threads of the block, which are in step afterwards.
  // At first every bin has an equal share of the table, so that threads need not know of each other's bins. Where that
  // is too little, as for a RoI that is much larger than its map, bins are packed.
  template <class S>
  __device__ void fill(const RoiAlignCall<S>& call, const geometry::Roi<T>& roi, const RoiPlace& place,
                       std::int32_t first_row) const {
    const FeatureMaps<S>& level = call.levels[place.level];
    for (bool packed = false;; packed = true) {
      bool fits = true;
      for (int k = thread_of_block(); k < bins(); k += threads_of_block()) {
        const bool vertical = k < shape_.rows;
        const int first = vertical ? 0 : shape_.rows;
        const int area = vertical ? 0 : shape_.y_taps, taps = vertical ? shape_.y_taps : shape_.x_taps;
        const int share = taps / (vertical ? shape_.rows : shape_.columns);
        int begin = area + (k - first) * share;
        if (packed) {
          begin = area;
          for (int i = first; i < k; ++i) begin += counts_[i];
        }
        const int room = packed ? max(area + taps - begin, 0) : share;
        const std::int32_t bin = vertical ? first_row + k : k - first;
        const int count =
            store(axis_of(call, roi, place, vertical), bin, vertical ? level.height : level.width, begin, room);
        begins_[k] = begin;
        ends_[k] = begin + min(count, room);
        if (!packed) counts_[k] = count;
        fits = fits && count <= room;
      }
      if (__syncthreads_and(fits) || packed) return;
    }
  }

  __device__ BinTaps<T> row(int k) const { return of(k); }
  __device__ BinTaps<T> column(int k) const { return of(shape_.rows + k); }

 private:
  __device__ int bins() const { return shape_.rows + shape_.columns; }

  __device__ BinTaps<T> of(int k) const {
    const int begin = begins_[k];
    return {pixels_ + begin, weights_ + begin, ends_[k] - begin};
  }

  // As many taps as there is room for; returns how many there are.
  __device__ int store(const geometry::AxisBins<T>& axis, std::int32_t bin, std::int32_t size, int begin,
                       int room) const {
    int count = 0;
    geometry::for_each_tap(axis, bin, size, {0, size}, [&](std::int32_t pixel, T weight) {
      if (count < room) {
        pixels_[begin + count] = pixel;
        weights_[begin + count] = weight;
      }
      ++count;
    });
    return count;
  }

  const TableShape& shape_;
  T* const weights_;
  std::int32_t* const pixels_;
  std::int32_t *const begins_, *const ends_, *const counts_;
};

// Sums in double precision take twice the registers.
template <class T>
constexpr int kBlocksPerSm = sizeof(T) == 4 ? 4 : 2;

// What an empty sum is: nothing, or NaN where the RoI is of no image.
template <class T>
__device__ T start_of(const RoiPlace& place) {
  return place.image < 0 ? T(NAN) : T(0);
}

}  // namespace fastmrcnn::cuda
