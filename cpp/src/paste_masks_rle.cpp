// Paste straight to COCO run-length strings, one task per mask: no bitmap is made.
#include "fastmrcnn/coco_rle.h"
#include "fastmrcnn/dtype.h"
#include "fastmrcnn/parallel.h"
#include "paste_job.h"

namespace fastmrcnn::cpu {
namespace {

std::int64_t column_transitions(const PasteJob<float>& job, std::int64_t column, std::int32_t* rows, float* workspace) {
  static constexpr IsaTable<decltype(&baseline::column_transitions_f32)> table =
      FASTMRCNN_ISA_TABLE(column_transitions_f32);
  return table.get()(job, column, rows, workspace);
}

std::int64_t column_transitions(const PasteJob<double>& job, std::int64_t column, std::int32_t* rows,
                                double* workspace) {
  static constexpr IsaTable<decltype(&baseline::column_transitions_f64)> table =
      FASTMRCNN_ISA_TABLE(column_transitions_f64);
  return table.get()(job, column, rows, workspace);
}

template <class T>
std::vector<RowSegment> segments_of(const PixelTaps<T>& y) {
  std::vector<RowSegment> segments;
  for (std::int64_t k = 0; k < y.count; ++k) {
    if (k == 0 || y.index[k] != y.index[k - 1]) segments.push_back({y.index[k], k, k});
    segments.back().end = k + 1;
  }
  return segments;
}

template <class T, class BoxT>
void write_one(const T* mask, std::int64_t mask_size, const geometry::Box<BoxT>& box, const PasteOptions& options,
               std::int64_t height, std::int64_t width, RleWriter& writer) {
  const geometry::Placement<T> placed =
      geometry::place_mask<T>(box, mask_size, height, width, options.method, options.fused_position);
  if (placed.empty()) return;
  Axis<T> x(placed.rule, placed.x, mask_size), y(placed.rule, placed.y, mask_size);
  const std::vector<T> padded = padded_mask(mask, mask_size, /*transposed=*/true);
  const std::int64_t side = mask_size + geometry::kMaskPadding;
  const std::vector<RowSegment> segments = segments_of(y.taps());
  std::vector<T> workspace(side);
  std::vector<std::int32_t> rows(y.span.size() + 1);
  const PasteJob<T> job{
      placed.rule,     static_cast<T>(options.threshold),         padded.data(), side, x.taps(), y.taps(),
      segments.data(), static_cast<std::int64_t>(segments.size())};
  for (std::int64_t column = 0; column < x.span.size(); ++column) {
    const std::int64_t base = (x.span.begin + column) * height + y.span.begin;
    const std::int64_t count = column_transitions(job, column, rows.data(), workspace.data());
    for (std::int64_t k = 0; k < count; ++k) writer.toggle(base + rows[k]);
  }
}

}  // namespace

void paste_masks_rle(const Context& context, const TensorView& masks, const TensorView& boxes, std::int64_t height,
                     std::int64_t width, const std::string& method, bool fused_position, double threshold,
                     const TensorView& strings, const TensorView& lengths) {
  const PasteOptions options = paste_options("paste_masks_rle", method, fused_position, threshold);
  check_paste_inputs("paste_masks_rle", masks, boxes);
  check_paste_masks_rle(masks, height, width, strings, lengths);
  const std::int64_t size = masks.shape[1], capacity = strings.shape[1];
  dispatch_floating("paste_masks_rle", "masks", masks.dtype, [&](auto mask_tag) {
    using T = typename decltype(mask_tag)::type;
    dispatch_floating("paste_masks_rle", "boxes", boxes.dtype, [&](auto box_tag) {
      using BoxT = typename decltype(box_tag)::type;
      parallel_for(context, masks.shape[0], [&](std::int64_t n) {
        RleWriter writer(strings.as<std::uint8_t>() + n * capacity, capacity);
        write_one(masks.as<const T>() + n * size * size, size, boxes.as<const geometry::Box<BoxT>>()[n], options,
                  height, width, writer);
        lengths.as<std::int64_t>()[n] = writer.finish(height * width);
      });
    });
  });
}

}  // namespace fastmrcnn::cpu
