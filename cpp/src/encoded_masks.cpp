// Conversions between polygons, transitions and COCO's run-length strings. One task per mask; none makes a bitmap.
#include "fastmrcnn/ops/encoded_masks.h"

#include "column_runs.h"
#include "fastmrcnn/coco_rle.h"
#include "fastmrcnn/parallel.h"

namespace fastmrcnn::cpu {
namespace {

// Collects positions that ascend, of which two that are equal cancel.
class TransitionWriter {
 public:
  TransitionWriter(std::int64_t* positions, std::int64_t capacity) : positions_(positions), capacity_(capacity) {}

  void toggle(std::int64_t position) {
    if (count_ > 0 && last_ == position) {
      --count_;
      last_ = -1;  // the position before lies before this one: nothing to come can cancel it
      return;
    }
    if (count_ < capacity_) positions_[count_] = position;
    ++count_;
    last_ = position;
  }

  // A change at the very end changes nothing.
  std::int64_t finish(std::int64_t pixels) { return count_ - (count_ > 0 && last_ == pixels); }

 private:
  std::int64_t* positions_;
  std::int64_t capacity_;
  std::int64_t count_ = 0, last_ = -1;
};

}  // namespace

void mask_transitions(const Context& context, const TensorView& points, const TensorView& polygons,
                      const TensorView& object_polygons, const TensorView& transitions,
                      const TensorView& object_transitions, std::int64_t height, std::int64_t width,
                      const TensorView& output, const TensorView& lengths) {
  const EncodedMasks masks{points, polygons, object_polygons, transitions, object_transitions, height, width};
  check_mask_transitions(masks, output, lengths);
  const std::int64_t capacity = output.shape[1];
  parallel_for(context, masks.count(), [&](std::int64_t g) {
    const ColumnRuns runs(EncodedObject::of(masks, g), height, {0, width});
    TransitionWriter writer(output.as<std::int64_t>() + g * capacity, capacity);
    for (std::int64_t column = 0; column < width; ++column) {
      for (const RowRun* run = runs.begin(column); run < runs.end(column); ++run) {
        writer.toggle(column * height + run->begin);
        writer.toggle(column * height + run->end);
      }
    }
    lengths.as<std::int64_t>()[g] = writer.finish(height * width);
  });
}

void parse_rle(const Context&, const TensorView& strings, const TensorView& offsets, std::int64_t pixels,
               const TensorView& transitions, const TensorView& object_transitions) {
  check_parse_rle(strings, offsets, transitions, object_transitions);
  const auto* begins = offsets.as<const std::int64_t>();
  auto* positions = transitions.as<std::int64_t>();
  auto* counts = object_transitions.as<std::int64_t>();
  counts[0] = 0;
  for (std::int64_t g = 0; g + 1 < offsets.shape[0]; ++g) {
    RleReader reader(strings.as<const std::uint8_t>() + begins[g], strings.as<const std::uint8_t>() + begins[g + 1]);
    TransitionWriter writer(positions + counts[g], begins[g + 1] - counts[g]);
    std::int64_t position = 0;
    for (std::int64_t run; reader.next(&run); writer.toggle(position)) {
      check(run >= 0 && run <= pixels - position, "parse_rle: the runs of mask ", g, " must be positive and count ",
            pixels, " pixels in all");
      position += run;
    }
    check(!reader.damaged(), "parse_rle: the string of mask ", g, " is damaged");
    check(position == pixels, "parse_rle: the runs of mask ", g, " must count ", pixels, " pixels in all; got ",
          position);
    counts[g + 1] = counts[g] + writer.finish(pixels);
  }
}

void format_rle(const Context& context, const TensorView& transitions, const TensorView& object_transitions,
                std::int64_t pixels, const TensorView& strings, const TensorView& lengths) {
  check_format_rle(transitions, object_transitions, pixels, strings, lengths);
  const auto* offsets = object_transitions.as<const std::int64_t>();
  const std::int64_t capacity = strings.shape[1];
  parallel_for(context, strings.shape[0], [&](std::int64_t g) {
    RleWriter writer(strings.as<std::uint8_t>() + g * capacity, capacity);
    for (std::int64_t k = offsets[g]; k < offsets[g + 1]; ++k) writer.toggle(transitions.as<std::int64_t>()[k]);
    lengths.as<std::int64_t>()[g] = writer.finish(pixels);
  });
}

}  // namespace fastmrcnn::cpu
