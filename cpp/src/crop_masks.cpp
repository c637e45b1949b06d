// Mask targets on the CPU, one task per RoI. Reads nothing of an object but the columns and rows that its RoI samples;
// memory beyond the output: those columns, each with a value per row of cells.
#include "fastmrcnn/ops/crop_masks.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "column_runs.h"
#include "fastmrcnn/geometry/box.h"
#include "fastmrcnn/isa.h"
#include "fastmrcnn/parallel.h"
#include "kernels/crop_kernel.h"
#include "tap_tables.h"

namespace fastmrcnn::cpu {
namespace {

using Box = geometry::Box<float>;

constexpr IsaTable<decltype(&baseline::combine_bitmap_rows)> combine_bitmap_rows_table =
    FASTMRCNN_ISA_TABLE(combine_bitmap_rows);
constexpr IsaTable<decltype(&baseline::pick_crop_columns)> pick_crop_columns_table =
    FASTMRCNN_ISA_TABLE(pick_crop_columns);

// One RoI's tap tables and the memory of its columns.
class Crop {
 public:
  Crop(const Box& box, std::int64_t size, std::int64_t height, std::int64_t width, bool aligned)
      : roi_{0, box.x1, box.y1, box.x2, box.y2},
        tables_(&roi_, &kRow, 1, {height, width, size, size}, geometry::Sampling<float>{1.0f, 0, aligned}),
        pitch_((size + kCropPitch - 1) / kCropPitch * kCropPitch) {
    if (!empty()) columns_.assign((x().last - x().first + 1) * pitch_, 0.0f);
  }

  const AxisTaps<float>& y() const { return tables_.begin()->y; }
  const AxisTaps<float>& x() const { return tables_.begin()->x; }
  bool empty() const { return x().last < x().first || y().last < y().first; }

  CropJob job() { return {y(), x(), columns_.data(), pitch_}; }

 private:
  static constexpr std::int64_t kRow = 0;

