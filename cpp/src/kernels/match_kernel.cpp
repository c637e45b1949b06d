// Matching a block of boxes at a time. A stretch of anchors covers a few rows of a feature map, a block part of one:
// the box around a stretch, then that around a block, rule out most objects. Those left are tried one by one, a pack of
// boxes in step.
#include "kernels/match_kernel.h"

#include "kernels/pack.h"

namespace fastmrcnn::FASTMRCNN_ISA {
namespace {

using geometry::Box;
using geometry::max_of;
using geometry::min_of;

// Integers as wide as T: comparing two packs of T selects among their lanes.
template <class T>
struct IndexOf;
template <>
struct IndexOf<float> {
  using type = int32_t;
};
template <>
struct IndexOf<double> {
  using type = int64_t;
};
template <class T>
using Index = typename IndexOf<T>::type;

// The boxes of a block as a structure of arrays, and the best object of each so far.
template <class T>
struct alignas(64) Lanes {
  T x1[kMatchBlock], y1[kMatchBlock], x2[kMatchBlock], y2[kMatchBlock], area[kMatchBlock];
  T best_iou[kMatchBlock];
  Index<T> best_object[kMatchBlock];

  Box<Pack<T>> boxes(int64_t k) const { return {load(x1 + k), load(y1 + k), load(x2 + k), load(y2 + k)}; }
};

template <class T>
void read_boxes(const Box<T>* boxes, int64_t count, Lanes<T>& lanes) {
  for (int64_t k = 0; k < count; ++k) {
    lanes.x1[k] = boxes[k].x1;
    lanes.y1[k] = boxes[k].y1;
    lanes.x2[k] = boxes[k].x2;
    lanes.y2[k] = boxes[k].y2;
  }
  // Twice the same box changes no maximum.
  for (int64_t k = count; k < kMatchBlock; ++k) {
    lanes.x1[k] = boxes[0].x1;
    lanes.y1[k] = boxes[0].y1;
    lanes.x2[k] = boxes[0].x2;
    lanes.y2[k] = boxes[0].y2;
  }
  for (int64_t k = 0; k < kMatchBlock; k += kLanes<T>) store<T>(lanes.area + k, geometry::area(lanes.boxes(k)));
}

// Leaves in each of the first kKept of N numbers the greatest of every kKept-th from there on. None is NaN.
template <int64_t N, int64_t kKept, class T>
FM_KERNEL_INLINE void fold_greatest(T* numbers) {
  if constexpr (N > kKept) {
    for (int64_t k = 0; k < N / 2; ++k) numbers[k] = max_of(numbers[k], numbers[k + N / 2]);
    fold_greatest<N / 2, kKept>(numbers);
  }
}

// The box around all of `count` boxes. NaN coordinates are left out: their boxes overlap nothing.
template <class T>
Box<T> bounds_of(const Box<T>* boxes, int64_t count) {
  constexpr T inf = static_cast<T>(__builtin_inff());
  // Four packs hold kLanes boxes as they lie in memory, their coordinates in turn.
  constexpr int64_t kStep = 4 * kLanes<T>;
  T opposite_low[kStep], high[kStep];
  Pack<T> low_packs[4], high_packs[4];
  for (int j = 0; j < 4; ++j) {
    low_packs[j] = broadcast(inf);
    high_packs[j] = broadcast(-inf);
  }
  const T* coordinates = reinterpret_cast<const T*>(boxes);
  int64_t k = 0;
  for (; k + kStep <= 4 * count; k += kStep) {
    for (int j = 0; j < 4; ++j) {
      const Pack<T> pack = load(coordinates + k + j * kLanes<T>);
      low_packs[j] = min_of(low_packs[j], pack);
      high_packs[j] = max_of(high_packs[j], pack);
    }
  }
  for (int j = 0; j < 4; ++j) {
    store<T>(opposite_low + j * kLanes<T>, -low_packs[j]);
    store<T>(high + j * kLanes<T>, high_packs[j]);
  }
  for (; k < 4 * count; ++k) {
    opposite_low[k % 4] = max_of(opposite_low[k % 4], -coordinates[k]);
    high[k % 4] = max_of(high[k % 4], coordinates[k]);
  }
  fold_greatest<kStep, 4>(opposite_low);
  fold_greatest<kStep, 4>(high);
  return {-opposite_low[0], -opposite_low[1], high[2], high[3]};
}

// Those candidates that may overlap a box inside of `bounds`, in their order; returns how many.
template <class T>
int64_t select_near(const MatchCandidate<T>* candidates, int64_t count, const Box<T>& bounds,
                    MatchCandidate<T>* selected) {
  int64_t found = 0;
  for (int64_t c = 0; c < count; ++c) {
    selected[found] = candidates[c];
    found += geometry::touches(candidates[c].box, bounds);
  }
  return found;
}

template <class T>
Box<Pack<T>> broadcast(const Box<T>& box) {
  return {broadcast(box.x1), broadcast(box.y1), broadcast(box.x2), broadcast(box.y2)};
}

// Tries an object on every box of the block; returns its highest IoU among them. Objects come in ascending order, so
// that of equals the first stays.
template <class T>
T try_object(const MatchCandidate<T>& object, Lanes<T>& lanes) {
  const Box<Pack<T>> box = broadcast(object.box);
  const Pack<T> area = broadcast(object.area);
  const Pack<Index<T>> index = broadcast<Index<T>>(object.index);
  Pack<T> highest{};
  for (int64_t k = 0; k < kMatchBlock; k += kLanes<T>) {
    const Pack<T> iou = geometry::iou(box, area, lanes.boxes(k), load(lanes.area + k));
    const Pack<T> best_iou = load(lanes.best_iou + k);
    const Pack<Index<T>> best_object = load(lanes.best_object + k);
    store<Index<T>>(lanes.best_object + k, iou > best_iou ? index : best_object);
    store<T>(lanes.best_iou + k, max_of(best_iou, iou));  // NaN in the second argument is ignored
    highest = max_of(highest, iou);
  }
  T greatest[kLanes<T>];
  store(greatest, highest);
  fold_greatest<kLanes<T>, 1>(greatest);
  return greatest[0];
}

template <class T>
void find_best_objects(const MatchCandidate<T>* objects, int64_t object_count, int64_t block, Lanes<T>& lanes,
                       MatchPeak<T>* peaks) {
  // Without any overlap the IoU is zero, with the first object as with all others.
  for (int64_t k = 0; k < kMatchBlock; ++k) {
    lanes.best_iou[k] = 0;
    lanes.best_object[k] = 0;
  }
  for (int64_t c = 0; c < object_count; ++c) {
    const T iou = try_object(objects[c], lanes);
    MatchPeak<T>& peak = peaks[objects[c].index];
    if (iou > peak.iou) peak = {iou, block, block};
    if (iou == peak.iou) peak.last_block = block;
  }
}

// Background that lies mostly inside of one of the regions becomes ignored.
template <class T>
void ignore_covered(const MatchCandidate<T>* regions, int64_t region_count, const Box<T>* boxes, int64_t count,
                    T ignore_overlap, int64_t* matches) {
  for (int64_t r = 0; r < region_count; ++r) {
    for (int64_t k = 0; k < count; ++k) {
      const T covered = geometry::covered_share(boxes[k], geometry::area(boxes[k]), regions[r].box);
      const bool ignored = covered >= ignore_overlap && matches[k] == geometry::kBackground;
      matches[k] = ignored ? geometry::kIgnored : matches[k];
    }
  }
}

// The objects and the regions in turn use the range's workspaces.
template <class T>
void match_stretch(const MatchJob<T>& job, const MatchRange<T>& range, int64_t stretch_begin) {
  const int64_t stretch_end = min_of(stretch_begin + kMatchStretch, range.count);
  const Box<T> bounds = bounds_of(range.boxes + stretch_begin, stretch_end - stretch_begin);
  const int64_t objects = select_near(job.objects, job.object_count, bounds, range.near_stretch);
  Lanes<T> lanes;
  for (int64_t begin = stretch_begin; begin < stretch_end; begin += kMatchBlock) {
    const int64_t count = min_of(kMatchBlock, stretch_end - begin);
    const Box<T>* boxes = range.boxes + begin;
    const int64_t near = select_near(range.near_stretch, objects, bounds_of(boxes, count), range.near_block);
    read_boxes(boxes, count, lanes);
    find_best_objects(range.near_block, near, begin / kMatchBlock, lanes, range.peaks);
    for (int64_t k = 0; k < count; ++k) {
      range.best_objects[begin + k] = static_cast<int32_t>(lanes.best_object[k]);
      range.matches[begin + k] = geometry::match_by_iou(lanes.best_iou[k], lanes.best_object[k], job.rule);
    }
  }
  const int64_t regions = select_near(job.regions, job.region_count, bounds, range.near_stretch);
  ignore_covered(range.near_stretch, regions, range.boxes + stretch_begin, stretch_end - stretch_begin,
                 job.rule.ignore_overlap, range.matches + stretch_begin);
}

template <class T>
void match_range(const MatchJob<T>& job, const MatchRange<T>& range) {
  for (int64_t begin = 0; begin < range.count; begin += kMatchStretch) match_stretch(job, range, begin);
}

template <class T>
void claim_best(const MatchJob<T>& job, const MatchRange<T>& range, const T* highest) {
  for (int64_t m = 0; m < job.object_count; ++m) {
    const MatchCandidate<T> object = job.objects[m];
    const MatchPeak<T> peak = range.peaks[m];
    // An object that no box overlaps claims none.
    if (peak.iou == 0 || peak.iou < highest[m]) continue;
    const int64_t end = min_of((peak.last_block + 1) * kMatchBlock, range.count);
    for (int64_t k = peak.first_block * kMatchBlock; k < end; ++k) {
      const T iou = geometry::iou(object.box, object.area, range.boxes[k], geometry::area(range.boxes[k]));
      range.matches[k] = iou == peak.iou ? range.best_objects[k] : range.matches[k];
    }
  }
}

}  // namespace

void match_range_f32(const MatchJob<float>& job, const MatchRange<float>& range) {
  match_range(job, range);
}

void match_range_f64(const MatchJob<double>& job, const MatchRange<double>& range) {
  match_range(job, range);
}

void claim_best_f32(const MatchJob<float>& job, const MatchRange<float>& range, const float* highest) {
  claim_best(job, range, highest);
}

void claim_best_f64(const MatchJob<double>& job, const MatchRange<double>& range, const double* highest) {
  claim_best(job, range, highest);
}

}  // namespace fastmrcnn::FASTMRCNN_ISA
