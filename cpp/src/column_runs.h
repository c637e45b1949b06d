// The pixels of an encoded mask in a range of columns, as runs of rows.
#pragma once

#include <cstdint>
#include <vector>

#include "fastmrcnn/ops/encoded_masks.h"

namespace fastmrcnn::cpu {

// One of the EncodedMasks.
struct EncodedObject {
  const geometry::Point* points;
  const std::int64_t *polygons_begin, *polygons_end;  // offsets into points, one more than there are polygons
  const std::int64_t *transitions_begin, *transitions_end;

  static EncodedObject of(const EncodedMasks& masks, std::int64_t g) {
    const auto* polygons = masks.polygons.as<const std::int64_t>();
    const auto* transitions = masks.transitions.as<const std::int64_t>();
    const auto* object_polygons = masks.object_polygons.as<const std::int64_t>();
    const auto* object_transitions = masks.object_transitions.as<const std::int64_t>();
    return {masks.points.as<const geometry::Point>(), polygons + object_polygons[g], polygons + object_polygons[g + 1],
            transitions + object_transitions[g], transitions + object_transitions[g + 1]};
  }

  bool has_polygons() const { return polygons_end > polygons_begin; }
};

// Rows [begin, end).
struct RowRun {
  std::int32_t begin, end;
};

class ColumnRuns {
 public:
  // Of the columns in `columns`, within an image of `height` rows.
  ColumnRuns(const EncodedObject& object, std::int64_t height, const geometry::ColumnSpan& columns);

  // Ascending, none empty, none overlapping; two may touch.
  const RowRun* begin(std::int64_t column) const { return runs_.data() + begin_[column - columns_.begin]; }
  const RowRun* end(std::int64_t column) const { return runs_.data() + begin_[column - columns_.begin + 1]; }

 private:
  // Rows at which polygons change the mask, grouped by column.
  struct Crossings {
    std::vector<std::int64_t> begin;
    std::vector<std::int64_t> keys;  // polygon << 32 | row
  };

  Crossings crossings_of(const EncodedObject& object) const;
  void append_polygon_runs(std::int64_t* key, std::int64_t* key_end);
  const std::int64_t* append_transition_runs(const std::int64_t* transition, const EncodedObject& object,
                                             std::int64_t column);
  void merge_from(std::size_t first);

  std::int64_t height_;
  geometry::ColumnSpan columns_;
  std::vector<std::int64_t> begin_;
  std::vector<RowRun> runs_;
};

}  // namespace fastmrcnn::cpu
