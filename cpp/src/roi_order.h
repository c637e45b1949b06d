// The order in which a pooling operator works through its RoIs.
#pragma once

#include <cstdint>
#include <vector>

#include "fastmrcnn/geometry/level.h"
#include "fastmrcnn/geometry/roi.h"

namespace fastmrcnn {

// One feature map of a batch of pyramids. A single map for each image is a pyramid of one level.
struct MapIndex {
  std::int64_t level, image;

  bool operator==(const MapIndex& other) const { return level == other.level && image == other.image; }
  bool operator!=(const MapIndex& other) const { return !(*this == other); }
};

// Consecutive RoIs of one map in the order of work.
struct RoiGroup {
  MapIndex map;
  std::int64_t begin, end;
};

constexpr std::int64_t kRoisPerGroup = 16;

// By level, by image, then by place, so that neighbours find each other's pixels in the cache. Depends on the RoIs
// alone, so that sums in this order are reproducible.
struct RoiOrder {
  std::vector<std::int64_t> rois;
  std::vector<RoiGroup> groups;  // of at most kRoisPerGroup
};

// `borders` assigns each RoI to its level; `scales` holds each level's feature-map pixels per image pixel.
// Throws when a batch index is not within [0, images): `roi_align: rois[3] has batch index 7; expected ...`.
template <class T>
RoiOrder order_rois(const char* op, const geometry::Roi<T>* rois, std::int64_t count, std::int64_t images,
                    const geometry::LevelBorders<T>& borders, const std::vector<double>& scales);

}  // namespace fastmrcnn