  geometry::Roi<float> roi_;
  TapTables<float> tables_;
  std::int64_t pitch_;
  std::vector<float> columns_;
};

// Of one row of bins along y: the rows that it takes, and their weights' sum.
struct BinRows {
  std::int32_t first, last;
  float whole;
};

// Bins without a row lie above or below the image; those ahead of all runs and beyond them.
std::vector<BinRows> rows_of_bins(const AxisTaps<float>& y) {
  std::vector<BinRows> rows(y.bins, {-1, -1, 0.0f});
  bool above = true;
  for (std::int32_t i = 0; i < y.bins; ++i) {
    const std::int32_t begin = y.begin[i], end = y.begin[i + 1];
    if (begin == end) {
      if (!above) rows[i].first = rows[i].last = std::numeric_limits<std::int32_t>::max();
      continue;
    }
    above = false;
    rows[i].first = y.index[begin];
    rows[i].last = y.index[end - 1];
    for (std::int32_t t = begin; t < end; ++t) rows[i].whole += y.weight[t];
  }
  return rows;
}

// The weights of the taps of bin `i` within a run, added in order to what the runs above it gave. A bin's rows ascend,
// so they are searched: a tall bin over fine stripes has as many runs as rows.
float add_part(const AxisTaps<float>& y, std::int32_t i, const RowRun& run, float sum) {
  const std::int32_t* const end = y.index + y.begin[i + 1];
  const std::int32_t* row = std::lower_bound(y.index + y.begin[i], end, run.begin);
  for (; row < end && *row < run.end; ++row) sum += y.weight[row - y.index];
  return sum;
}

// What combine_bitmap_rows makes of a bitmap: pixels of one add their weight, pixels of zero change nothing, so a bin
// all within a run has the sum of all its weights.
void combine_runs(const CropJob& job, const ColumnRuns& runs) {
  const std::vector<BinRows> rows = rows_of_bins(job.y);
  const std::int32_t bins = job.y.bins;
  float* sums = job.columns;
  for (std::int64_t column = job.x.first; column <= job.x.last; ++column, sums += job.pitch) {
    std::int32_t first = 0;
    for (const RowRun* run = runs.begin(column); run < runs.end(column); ++run) {
      while (first < bins && rows[first].last < run->begin) ++first;
      for (std::int32_t i = first; i < bins && rows[i].first < run->end; ++i) {
        const bool inside = rows[i].first >= run->begin && rows[i].last < run->end;
        sums[i] = inside ? rows[i].whole : add_part(job.y, i, *run, sums[i]);
      }
    }
  }
}

void crop_soft(const EncodedMasks& masks, const EncodedObject& object, const Box& box, bool aligned, std::int64_t size,
               float* cropped) {
  Crop crop(box, size, masks.height, masks.width, aligned);
  if (crop.empty()) {
    std::fill_n(cropped, size * size, 0.0f);
    return;
  }
  const ColumnRuns runs(object, masks.height, {crop.x().first, crop.x().last + 1});
  combine_runs(crop.job(), runs);
  pick_crop_columns_table.get()(crop.job(), cropped);
}

void crop_polygons_binary(const EncodedObject& object, const Box& box, std::int64_t size, float* cropped) {
  std::fill_n(cropped, size * size, 0.0f);
  if (!geometry::is_finite(box.x2 - box.x1) || !geometry::is_finite(box.y2 - box.y1)) return;
  const double scale_x = geometry::frame_scale(box.x2 - box.x1, size);
  const double scale_y = geometry::frame_scale(box.y2 - box.y1, size);
  std::vector<geometry::Point> points(object.points + *object.polygons_begin, object.points + *object.polygons_end);
  for (geometry::Point& point : points) point = {(point.x - box.x1) * scale_x, (point.y - box.y1) * scale_y};
  std::vector<std::int64_t> polygons(object.polygons_begin, object.polygons_end + 1);
  for (std::int64_t& offset : polygons) offset -= *object.polygons_begin;
  EncodedObject framed = object;
  framed.points = points.data();
  framed.polygons_begin = polygons.data();
  framed.polygons_end = polygons.data() + polygons.size() - 1;
  framed.transitions_end = framed.transitions_begin;  // they know no other frame than the image
  const ColumnRuns runs(framed, size, {0, size});
  for (std::int64_t column = 0; column < size; ++column) {
    for (const RowRun* run = runs.begin(column); run < runs.end(column); ++run) {
      for (std::int64_t row = run->begin; row < run->end; ++row) cropped[row * size + column] = 1.0f;
    }
  }
}

}  // namespace

void crop_bitmaps(const Context& context, const TensorView& bitmaps, const TensorView& boxes, const TensorView& matched,
                  bool aligned, const TensorView& cropped) {
  check_crop_bitmaps(bitmaps, boxes, matched, cropped);
  const std::int64_t height = bitmaps.shape[1], width = bitmaps.shape[2], size = cropped.shape[1];
  parallel_for(context, boxes.shape[0], [&](std::int64_t p) {
    float* target = cropped.as<float>() + p * size * size;
    Crop crop(boxes.as<const Box>()[p], size, height, width, aligned);
    if (crop.empty()) {
      std::fill_n(target, size * size, 0.0f);
      return;
    }
    const std::int64_t object = matched.as<const std::int64_t>()[p];
    combine_bitmap_rows_table.get()(crop.job(), bitmaps.as<const std::uint8_t>() + object * height * width, width);
    pick_crop_columns_table.get()(crop.job(), target);
  });
}

void crop_encoded_masks(const Context& context, const TensorView& points, const TensorView& polygons,
                        const TensorView& object_polygons, const TensorView& transitions,
                        const TensorView& object_transitions, std::int64_t height, std::int64_t width,
                        const TensorView& boxes, const TensorView& matched, bool aligned, bool binary,
                        const TensorView& cropped, const TensorView&) {
  const EncodedMasks masks{points, polygons, object_polygons, transitions, object_transitions, height, width};
  check_crop_encoded(masks, boxes, matched, cropped);
  const std::int64_t size = cropped.shape[1];
  parallel_for(context, boxes.shape[0], [&](std::int64_t p) {
    const EncodedObject object = EncodedObject::of(masks, matched.as<const std::int64_t>()[p]);
    const Box& box = boxes.as<const Box>()[p];
    float* target = cropped.as<float>() + p * size * size;
    if (binary && object.has_polygons()) return crop_polygons_binary(object, box, size, target);
    crop_soft(masks, object, box, aligned, size, target);
    if (binary) std::transform(target, target + size * size, target, [](float share) { return share >= 0.5f; });
  });
}

}  // namespace fastmrcnn::cpu
