// Paste straight to runs, a column at a time: between two mask rows the value runs from one blended neighbour to the
// other, so only where these lie on different sides of the threshold are pixels computed at all.
#include "kernels/paste_kernel.h"

namespace fastmrcnn::FASTMRCNN_ISA {
namespace {

using geometry::BlendedCorners;
using geometry::Corners;

class Transitions {
 public:
  explicit Transitions(int32_t* rows) : rows_(rows) {}

  void set(bool state, int64_t row) {
    if (state == state_) return;
    rows_[count_++] = static_cast<int32_t>(row);
    state_ = state;
  }

  int64_t finish(int64_t end) {
    set(false, end);
    return count_;
  }

 private:
  int32_t* rows_;
  int64_t count_ = 0;
  bool state_ = false;
};

// A column of pixels: its taps along x, and the columns of the mask beside it.
template <class T>
struct Column {
  geometry::Tap<T> x;
  const T *left, *right;

  // Of the pixels between mask rows `row` and `row + 1`.
  FM_HD Corners<T> corners(int32_t row) const { return {left[row], right[row], left[row + 1], right[row + 1]}; }
};

template <class T>
FM_HD Column<T> column_of(const PasteJob<T>& job, int64_t column) {
  const geometry::Tap<T> x = job.x.at(column);
  return {x, job.mask + x.index * job.side, job.mask + (x.index + 1) * job.side};
}

// `is_inside(k, blended, corners)` decides pixel k.
template <class T, class IsInside>
FM_HD int64_t decide_segments(const PasteJob<T>& job, const Column<T>& column, int32_t* rows, T* __restrict__ blended,
                              const IsInside& is_inside) {
  for (int64_t k = 0; k < job.side; ++k) {
    blended[k] = geometry::blend_resized(column.left[k], column.x.near, column.right[k], column.x.far);
  }
  Transitions transitions(rows);
  for (int64_t s = 0; s < job.segment_count; ++s) {
    const RowSegment& segment = job.segments[s];
    const BlendedCorners<T> beside{blended[segment.index], blended[segment.index + 1]};
    const Corners<T> corners = column.corners(segment.index);
    if (const int side = geometry::side_of(beside, corners, job.threshold)) {
      transitions.set(side > 0, segment.begin);
      continue;
    }
    for (int64_t k = segment.begin; k < segment.end; ++k) transitions.set(is_inside(k, beside, corners), k);
  }
  return transitions.finish(job.y.count);
}

template <class T>
int64_t sampled_column(const PasteJob<T>& job, const Column<T>& column, int32_t* rows, T* workspace) {
  return decide_segments(job, column, rows, workspace,
                         [&](int64_t k, const BlendedCorners<T>&, const Corners<T>& corners) {
                           return geometry::is_inside_sampled(job.y.at(k), column.x, corners, job.threshold);
                         });
}

template <class T>
int64_t resized_column(const PasteJob<T>& job, const Column<T>& column, int32_t* rows, T* workspace) {
  return decide_segments(
      job, column, rows, workspace, [&](int64_t k, const BlendedCorners<T>& blended, const Corners<T>&) {
        return geometry::blend_resized(blended.upper, job.y.near[k], blended.lower, job.y.far[k]) > job.threshold;
      });
}

template <class T>
int64_t corners_column(const PasteJob<T>& job, const Column<T>& column, int32_t* rows) {
  Transitions transitions(rows);
  for (int64_t k = 0; k < job.y.count; ++k) {
    const geometry::Tap<T> y = job.y.at(k);
    transitions.set(geometry::is_inside_resized(y, column.x, column.corners(y.index), job.threshold), k);
  }
  return transitions.finish(job.y.count);
}

template <class T>
int64_t column_transitions(const PasteJob<T>& job, int64_t column, int32_t* rows, T* workspace) {
  switch (job.rule) {
    case PasteRule::exact: return sampled_column(job, column_of(job, column), rows, workspace);
    case PasteRule::resized: return resized_column(job, column_of(job, column), rows, workspace);
    case PasteRule::resized_corners: return corners_column(job, column_of(job, column), rows);
  }
  return 0;
}

}  // namespace

int64_t column_transitions_f32(const PasteJob<float>& job, int64_t column, int32_t* rows, float* workspace) {
  return column_transitions(job, column, rows, workspace);
}

int64_t column_transitions_f64(const PasteJob<double>& job, int64_t column, int32_t* rows, double* workspace) {
  return column_transitions(job, column, rows, workspace);
}

}  // namespace fastmrcnn::FASTMRCNN_ISA
