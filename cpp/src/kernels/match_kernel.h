#pragma once

#include "fastmrcnn/geometry/matching.h"
#include "kernels/kernel.h"

namespace fastmrcnn {

constexpr int64_t kMatchBlock = 128;
constexpr int64_t kMatchStretch = 64 * kMatchBlock;

// An object or an ignore region.
template <class T>
struct MatchCandidate {
  geometry::Box<T> box;
  T area;
  int32_t index;
};

// The highest IoU of an object with the boxes of a range, and the first and the last block of kMatchBlock boxes in
// which one attains it.
template <class T>
struct MatchPeak {
  T iou;
  int64_t first_block, last_block;
};

// What every box is matched with.
template <class T>
struct MatchJob {
  const MatchCandidate<T>* objects;
  int64_t object_count;
  const MatchCandidate<T>* regions;
  int64_t region_count;
  geometry::MatchRule<T> rule;
};

// A run of boxes and what becomes of them.
template <class T>
struct MatchRange {
  const geometry::Box<T>* boxes;  // [count]
  int64_t count;
  int64_t* matches;       // [count]
  int32_t* best_objects;  // [count], whatever the thresholds
  MatchPeak<T>* peaks;    // [object_count]
  // Workspaces, each as long as there are objects, or regions if they are more.
  MatchCandidate<T>* near_stretch;
  MatchCandidate<T>* near_block;
};

// Fills the matches, best objects and peaks of the range. The peaks come with zeros.
FASTMRCNN_DECLARE_KERNEL(void match_range_f32(const MatchJob<float>& job, const MatchRange<float>& range))
FASTMRCNN_DECLARE_KERNEL(void match_range_f64(const MatchJob<double>& job, const MatchRange<double>& range))

// Matches the boxes that attain the highest IoU, that over all ranges, of an object, to their best objects.
FASTMRCNN_DECLARE_KERNEL(void claim_best_f32(const MatchJob<float>& job, const MatchRange<float>& range,
                                             const float* highest))
FASTMRCNN_DECLARE_KERNEL(void claim_best_f64(const MatchJob<double>& job, const MatchRange<double>& range,
                                             const double* highest))

}  // namespace fastmrcnn
