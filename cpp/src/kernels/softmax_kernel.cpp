// Most regions are background, clearly: their greatest foreground logit lies so far below the background's that no
// score can pass, and no exponential is computed. The scores of the others are computed and compared in vectors, and
// only a vector that holds a candidate is looked at.
#include "kernels/softmax_kernel.h"

#include "fastmrcnn/geometry/exponential.h"
#include "fastmrcnn/geometry/softmax.h"
#include "kernels/any_greater.h"

namespace fastmrcnn::FASTMRCNN_ISA {
namespace {

using geometry::kSoftmaxLanes;
using geometry::max_of;

template <class T>
constexpr T kInfinity = static_cast<T>(__builtin_inf());

// One round of a reduction over the columns.
template <class T>
struct Round {
  static constexpr int kPacks = static_cast<int>(kSoftmaxLanes / kLanes<T>);

  Pack<T> packs[kPacks];

  FM_KERNEL_INLINE explicit Round(T start) {
    for (Pack<T>& pack : packs) pack = broadcast(start);
  }
};

// The row in accumulators, filled up to whole rounds with what adds nothing to the sum. Returns the columns then.
template <class S, class T>
FM_KERNEL_INLINE int64_t read_row(const S* logits, int64_t columns, T* row) {
  int64_t k = 0;
  for (; k + kLanes<S> <= columns; k += kLanes<S>) store(row + k, load(logits + k));
  for (; k < columns; ++k) row[k] = value_of(logits[k]);
  for (; k % kSoftmaxLanes != 0; ++k) row[k] = -kInfinity<T>;
  return k;
}

// Of the foreground logits, as 16 columns. NaN may be passed over: it comes back in the sum.
template <class T>
FM_KERNEL_INLINE Round<T> greatest_foreground(T* row, int64_t columns) {
  const T background = row[0];
  row[0] = -kInfinity<T>;
  Round<T> greatest(-kInfinity<T>);
  for (int64_t begin = 0; begin < columns; begin += kSoftmaxLanes) {
    FM_UNROLL
    for (int p = 0; p < Round<T>::kPacks; ++p) {
      greatest.packs[p] = max_of(greatest.packs[p], load(row + begin + p * kLanes<T>));
    }
  }
  row[0] = background;
  return greatest;
}

// Whether one comes close enough to the background's.
template <class T>
FM_KERNEL_INLINE bool may_pass(const Round<T>& greatest, T background, T lead) {
  bool any = false;
  for (const Pack<T>& pack : greatest.packs) any |= any_greater(pack - broadcast(background), broadcast(lead));
  return any;
}

template <class T>
FM_KERNEL_INLINE T greatest_of(const Round<T>& round) {
  T lanes[kSoftmaxLanes];
  memcpy(lanes, round.packs, sizeof lanes);
  for (int distance = kSoftmaxLanes / 2; distance > 0; distance /= 2) {
    for (int lane = 0; lane < distance; ++lane) lanes[lane] = max_of(lanes[lane], lanes[lane + distance]);
  }
  return lanes[0];
}

template <class T>
FM_KERNEL_INLINE void softmax(T* row, int64_t columns, T greatest) {
  for (int64_t k = 0; k < columns; ++k) row[k] = geometry::exponential(row[k] - greatest);
  Round<T> sums(T(0));
  for (int64_t begin = 0; begin < columns; begin += kSoftmaxLanes) {
    FM_UNROLL
    for (int p = 0; p < Round<T>::kPacks; ++p) sums.packs[p] += load(row + begin + p * kLanes<T>);
  }
  T lanes[kSoftmaxLanes];
  memcpy(lanes, sums.packs, sizeof lanes);
  const T sum = geometry::sum_of_lanes(lanes);
  for (int64_t k = 0; k < columns; ++k) row[k] = row[k] / sum;
}

template <class S, class T = Accumulator<S>>
int64_t likely(const S* logits, int64_t rows, int64_t columns, const ScoreRule<T>& rule, uint32_t first, T* workspace,
               T* scores, uint32_t* positions) {
  const T threshold = rule.threshold, lead = rule.lead;
  int64_t found = 0;
  for (int64_t row = 0; row < rows; ++row, logits += columns, first += static_cast<uint32_t>(columns)) {
    const int64_t filled = read_row(logits, columns, workspace);
    const Round<T> greatest = greatest_foreground(workspace, filled);
    // Below zero even a score of zero passes.
    if (threshold >= 0 && !may_pass(greatest, workspace[0], lead)) continue;
    softmax(workspace, filled, max_of(greatest_of(greatest), workspace[0]));
    workspace[0] = -kInfinity<T>;  // the background is no candidate, nor is what fills the row up
    for (int64_t k = columns; k < filled; ++k) workspace[k] = -kInfinity<T>;
    for (int64_t begin = 0; begin < filled; begin += kLanes<T>) {
      if (!any_greater(load(workspace + begin), broadcast(threshold))) continue;
      for (int64_t k = begin; k < begin + kLanes<T>; ++k) {
        if (!(workspace[k] > threshold)) continue;
        scores[found] = workspace[k];
        positions[found] = first + static_cast<uint32_t>(k);
        ++found;
      }
    }
  }
  return found;
}

template <class S>
constexpr SoftmaxKernels<S> kKernels{likely<S>};

}  // namespace

extern const PerStorage<SoftmaxKernels> softmax_kernels{kKernels<float>, kKernels<double>, kKernels<Half>,
                                                        kKernels<BFloat16>};

}  // namespace fastmrcnn::FASTMRCNN_ISA
