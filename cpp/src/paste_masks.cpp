// Paste to bitmaps, one task per mask. Memory beyond the output: a few rows.
#include "fastmrcnn/ops/paste_masks.h"

#include "fastmrcnn/dtype.h"
#include "fastmrcnn/parallel.h"
#include "paste_job.h"

namespace fastmrcnn::cpu {
namespace {

void paste_rows(const PasteJob<float>& job, std::uint8_t* pixels, std::int64_t pitch, float* workspace) {
  static constexpr IsaTable<decltype(&baseline::paste_rows_f32)> table = FASTMRCNN_ISA_TABLE(paste_rows_f32);
  table.get()(job, pixels, pitch, workspace);
}

void paste_rows(const PasteJob<double>& job, std::uint8_t* pixels, std::int64_t pitch, double* workspace) {
  static constexpr IsaTable<decltype(&baseline::paste_rows_f64)> table = FASTMRCNN_ISA_TABLE(paste_rows_f64);
  table.get()(job, pixels, pitch, workspace);
}

template <class T, class BoxT>
void paste_one(const T* mask, std::int64_t mask_size, const geometry::Box<BoxT>& box, const PasteOptions& options,
               std::uint8_t* image, std::int64_t height, std::int64_t width) {
  const geometry::Placement<T> placed =
      geometry::place_mask<T>(box, mask_size, height, width, options.method, options.fused_position);
  if (placed.empty()) return;
  Axis<T> x(placed.rule, placed.x, mask_size), y(placed.rule, placed.y, mask_size);
  const std::vector<T> padded = padded_mask(mask, mask_size, /*transposed=*/false);
  std::vector<T> workspace(4 * x.span.size());
  const PasteJob<T> job{placed.rule,   static_cast<T>(options.threshold),
                        padded.data(), mask_size + geometry::kMaskPadding,
                        x.taps(),      y.taps(),
                        nullptr,       0};
  paste_rows(job, image + y.span.begin * width + x.span.begin, width, workspace.data());
}

}  // namespace

void paste_masks(const Context& context, const TensorView& masks, const TensorView& boxes, const std::string& method,
                 bool fused_position, double threshold, const TensorView& pasted) {
  const PasteOptions options = paste_options("paste_masks", method, fused_position, threshold);
  check_paste_inputs("paste_masks", masks, boxes);
  check_paste_masks(masks, pasted);
  const std::int64_t size = masks.shape[1], height = pasted.shape[1], width = pasted.shape[2];
  dispatch_floating("paste_masks", "masks", masks.dtype, [&](auto mask_tag) {
    using T = typename decltype(mask_tag)::type;
    dispatch_floating("paste_masks", "boxes", boxes.dtype, [&](auto box_tag) {
      using BoxT = typename decltype(box_tag)::type;
      parallel_for(context, masks.shape[0], [&](std::int64_t n) {
        paste_one(masks.as<const T>() + n * size * size, size, boxes.as<const geometry::Box<BoxT>>()[n], options,
                  pasted.as<std::uint8_t>() + n * height * width, height, width);
      });
    });
  });
}

}  // namespace fastmrcnn::cpu
