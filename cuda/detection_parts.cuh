// What the three kernels of select_detections share.
#pragma once

#include <cstdint>

#include "fastmrcnn/geometry/box.h"
#include "ranked.cuh"
#include "warp.cuh"
#include "workspace.cuh"

namespace fastmrcnn::cuda {
namespace {

using geometry::Box;

struct Sizes {
  std::int64_t images, regions, columns, detections;

  __host__ __device__ std::int64_t classes() const { return columns - 1; }
  // Boxes that a class can keep.
  __host__ __device__ std::int64_t capacity() const { return regions < detections ? regions : detections; }
};

// What the launches hand on.
template <class T>
struct Parts {
  T* scores;              // [B, C, P]
  Ranked<T>* kept;        // [B, C, capacity] in order
  Box<T>* boxes;          // [B, C, capacity]
  std::uint32_t* counts;  // [B, C], of the kept
  Ranked<T>* sorted;      // [B, C, room of P], where shared memory has no room for the candidates of a class

  Parts(Workspace& workspace, const Sizes& sizes) {
    const std::int64_t segments = sizes.images * sizes.classes(), regions = sizes.regions;
    scores = workspace.take<T>(segments * regions);
    kept = workspace.take<Ranked<T>>(segments * sizes.capacity());
    boxes = workspace.take<Box<T>>(segments * sizes.capacity());
    counts = workspace.take<std::uint32_t>(segments);
    sorted = workspace.take<Ranked<T>>(regions <= kNearby ? 0 : segments * sorting_room(regions));
  }

  static constexpr std::uint32_t kNearby = 2048;
};

__device__ std::int64_t count_of(const std::int64_t* counts, std::int64_t image, std::int64_t regions) {
  if (counts == nullptr) return regions;
  return geometry::max_of<std::int64_t>(geometry::min_of(counts[image], regions), 0);
}

}  // namespace
}  // namespace fastmrcnn::cuda
