// The adjoint of register_picker.h: the gradients of a row of up to 16 bins stay in registers, out of which lane
// permutations give each of up to four packs of columns the bins that read it. Gives the bits that the plain loops
// give.
#pragma once

#include "kernels/columns.h"
#include "kernels/lanes.h"
#include "kernels/roi_align_kernel.h"

namespace fastmrcnn::FASTMRCNN_ISA {
namespace {

// Of one RoI. Where it does not serve (float64, other instruction sets, many bins, wide RoIs), `usable` is false.
template <class S, class T = Accumulator<S>>
class RegisterSpreader {
 public:
  RegisterSpreader(const RoiTaps<T>&, const Columns&) {}
  bool usable() const { return false; }
  void scatter(const Planes<T, const S>&, const RoiTaps<T>&, int64_t) const {}
};

#if defined(FM_HAS_LANES)

template <class S>
class RegisterSpreader<S, float> {
 public:
  FM_KERNEL_INLINE RegisterSpreader(const RoiTaps<float>& roi, const Columns& columns)
      : origin_(columns.origin), packs_(columns.width / kPackLanes), bins_(roi.x.bins) {
    usable_ = !columns.sparse && packs_ >= 1 && packs_ <= kMostColumnPacks && columns.width % kPackLanes == 0 &&
              bins_ <= kMostBinPacks * kPackLanes && roi.y.bins <= kMostBinRows && fill_slots(roi.x);
  }

  bool usable() const { return usable_; }

  // Adds all bins of all planes. Fetches those of `next_roi` meanwhile: its row of the pooled tensor lies far away.
  FM_KERNEL_INLINE void scatter(const Planes<float, const S>& planes, const RoiTaps<float>& roi,
                                int64_t next_roi) const {
    if (packs_ == 1) return scatter_packs<1>(planes, roi, next_roi);
    if (packs_ == 2) return scatter_packs<2>(planes, roi, next_roi);
    if (packs_ == 3) return scatter_packs<3>(planes, roi, next_roi);
    scatter_packs<4>(planes, roi, next_roi);
  }

 private:
  static constexpr int64_t kLineBytes = 64;
  static constexpr int32_t kSlots = 8;  // bins that read a column: more, the smaller they are

  // Slot t holds the t-th bin of every column. False when a column has more bins than there are slots.
  FM_KERNEL_INLINE bool fill_slots(const AxisTaps<float>& x) {
    int32_t used[kMostColumnPacks * kPackLanes] = {};
    uint32_t has_bin[kMostColumnPacks][kSlots] = {};
    for (int64_t n = 0; n < packs_; ++n) {
      memset(bin_[n], 0, sizeof bin_[n]);
      memset(weight_[n], 0, sizeof weight_[n]);
    }
    for (int32_t j = 0; j < x.bins; ++j) {
      for (int32_t tap = x.begin[j]; tap < x.begin[j + 1]; ++tap) {
        const int64_t column = x.index[tap] - origin_, n = column / kPackLanes, lane = column % kPackLanes;
        const int32_t t = used[column]++;
        if (t >= kSlots) return false;
        if (t >= slots_) slots_ = t + 1;
        bin_[n][t][lane] = static_cast<uint32_t>(j);
        weight_[n][t][lane] = x.weight[tap];
        has_bin[n][t] |= 1u << lane;
      }
    }
    for (int64_t n = 0; n < packs_; ++n) {
      for (int32_t t = 0; t < slots_; ++t) has_bin_[n][t] = mask_of(has_bin[n][t]);
    }
    return true;
  }

  template <int N>
  FM_KERNEL_INLINE void scatter_packs(const Planes<float, const S>& planes, const RoiTaps<float>& roi,
                                      int64_t next_roi) const {
    const S* next = planes.pooled + next_roi * planes.roi_stride;
    const int64_t bins = int64_t{roi.y.bins} * bins_;
    const S* pooled = planes.pooled + roi.roi * planes.roi_stride;
    float* top = planes.features + roi.y.first * planes.width + origin_;
    for (int64_t c = 0; c < planes.channels; ++c, pooled += bins, top += planes.height * planes.width) {
      for (int64_t b = 0; b < bins; b += kLineBytes / sizeof(S)) __builtin_prefetch(next + b);
      next += bins;
      PackF32 spread[kMostBinRows][N];
      for (int32_t i = 0; i < roi.y.bins; ++i) spread_columns<N>(pooled + i * bins_, spread[i]);
      for (int32_t r = 0; r < roi.rows.bins; ++r) {
        if (roi.rows.begin[r] < roi.rows.begin[r + 1]) add_row<N>(roi.rows, r, spread, top + r * planes.width);
      }
    }
  }

  // The gradients of a row of bins as gradients of the columns.
  template <int N>
  FM_KERNEL_INLINE void spread_columns(const S* pooled, PackF32 (&spread)[N]) const {
    PackF32 gradients[kMostBinPacks];
    FM_UNROLL
    for (int g = 0; g < kMostBinPacks; ++g) {
      gradients[g] = PackF32{};
      if (bins_ > g * kPackLanes) {
        gradients[g] = load_first(pooled + g * kPackLanes, least(kPackLanes, bins_ - g * kPackLanes));
      }
    }
    FM_UNROLL
    for (int n = 0; n < N; ++n) {
      PackF32 sum = {};
      for (int32_t t = 0; t < slots_; ++t) {
        const PackF32 picked = pick<kMostBinPacks>(gradients, load_bits<PackU32>(bin_[n][t]));
        sum = add_where(has_bin_[n][t], sum, picked * load(weight_[n][t]));
      }
      spread[n] = sum;
    }
  }

  // Adds to a row of the plane what the rows of bins that read it give.
  template <int N>
  static FM_KERNEL_INLINE void add_row(const AxisTaps<float>& rows, int32_t r, const PackF32 (&spread)[kMostBinRows][N],
                                       float* target) {
    PackF32 sum[N] = {};
    for (int32_t a = rows.begin[r]; a < rows.begin[r + 1]; ++a) {
      FM_UNROLL
      for (int n = 0; n < N; ++n) sum[n] += spread[rows.index[a]][n] * rows.weight[a];
    }
    FM_UNROLL
    for (int n = 0; n < N; ++n) store(target + n * kPackLanes, load(target + n * kPackLanes) + sum[n]);
  }

  int64_t origin_;
  int64_t packs_;
  int32_t bins_;
  bool usable_;
  int32_t slots_ = 0;
  LaneMask has_bin_[kMostColumnPacks][kSlots];
  alignas(64) uint32_t bin_[kMostColumnPacks][kSlots][kPackLanes];
  alignas(64) float weight_[kMostColumnPacks][kSlots][kPackLanes];
};

#endif

}  // namespace
}  // namespace fastmrcnn::FASTMRCNN_ISA
