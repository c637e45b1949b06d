#include "column_runs.h"

#include <algorithm>

namespace fastmrcnn::cpu {
namespace {

struct PlacedEdge {
  geometry::PolygonEdge edge;
  geometry::ColumnSpan span;
  std::int64_t polygon;
};

// Those that cross a column of the range.
std::vector<PlacedEdge> edges_of(const EncodedObject& object, const geometry::ColumnSpan& columns) {
  std::vector<PlacedEdge> edges;
  for (const std::int64_t* polygon = object.polygons_begin; polygon < object.polygons_end; ++polygon) {
    const geometry::Point *first = object.points + polygon[0], *last = object.points + polygon[1];
    if (!std::all_of(first, last, geometry::is_drawable)) continue;
    for (const geometry::Point* point = first; point < last; ++point) {
      const geometry::Point& next = point + 1 < last ? point[1] : *first;
      const auto edge = geometry::polygon_edge(geometry::to_subpixels(*point), geometry::to_subpixels(next));
      const auto span = geometry::crossed_columns(edge, columns);
      if (span.begin < span.end) edges.push_back({edge, span, polygon - object.polygons_begin});
    }
  }
  return edges;
}

}  // namespace

ColumnRuns::ColumnRuns(const EncodedObject& object, std::int64_t height, const geometry::ColumnSpan& columns)
    : height_(height), columns_(columns) {
  begin_.reserve(columns.end - columns.begin + 1);
  begin_.push_back(0);
  Crossings crossings = crossings_of(object);
  const std::int64_t* transition =
      std::upper_bound(object.transitions_begin, object.transitions_end, columns.begin * height);
  for (std::int64_t column = columns.begin; column < columns.end; ++column) {
    const std::size_t first = runs_.size();
    std::int64_t* keys = crossings.keys.data();
    append_polygon_runs(keys + crossings.begin[column - columns.begin],
                        keys + crossings.begin[column - columns.begin + 1]);
    transition = append_transition_runs(transition, object, column);
    merge_from(first);
    begin_.push_back(static_cast<std::int64_t>(runs_.size()));
  }
}

// A counting sort by column.
ColumnRuns::Crossings ColumnRuns::crossings_of(const EncodedObject& object) const {
  const std::vector<PlacedEdge> edges = edges_of(object, columns_);
  Crossings crossings;
  crossings.begin.assign(columns_.end - columns_.begin + 1, 0);
  for (const PlacedEdge& placed : edges) {
    for (std::int64_t k = placed.span.begin; k < placed.span.end; ++k) ++crossings.begin[k - columns_.begin + 1];
  }
  for (std::size_t k = 1; k < crossings.begin.size(); ++k) crossings.begin[k] += crossings.begin[k - 1];
  crossings.keys.resize(crossings.begin.back());
  std::vector<std::int64_t> next(crossings.begin.begin(), crossings.begin.end() - 1);
  for (const PlacedEdge& placed : edges) {
    for (std::int64_t k = placed.span.begin; k < placed.span.end; ++k) {
      const std::int64_t row = geometry::crossing_row(placed.edge, k, height_);
      crossings.keys[next[k - columns_.begin]++] = placed.polygon << 32 | row;
    }
  }
  return crossings;
}

// Sorted, the crossings of each polygon stand together, their rows ascending and of even number.
void ColumnRuns::append_polygon_runs(std::int64_t* key, std::int64_t* key_end) {
  std::sort(key, key_end);
  for (; key < key_end; key += 2) {
    const RowRun run{static_cast<std::int32_t>(key[0]), static_cast<std::int32_t>(key[1])};
    if (run.begin < run.end) runs_.push_back(run);
  }
}

// `transition` is the first one after the column's first pixel; returns the first one after the next column's.
const std::int64_t* ColumnRuns::append_transition_runs(const std::int64_t* transition, const EncodedObject& object,
                                                       std::int64_t column) {
  const std::int64_t top = column * height_, bottom = top + height_;
  bool inside = (transition - object.transitions_begin) % 2 != 0;
  std::int64_t begin = top;
  for (;; ++transition) {
    const bool ends = transition == object.transitions_end || *transition > bottom;
    const std::int64_t position = ends ? bottom : *transition;
    if (inside && begin < position) {
      runs_.push_back({static_cast<std::int32_t>(begin - top), static_cast<std::int32_t>(position - top)});
    }
    if (ends) return transition;
    begin = position;
    inside = !inside;
  }
}

// Makes the union of runs that may overlap.
void ColumnRuns::merge_from(std::size_t first) {
  const auto ascends = [](const RowRun& a, const RowRun& b) { return a.end <= b.begin; };
  bool disjoint = true;
  for (std::size_t k = first + 1; disjoint && k < runs_.size(); ++k) disjoint = ascends(runs_[k - 1], runs_[k]);
  if (disjoint) return;
  std::sort(runs_.begin() + first, runs_.end(), [](const RowRun& a, const RowRun& b) { return a.begin < b.begin; });
  std::size_t kept = first;
  for (std::size_t k = first + 1; k < runs_.size(); ++k) {
    if (runs_[k].begin <= runs_[kept].end) {
      runs_[kept].end = std::max(runs_[kept].end, runs_[k].end);
    } else {
      runs_[++kept] = runs_[k];
    }
  }
  runs_.resize(kept + 1);
}

}  // namespace fastmrcnn::cpu
