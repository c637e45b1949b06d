// Paste straight to runs, a column at a time: between two mask rows the value runs from one blended neighbour to the
// other, so only where these lie on different sides of the threshold are pixels computed at all.
#include "kernels/paste_rule.h"

namespace fastmrcnn::FASTMRCNN_ISA {
namespace {

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
  const geometry::Tap<T> x = tap(job.x, column);
  return {x, job.mask + x.index * job.side, job.mask + (x.index + 1) * job.side};
}

template <class T>
FM_HD T magnitude(T value) {
  return value < 0 ? -value : value;
}

// +1 or -1 when every blend of the corners with weights that sum to one lies inside or outside, whatever the order of
// its operations; 0 when the pixels decide. `upper` and `lower` are the corners blended along x.
template <class T>
FM_HD int side_of(T upper, T lower, const Corners<T>& corners, T threshold) {
  const T margin = T(1e-6) * (magnitude(corners.upper_left) + magnitude(corners.upper_right) +
                              magnitude(corners.lower_left) + magnitude(corners.lower_right));
  const T high = threshold + margin, low = threshold - margin;
  if (upper > high && lower > high) return 1;
  return upper < low && lower < low ? -1 : 0;
}

// `is_inside(k, upper, lower, corners)` decides pixel k.
template <class T, class IsInside>
FM_HD int64_t decide_segments(const PasteJob<T>& job, const Column<T>& column, int32_t* rows, T* __restrict__ blended,
                              const IsInside& is_inside) {
  for (int64_t k = 0; k < job.side; ++k) {
    blended[k] = blend_resized(column.left[k], column.x.near, column.right[k], column.x.far);
  }
  Transitions transitions(rows);
  for (int64_t s = 0; s < job.segment_count; ++s) {
    const RowSegment& segment = job.segments[s];
    const T upper = blended[segment.index], lower = blended[segment.index + 1];
    const Corners<T> corners = column.corners(segment.index);
    if (const int side = side_of(upper, lower, corners, job.threshold)) {
      transitions.set(side > 0, segment.begin);
      continue;
    }
    for (int64_t k = segment.begin; k < segment.end; ++k) transitions.set(is_inside(k, upper, lower, corners), k);
  }
  return transitions.finish(job.y.count);
}

template <class T>
int64_t sampled_column(const PasteJob<T>& job, const Column<T>& column, int32_t* rows, T* workspace) {
  return decide_segments(job, column, rows, workspace, [&](int64_t k, T, T, const Corners<T>& corners) {
    return is_inside_sampled(tap(job.y, k), column.x, corners, job.threshold);
  });
}

template <class T>
int64_t resized_column(const PasteJob<T>& job, const Column<T>& column, int32_t* rows, T* workspace) {
  return decide_segments(job, column, rows, workspace, [&](int64_t k, T upper, T lower, const Corners<T>&) {
    return blend_resized(upper, job.y.near[k], lower, job.y.far[k]) > job.threshold;
  });
}

template <class T>
int64_t corners_column(const PasteJob<T>& job, const Column<T>& column, int32_t* rows) {
  Transitions transitions(rows);
  for (int64_t k = 0; k < job.y.count; ++k) {
    const geometry::Tap<T> y = tap(job.y, k);
    transitions.set(is_inside_resized(y, column.x, column.corners(y.index), job.threshold), k);
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
