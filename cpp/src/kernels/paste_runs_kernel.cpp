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

// +1 or -1 when every blend of `a` and `b` with weights that sum to one lies inside or outside, whatever the rounding;
// 0 when the pixels decide.
template <class T>
FM_HD int side_of(T a, T b, T threshold) {
  const T margin = (a < 0 ? -a : a) * T(1e-6) + (b < 0 ? -b : b) * T(1e-6);
  const T high = threshold + margin, low = threshold - margin;
  if (a > high && b > high) return 1;
  return a < low && b < low ? -1 : 0;
}

template <class T, class Rule>
int64_t separable_column(const PasteJob<T>& job, int64_t column, int32_t* rows, T* __restrict__ blended) {
  const geometry::Tap<T> x = tap(job.x, column);
  const T* __restrict__ left = job.mask + x.index * job.side, * __restrict__ right = left + job.side;
  for (int64_t k = 0; k < job.side; ++k) blended[k] = Rule::blend(left[k], x.near, right[k], x.far);

  Transitions transitions(rows);
  for (int64_t s = 0; s < job.segment_count; ++s) {
    const RowSegment& segment = job.segments[s];
    const T upper = blended[segment.index], lower = blended[segment.index + 1];
    if (const int side = side_of(upper, lower, job.threshold)) {
      transitions.set(side > 0, segment.begin);
      continue;
    }
    for (int64_t k = segment.begin; k < segment.end; ++k) {
      const T value = Rule::blend(upper, job.y.near[k], lower, job.y.far[k]);
      transitions.set(Rule::inside(value, job.threshold), k);
    }
  }
  return transitions.finish(job.y.count);
}

template <class T>
int64_t corners_column(const PasteJob<T>& job, int64_t column, int32_t* rows) {
  const geometry::Tap<T> x = tap(job.x, column);
  const T *left = job.mask + x.index * job.side, *right = left + job.side;
  Transitions transitions(rows);
  for (int64_t k = 0; k < job.y.count; ++k) {
    const geometry::Tap<T> y = tap(job.y, k);
    const T value = blend_corners(y, x, left[y.index], right[y.index], left[y.index + 1], right[y.index + 1]);
    transitions.set(value > job.threshold, k);
  }
  return transitions.finish(job.y.count);
}

template <class T>
int64_t column_transitions(const PasteJob<T>& job, int64_t column, int32_t* rows, T* workspace) {
  switch (job.rule) {
    case PasteRule::exact: return separable_column<T, ExactRule<T>>(job, column, rows, workspace);
    case PasteRule::resized: return separable_column<T, ResizedRule<T>>(job, column, rows, workspace);
    case PasteRule::resized_corners: return corners_column(job, column, rows);
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
