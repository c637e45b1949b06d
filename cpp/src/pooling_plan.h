// How a pooling operator shares out its work: RoIs in the order of `order_rois`, tap tables in passes of bounded
// memory, and tasks that each own a part of one image's channels.
#pragma once

#include <algorithm>
#include <vector>

#include "fastmrcnn/parallel.h"
#include "tap_tables.h"

namespace fastmrcnn {

// `Rule` makes the tables: geometry::Sampling<T> or geometry::Quantised<T>.
template <class T, class Rule>
class PoolingPlan {
 public:
  PoolingPlan(const char* op, const Context& context, const TensorView& features, const TensorView& rois,
              const TensorView& pooled, const Rule& rule)
      : context_(context),
        shape_{features.shape[0], features.shape[2], features.shape[3], pooled.shape[2], pooled.shape[3]},
        rule_(rule),
        rois_(rois.as<const geometry::Roi<T>>()),
        order_(order_rois(op, rois_, rois.shape[0], shape_, static_cast<double>(rule.spatial_scale))) {}

  const PooledShape& shape() const { return shape_; }
  std::int64_t bins() const { return shape_.bins_y * shape_.bins_x; }
  std::int64_t plane_size() const { return shape_.height * shape_.width; }

  // Calls body(image, tables) in parallel for groups of RoIs.
  template <class Body>
  void over_groups(const Body& body) const {
    parallel_for(context_, group_count(), [&](std::int64_t g) { body(order_.groups[g].image, tables_of(g)); });
  }

  // Calls body(image, part, tables, count) in parallel for each image and each of `parts` parts of its channels;
  // `tables` are `count` groups of the image's RoIs, in order. May do so several times for the same image and part, one
  // after the other, with different RoIs.
  template <class Body>
  void over_images(std::int64_t parts, const Body& body) const {
    for (std::int64_t first = 0, last; first < group_count(); first = last) {
      last = std::min(group_count(), first + groups_per_pass());
      std::vector<TapTables<T>> tables(last - first);
      parallel_for(context_, last - first, [&](std::int64_t g) { tables[g] = tables_of(first + g); });
      const std::vector<std::int64_t> bounds = image_bounds(first, last);
      const std::int64_t images = static_cast<std::int64_t>(bounds.size()) - 1;
      parallel_for(context_, images * parts, [&](std::int64_t task) {
        const std::int64_t begin = bounds[task / parts], end = bounds[task / parts + 1];
        body(order_.groups[begin].image, task % parts, tables.data() + (begin - first), end - begin);
      });
    }
  }

  void fill_zero(T* values, std::int64_t count) const {
    constexpr std::int64_t kBlock = std::int64_t{1} << 16;
    parallel_for(context_, (count + kBlock - 1) / kBlock, [&](std::int64_t block) {
      std::fill(values + block * kBlock, values + std::min(count, (block + 1) * kBlock), T(0));
    });
  }

 private:
  std::int64_t group_count() const { return static_cast<std::int64_t>(order_.groups.size()); }

  TapTables<T> tables_of(std::int64_t g) const {
    const RoiGroup& group = order_.groups[g];
    return {rois_, order_.rois.data() + group.begin, group.end - group.begin, shape_, rule_};
  }

  // Bins of one axis do not overlap by more than a few pixels, which bounds their taps together.
  std::int64_t groups_per_pass() const {
    constexpr std::int64_t kTableBytes = std::int64_t{1} << 26;
    const std::int64_t most_taps = shape_.height + shape_.width + 4 * (shape_.bins_y + shape_.bins_x);
    const std::int64_t group_bytes = kRoisPerGroup * most_taps * static_cast<std::int64_t>(sizeof(T) + 4);
    return std::max<std::int64_t>(1, kTableBytes / group_bytes);
  }

  // Where the groups of one image end and those of the next begin within [first, last), both ends included.
  std::vector<std::int64_t> image_bounds(std::int64_t first, std::int64_t last) const {
    std::vector<std::int64_t> bounds{first};
    for (std::int64_t g = first + 1; g < last; ++g) {
      if (order_.groups[g].image != order_.groups[g - 1].image) bounds.push_back(g);
    }
    bounds.push_back(last);
    return bounds;
  }

  Context context_;
  PooledShape shape_;
  Rule rule_;
  const geometry::Roi<T>* rois_;
  RoiOrder order_;
};

}  // namespace fastmrcnn
