// Greedy NMS: each candidate against the boxes kept so far, a vector of them at a time, until one suppresses it.
#include "kernels/nms_kernel.h"

#include "fastmrcnn/geometry/suppression.h"
#include "kernels/any_greater.h"

namespace fastmrcnn::FASTMRCNN_ISA {
namespace {

using geometry::Box;
using geometry::max_of;
using geometry::min_of;
using geometry::Suppression;

template <class T>
using Limits = geometry::SuppressionLimits<T>;

// Boxes side by side in the lanes of packs. `share` is what the pre-test demands of an overlap on the box's behalf.
template <class T>
struct Lanes {
  T x1[kLanes<T>], y1[kLanes<T>], x2[kLanes<T>], y2[kLanes<T>], share[kLanes<T>];
};

// One box in every lane.
template <class T>
struct Repeated {
  Pack<T> x1, y1, x2, y2, area;
  Pack<T> zero;  // of the area, since compilers expand a maximum with a constant zero into two instructions

  Repeated(const Box<T>& box, T box_area)
      : x1(Pack<T>{} + box.x1),
        y1(Pack<T>{} + box.y1),
        x2(Pack<T>{} + box.x2),
        y2(Pack<T>{} + box.y2),
        area(Pack<T>{} + box_area),
        zero(area - area) {}
};

// Negative where the boxes are apart in y alone, which no test against a number >= 0 tells from zero.
template <class T>
FM_KERNEL_INLINE Pack<T> overlap_of(const Lanes<T>& kept, const Repeated<T>& box) {
  const Pack<T> width = min_of(load(kept.x2), box.x2) - max_of(load(kept.x1), box.x1);
  const Pack<T> height = min_of(load(kept.y2), box.y2) - max_of(load(kept.y1), box.y1);
  return max_of(width, box.zero) * height;
}

template <class T>
FM_KERNEL_INLINE bool suppresses(const Lanes<T>& kept, const Repeated<T>& box, Pack<T> overlap, Pack<T> threshold) {
  const Pack<T> area = (load(kept.x2) - load(kept.x1)) * (load(kept.y2) - load(kept.y1));
  return any_greater(overlap / (area + box.area - overlap), threshold);
}

template <class T>
bool suppressed(const Lanes<T>* kept, int64_t groups, const Box<T>& candidate, T area, const Suppression<T>& rule) {
  const Repeated<T> box(candidate, area);
  const Pack<T> share = Pack<T>{} + rule.share(area), threshold = Pack<T>{} + rule.threshold;
  for (const Lanes<T>* other = kept; other < kept + groups; ++other) {
    const Pack<T> overlap = overlap_of(*other, box);
    if (any_greater(overlap, load(other->share) + share) && suppresses(*other, box, overlap, threshold)) return true;
  }
  return false;
}

// A place that overlaps nothing.
template <class T>
void clear(Lanes<T>& lanes) {
  for (int64_t lane = 0; lane < kLanes<T>; ++lane) {
    lanes.x1[lane] = lanes.y1[lane] = Limits<T>::greatest;
    lanes.x2[lane] = lanes.y2[lane] = -Limits<T>::greatest;
    lanes.share[lane] = 0;
  }
}

template <class T>
void put(Lanes<T>& lanes, int64_t lane, const Box<T>& box, T share) {
  lanes.x1[lane] = box.x1;
  lanes.y1[lane] = box.y1;
  lanes.x2[lane] = box.x2;
  lanes.y2[lane] = box.y2;
  lanes.share[lane] = share;
}

// Below zero every pair counts, also of boxes that do not overlap: box by box, by the definition.
template <class T>
int64_t greedy_by_definition(const Box<T>* boxes, int64_t n, T threshold, int64_t limit, uint32_t* kept) {
  int64_t count = 0;
  for (int64_t k = 0; k < n && count < limit; ++k) {
    const T area = geometry::area(boxes[k]);
    bool keep = true;
    for (int64_t j = 0; j < count && keep; ++j) {
      const Box<T>& other = boxes[kept[j]];
      keep = !(geometry::iou(other, geometry::area(other), boxes[k], area) > threshold);
    }
    if (keep) kept[count++] = static_cast<uint32_t>(k);
  }
  return count;
}

// Whether no kept box suppresses `box`, which then joins them: the first `filled` places of `lanes`.
template <class T>
FM_KERNEL_INLINE bool keep_next(const Box<T>& box, const Suppression<T>& rule, Lanes<T>* lanes, int64_t* filled) {
  const T area = geometry::area(box);
  if (!geometry::takes_part(box, area)) return true;
  if (suppressed(lanes, (*filled + kLanes<T> - 1) / kLanes<T>, box, area, rule)) return false;
  Lanes<T>& last = lanes[*filled / kLanes<T>];
  if (*filled % kLanes<T> == 0) clear(last);
  put(last, *filled % kLanes<T>, box, rule.share(area));
  ++*filled;
  return true;
}

template <class T>
int64_t greedy(const Box<T>* boxes, int64_t n, T threshold, int64_t limit, T* workspace, uint32_t* kept) {
  const Suppression<T> rule(threshold);
  if (!rule.has_shares()) return greedy_by_definition(boxes, n, threshold, limit, kept);
  auto* lanes = reinterpret_cast<Lanes<T>*>(workspace);
  int64_t count = 0, filled = 0;
  for (int64_t k = 0; k < n && count < limit; ++k) {
    const Box<T> box = boxes[k];
    if (keep_next(box, rule, lanes, &filled)) kept[count++] = static_cast<uint32_t>(k);
  }
  return count;
}

}  // namespace

int64_t greedy_nms_f32(const Box<float>* boxes, int64_t n, float threshold, int64_t limit, float* workspace,
                       uint32_t* kept) {
  return greedy(boxes, n, threshold, limit, workspace, kept);
}

int64_t greedy_nms_f64(const Box<double>* boxes, int64_t n, double threshold, int64_t limit, double* workspace,
                       uint32_t* kept) {
  return greedy(boxes, n, threshold, limit, workspace, kept);
}

bool keep_next_f32(const Box<float>& box, float threshold, int64_t* filled, float* workspace) {
  return keep_next(box, Suppression<float>(threshold), reinterpret_cast<Lanes<float>*>(workspace), filled);
}

bool keep_next_f64(const Box<double>& box, double threshold, int64_t* filled, double* workspace) {
  return keep_next(box, Suppression<double>(threshold), reinterpret_cast<Lanes<double>*>(workspace), filled);
}

}  // namespace fastmrcnn::FASTMRCNN_ISA
