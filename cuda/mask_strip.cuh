// Outlines drawn as bits in shared memory, a strip of an image's columns at a time.
//
// Where an outline crosses a column its bit is flipped; a running exclusive or down the column then fills what lies
// inside, as pairs of sorted crossings do, without the sorting. A flip above the strip counts for its first row.
#pragma once

#include "fastmrcnn/ops/encoded_masks.h"

namespace fastmrcnn::cuda {

constexpr int kStripThreads = 128;
constexpr int kStripColumns = 32;
constexpr int kStripWords = 64;  // of 32 rows

struct IndexRange {
  std::int64_t begin, end;

  __device__ bool empty() const { return begin >= end; }
};

// The arrays of EncodedMasks. Nobody has looked at their values, so no index is believed.
struct EncodedArrays {
  const geometry::Point* points;
  const std::int64_t *polygons, *object_polygons, *transitions, *object_transitions;
  std::int64_t point_count, polygon_count, transition_count;

  static EncodedArrays of(const EncodedMasks& masks) {
    return {masks.points.as<const geometry::Point>(),
            masks.polygons.as<const std::int64_t>(),
            masks.object_polygons.as<const std::int64_t>(),
            masks.transitions.as<const std::int64_t>(),
            masks.object_transitions.as<const std::int64_t>(),
            masks.points.shape[0],
            masks.polygons.shape[0] - 1,
            masks.transitions.shape[0]};
  }

  __device__ IndexRange points_of(std::int64_t polygon) const { return range(polygons, polygon, point_count); }
  __device__ IndexRange polygons_of(std::int64_t object) const { return range(object_polygons, object, polygon_count); }
  __device__ IndexRange transitions_of(std::int64_t object) const {
    return range(object_transitions, object, transition_count);
  }

 private:
  __device__ static IndexRange range(const std::int64_t* offsets, std::int64_t k, std::int64_t count) {
    const auto held = [=](std::int64_t offset) {
      return geometry::max_of(std::int64_t{0}, geometry::min_of(offset, count));
    };
    return {held(offsets[k]), held(offsets[k + 1])};
  }
};

// At most kStripColumns columns and kStripWords * 32 rows of an image.
struct Strip {
  geometry::ColumnSpan columns;
  std::int64_t top, rows;

  __device__ int width() const { return static_cast<int>(columns.end - columns.begin); }
  __device__ int words() const { return static_cast<int>((rows + 31) / 32); }

  __host__ __device__ static std::int64_t count(std::int64_t height, std::int64_t width) {
    return (width + kStripColumns - 1) / kStripColumns * ((height + kStripWords * 32 - 1) / (kStripWords * 32));
  }

  __device__ static Strip of(std::int64_t k, std::int64_t height, std::int64_t width) {
    const std::int64_t across = (width + kStripColumns - 1) / kStripColumns;
    const std::int64_t left = k % across * kStripColumns, top = k / across * (kStripWords * 32);
    return {{left, geometry::min_of(left + kStripColumns, width)},
            top,
            geometry::min_of(height - top, std::int64_t{kStripWords * 32})};
  }
};

// All members are called by all threads of the block.
class StripBits {
 public:
  // No barrier needs to follow.
  __device__ void clear(const Strip& strip) {
    for (int k = threadIdx.x; k < strip.words() * kStripColumns; k += kStripThreads) {
      flips_[k / kStripColumns][k % kStripColumns] = 0;
      filled_[k / kStripColumns][k % kStripColumns] = 0;
    }
    __syncthreads();
  }

  // Adds a polygon of an image of `height` rows. `place` says where a point lies in it.
  template <class Place>
  __device__ void add_polygon(const EncodedArrays& masks, std::int64_t polygon, const Place& place, std::int64_t height,
                              const Strip& strip) {
    const IndexRange points = masks.points_of(polygon);
    bool drawable = true;
    for (std::int64_t v = points.begin + threadIdx.x; v < points.end; v += kStripThreads) {
      const geometry::Point from = place(masks.points[v]);
      const geometry::Point to = place(masks.points[v + 1 < points.end ? v + 1 : points.begin]);
      drawable = drawable && geometry::is_drawable(from);
      const auto edge = geometry::polygon_edge(geometry::to_subpixels(from), geometry::to_subpixels(to));
      const auto crossed = geometry::crossed_columns(edge, strip.columns);
      for (std::int64_t column = crossed.begin; column < crossed.end; ++column) {
        flip(strip, column, geometry::crossing_row(edge, column, height));
      }
    }
    const bool damaged = __syncthreads_or(!drawable);
    fill(strip, !damaged);
  }

  // Adds an object's run lengths.
  __device__ void add_transitions(const EncodedArrays& masks, std::int64_t object, std::int64_t height,
                                  const Strip& strip) {
    const IndexRange all = masks.transitions_of(object);
    if (all.empty()) return;
    if (threadIdx.x < strip.width()) {
      const std::int64_t column = strip.columns.begin + threadIdx.x, first = column * height;
      std::int64_t k = first_beyond(masks.transitions, all, first + strip.top);
      if ((k - all.begin) % 2 != 0) flip(strip, column, strip.top);
      for (; k < all.end && masks.transitions[k] < first + strip.top + strip.rows; ++k) {
        flip(strip, column, masks.transitions[k] - first);
      }
    }
    __syncthreads();
    fill(strip, true);
  }

  // 32 rows of a column of the strip.
  __device__ std::uint32_t word(int word, int column) const { return filled_[word][column]; }
  __device__ bool pixel(int row, int column) const { return filled_[row / 32][column] >> (row % 32) & 1; }

 private:
  __device__ void flip(const Strip& strip, std::int64_t column, std::int64_t row) {
    const std::int64_t k = geometry::max_of(row - strip.top, std::int64_t{0});
    if (k < strip.rows) atomicXor(&flips_[k / 32][column - strip.columns.begin], 1u << (k % 32));
  }

  // Takes the flips, and adds what lies between them if `keep`. The threads are in step afterwards.
  __device__ void fill(const Strip& strip, bool keep) {
    if (threadIdx.x < kStripColumns) {
      bool inside = false;
      for (int w = 0; w < strip.words(); ++w) {
        std::uint32_t word = flips_[w][threadIdx.x];
        flips_[w][threadIdx.x] = 0;
#pragma unroll
        for (int shift = 1; shift < 32; shift *= 2) word ^= word << shift;
        if (inside) word = ~word;
        inside = word >> 31;
        if (keep) filled_[w][threadIdx.x] |= word;
      }
    }
    __syncthreads();
  }

  __device__ static std::int64_t first_beyond(const std::int64_t* positions, IndexRange range, std::int64_t position) {
    while (range.begin < range.end) {
      const std::int64_t middle = (range.begin + range.end) / 2;
      if (positions[middle] <= position) {
        range.begin = middle + 1;
      } else {
        range.end = middle;
      }
    }
    return range.begin;
  }

  std::uint32_t flips_[kStripWords][kStripColumns];
  std::uint32_t filled_[kStripWords][kStripColumns];
};

}  // namespace fastmrcnn::cuda
