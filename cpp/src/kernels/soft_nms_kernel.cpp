// Soft-NMS: one pass over the remaining boxes for every box selected, which decays their scores and finds the next
// best. Each score is multiplied in the order of selection, whatever the width of the vectors, so that all levels
// agree.
#include "kernels/soft_nms_kernel.h"

#include "fastmrcnn/geometry/exponential.h"
#include "kernels/any_greater.h"

namespace fastmrcnn::FASTMRCNN_ISA {
namespace {

using geometry::Box;
using geometry::max_of;
using geometry::min_of;

constexpr float kGone = -__builtin_inff();  // the score of a box that is no longer there

template <class T>
struct Best {
  T score;
  int64_t place;
};

template <class T>
bool remains(T score, const SoftNmsRule<T>& rule) {
  return static_cast<double>(score) >= rule.score_threshold;
}

// Moves the boxes that remain to the front, in their order, and fills the last vector up.
template <class T>
int64_t compact(const SoftNmsColumns<T>& columns, int64_t n, const SoftNmsRule<T>& rule) {
  int64_t length = 0;
  for (int64_t k = 0; k < n; ++k) {
    if (!remains(columns.score[k], rule)) continue;
    columns.x1[length] = columns.x1[k];
    columns.y1[length] = columns.y1[k];
    columns.x2[length] = columns.x2[k];
    columns.y2[length] = columns.y2[k];
    columns.area[length] = columns.area[k];
    columns.score[length] = columns.score[k];
    columns.index[length] = columns.index[k];
    ++length;
  }
  for (int64_t k = length; k % kLanes<T> != 0; ++k) {
    columns.x1[k] = columns.y1[k] = columns.x2[k] = columns.y2[k] = columns.area[k] = 0;
    columns.score[k] = kGone;
  }
  return length;
}

template <class T>
FM_KERNEL_INLINE Pack<T> exponentials(Pack<T> exponents) {
  T values[kLanes<T>];
  store(values, exponents);
  for (int64_t lane = 0; lane < kLanes<T>; ++lane) values[lane] = geometry::exponential(values[lane]);
  return load(values);
}

// What the scores of one vector of boxes are multiplied by.
template <bool kLinear, class T>
FM_KERNEL_INLINE Pack<T> decay(Pack<T> iou, const SoftNmsRule<T>& rule) {
  const Pack<T> zero{}, one = zero + T(1);
  const Pack<T> factor = kLinear ? max_of(zero, one - iou) : exponentials<T>(rule.exponent * (iou * iou));
  return iou > zero + rule.least_iou ? factor : one;  // 1 for NaN too
}

// Lets the selected box decay the scores of all others. The best of them, of equal ones the first.
template <bool kLinear, class T>
Best<T> pass(const SoftNmsColumns<T>& columns, int64_t length, const Box<T>& selected, const SoftNmsRule<T>& rule) {
  const T selected_area = geometry::area(selected);
  const Pack<T> zero{};
  const Pack<T> x1 = zero + selected.x1, y1 = zero + selected.y1, x2 = zero + selected.x2, y2 = zero + selected.y2;
  Best<T> best{kGone, 0};
  for (int64_t begin = 0; begin < length; begin += kLanes<T>) {
    const Pack<T> width = min_of(x2, load(columns.x2 + begin)) - max_of(x1, load(columns.x1 + begin));
    const Pack<T> height = min_of(y2, load(columns.y2 + begin)) - max_of(y1, load(columns.y1 + begin));
    const Pack<T> overlap = max_of(zero, width) * max_of(zero, height);
    T* score = columns.score + begin;
    if (any_greater(overlap, zero)) {
      const Pack<T> iou = overlap / (selected_area + load(columns.area + begin) - overlap);
      store<T>(score, load(score) * decay<kLinear, T>(iou, rule));
    }
    if (!any_greater(load(score), zero + best.score)) continue;
    for (int64_t lane = 0; lane < kLanes<T>; ++lane) {
      if (score[lane] > best.score) best = {score[lane], begin + lane};
    }
  }
  return best;
}

template <bool kLinear, class T>
int64_t select(const SoftNmsColumns<T>& columns, int64_t n, const SoftNmsRule<T>& rule, uint32_t* kept, T* decayed) {
  int64_t length = compact(columns, n, rule), gone = 0, count = 0;
  Best<T> best = pass<kLinear>(columns, length, Box<T>{}, rule);  // an empty box touches nothing
  while (remains(best.score, rule)) {
    const int64_t k = best.place;
    const Box<T> selected{columns.x1[k], columns.y1[k], columns.x2[k], columns.y2[k]};
    kept[count] = columns.index[k];
    decayed[count++] = best.score;
    columns.score[k] = kGone;
    if (4 * ++gone > length) {
      length = compact(columns, length, rule);
      gone = 0;
    }
    best = pass<kLinear>(columns, length, selected, rule);
  }
  return count;
}

template <class T>
int64_t soft_nms(const SoftNmsColumns<T>& columns, int64_t n, const SoftNmsRule<T>& rule, uint32_t* kept, T* decayed) {
  return rule.linear ? select<true>(columns, n, rule, kept, decayed) : select<false>(columns, n, rule, kept, decayed);
}

}  // namespace

int64_t soft_nms_f32(const SoftNmsColumns<float>& columns, int64_t n, const SoftNmsRule<float>& rule, uint32_t* kept,
                     float* decayed) {
  return soft_nms(columns, n, rule, kept, decayed);
}

int64_t soft_nms_f64(const SoftNmsColumns<double>& columns, int64_t n, const SoftNmsRule<double>& rule, uint32_t* kept,
                     double* decayed) {
  return soft_nms(columns, n, rule, kept, decayed);
}

}  // namespace fastmrcnn::FASTMRCNN_ISA
