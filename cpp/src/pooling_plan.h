// How a pooling operator shares out its work over a pyramid of feature maps, or over one: RoIs in the order of
// `order_rois`, tap tables that tasks share, and tasks that each own a part of one map.
//
// The plan knows RoIs and the shapes of maps, in the type T of the coordinates and weights. It does not know where or
// in what type features and pooled values are stored: that is the operator's.
#pragma once

#include <algorithm>
#include <vector>

#include "fastmrcnn/parallel.h"
#include "roi_order.h"
#include "tap_tables.h"

namespace fastmrcnn {

// What is common to the maps of a level. `Rule` makes the tables: geometry::Sampling<T> or geometry::Quantised<T>.
template <class Rule>
struct PooledLevel {
  PooledShape shape;
  Rule rule;
};

// As many threads as the work of pooling repays: some two nanoseconds a value and a microsecond a RoI.
inline Context limit_threads(const Context& context, const TensorView& pooled) {
  return limit_threads(context, 2 * pooled.numel() + 1000 * pooled.shape[0]);
}

template <class T, class Rule>
class PoolingPlan {
 public:
  // `levels` from fine to coarse, one more than the `borders` between them; `images` on each level.
  PoolingPlan(const char* op, const Context& context, std::int64_t images, std::vector<PooledLevel<Rule>> levels,
              const geometry::LevelBorders<T>& borders, const TensorView& rois)
      : context_(context),
        images_(images),
        levels_(std::move(levels)),
        rois_(rois.as<const geometry::Roi<T>>()),
        order_(order_rois(op, rois_, rois.shape[0], images, borders, scales())) {}

  // A pyramid of one level.
  PoolingPlan(const char* op, const Context& context, const TensorView& features, const TensorView& rois,
              const TensorView& pooled, const Rule& rule)
      : PoolingPlan(op, limit_threads(context, pooled), features.shape[0], {{pooled_shape(features, pooled), rule}}, {},
                    rois) {}

  const PooledShape& shape(std::int64_t level) const { return levels_[level].shape; }

  // Calls body(map, tables) in parallel for groups of RoIs.
  template <class Body>
  void over_groups(const Body& body) const {
    parallel_for(context_, group_count(), [&](std::int64_t g) { body(order_.groups[g].map, tables_of(g)); });
  }

  // Calls body(map, part, for_each_group) in parallel, once for every map, whether it has RoIs or not, and each of the
  // parts_of(level) parts of its features. for_each_group(work) calls work(tables) for the map's groups of RoIs, in
  // order.
  template <class PartsOf, class Body>
  void over_maps(const PartsOf& parts_of, const Body& body) const {
    const bool share = group_count() <= most_groups_shared();
    std::vector<TapTables<T>> shared(share ? group_count() : 0);
    if (share) parallel_for(context_, group_count(), [&](std::int64_t g) { shared[g] = tables_of(g); });
    const std::vector<PartOfMap> parts = split(parts_of);
    parallel_for(context_, static_cast<std::int64_t>(parts.size()), [&](std::int64_t task) {
      const PartOfMap& part = parts[task];
      body(part.map, part.part, [&](const auto& work) {
        for (std::int64_t g = part.begin; g < part.end; ++g) share ? work(shared[g]) : work(tables_of(g));
      });
    });
  }

 private:
  // One task of `over_maps`: groups [begin, end) on one part of their map.
  struct PartOfMap {
    MapIndex map;
    std::int64_t part, begin, end;
  };

  std::int64_t group_count() const { return static_cast<std::int64_t>(order_.groups.size()); }

  std::vector<double> scales() const {
    std::vector<double> scales;
    for (const PooledLevel<Rule>& level : levels_) scales.push_back(static_cast<double>(level.rule.spatial_scale));
    return scales;
  }

  TapTables<T> tables_of(std::int64_t g) const {
    const RoiGroup& group = order_.groups[g];
    const PooledLevel<Rule>& level = levels_[group.map.level];
    return {rois_, order_.rois.data() + group.begin, group.end - group.begin, level.shape, level.rule};
  }

  // Tables are built once for all parts of a map while those of the whole call fit this memory; beyond, which takes
  // tens of thousands of RoIs, each part builds its own, one group at a time. Bins of one axis do not overlap by more
  // than a few pixels, which bounds their taps together; those along y are held in both directions.
  std::int64_t most_groups_shared() const {
    constexpr std::int64_t kTableBytes = std::int64_t{1} << 28;
    std::int64_t most_taps = 0;
    for (const PooledLevel<Rule>& level : levels_) {
      const PooledShape& shape = level.shape;
      most_taps = std::max(most_taps, 3 * shape.height + shape.width + 8 * shape.bins_y + 4 * shape.bins_x);
    }
    return kTableBytes / (kRoisPerGroup * most_taps * static_cast<std::int64_t>(sizeof(T) + 4));
  }

  // Every part of every map, with the map's groups.
  template <class PartsOf>
  std::vector<PartOfMap> split(const PartsOf& parts_of) const {
    std::vector<PartOfMap> tasks;
    std::int64_t begin = 0, end = 0;
    for (std::int64_t level = 0; level < static_cast<std::int64_t>(levels_.size()); ++level) {
      const std::int64_t parts = parts_of(level);
      for (std::int64_t image = 0; image < images_; ++image, begin = end) {
        const MapIndex map{level, image};
        while (end < group_count() && order_.groups[end].map == map) ++end;
        for (std::int64_t part = 0; part < parts; ++part) tasks.push_back({map, part, begin, end});
      }
    }
    return tasks;
  }

  Context context_;
  std::int64_t images_;
  std::vector<PooledLevel<Rule>> levels_;
  const geometry::Roi<T>* rois_;
  RoiOrder order_;
};

template <class Value>
void fill_zero(const Context& context, Value* values, std::int64_t count) {
  constexpr std::int64_t kBlock = std::int64_t{1} << 16;
  parallel_for(context, (count + kBlock - 1) / kBlock, [&](std::int64_t block) {
    std::fill(values + block * kBlock, values + std::min(count, (block + 1) * kBlock), Value(0));
  });
}

}  // namespace fastmrcnn
