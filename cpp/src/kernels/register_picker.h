// The x-step of RoIAlign on NCHW maps inside registers: a combined row of columns stays in up to four packs, out of
// which lane permutations pick the taps of up to 16 bins. Gives the bits that the plain loops give.
#pragma once

#include "kernels/columns.h"
#include "kernels/lanes.h"
#include "kernels/roi_align_kernel.h"

namespace fastmrcnn::FASTMRCNN_ISA {
namespace {

// Of one RoI. Where it does not serve (float64, other instruction sets, many bins, wide RoIs), `usable` is false.
template <class S, class T = Accumulator<S>>
class RegisterPicker {
 public:
  RegisterPicker(const AxisTaps<T>&, const Columns&) {}
  bool usable() const { return false; }
  void gather(const Planes<const S, S>&, const RoiTaps<T>&) const {}
};

#if defined(FM_HAS_LANES)

template <class S>
class RegisterPicker<S, float> {
 public:
  FM_KERNEL_INLINE RegisterPicker(const AxisTaps<float>& x, const Columns& columns)
      : origin_(columns.origin), packs_(columns.width / kPackLanes) {
    for (int32_t j = 0; j < x.bins; ++j) {
      if (x.begin[j + 1] - x.begin[j] > slots_) slots_ = x.begin[j + 1] - x.begin[j];
    }
    usable_ = !columns.sparse && packs_ >= 1 && packs_ <= kMostColumnPacks && columns.width % kPackLanes == 0 &&
              x.bins <= kMostBinPacks * kPackLanes && slots_ <= kSlots;
    if (!usable_) return;
    bin_packs_ = (x.bins + kPackLanes - 1) / kPackLanes;
    // Where the bins of two planes fit one pack, it holds both.
    planes_per_pack_ = kPackLanes == 16 && x.bins <= 8 ? 2 : 1;
    for (int32_t g = 0; g < bin_packs_; ++g) {
      for (int32_t t = 0; t < slots_; ++t) fill_slot(g, t, x);
    }
  }

  bool usable() const { return usable_; }

  // All bins of all planes.
  FM_KERNEL_INLINE void gather(const Planes<const S, S>& planes, const RoiTaps<float>& roi) const {
    if (packs_ == 1) return gather_packs<1>(planes, roi);
    if (packs_ == 2) return gather_packs<2>(planes, roi);
    if (packs_ == 3) return gather_packs<3>(planes, roi);
    gather_packs<4>(planes, roi);
  }

 private:
  static constexpr int32_t kSlots = 8;  // taps of a bin

  // Slot t holds the t-th tap of every bin of pack g.
  FM_KERNEL_INLINE void fill_slot(int32_t g, int32_t t, const AxisTaps<float>& x) {
    uint32_t has_tap = 0;
    memset(index_[g][t], 0, sizeof index_[g][t]);
    memset(weight_[g][t], 0, sizeof weight_[g][t]);
    for (int32_t lane = 0; lane < kPackLanes && g * kPackLanes + lane < x.bins; ++lane) {
      const int32_t tap = x.begin[g * kPackLanes + lane] + t;
      if (tap >= x.begin[g * kPackLanes + lane + 1]) continue;
      index_[g][t][lane] = static_cast<uint32_t>(x.index[tap] - origin_);
      weight_[g][t][lane] = x.weight[tap];
      has_tap |= 1u << lane;
    }
    if (planes_per_pack_ == 2) {
      memcpy(index_[g][t] + kPackLanes / 2, index_[g][t], sizeof index_[g][t] / 2);
      memcpy(weight_[g][t] + kPackLanes / 2, weight_[g][t], sizeof weight_[g][t] / 2);
      has_tap |= has_tap << kPackLanes / 2;
    }
    has_tap_[g][t] = mask_of(has_tap);
  }

  template <int N>
  FM_KERNEL_INLINE void gather_packs(const Planes<const S, S>& planes, const RoiTaps<float>& roi) const {
    const int64_t plane_size = planes.height * planes.width, bins = int64_t{roi.y.bins} * roi.x.bins;
    const S* features = planes.features + origin_;
    S* pooled = planes.pooled + roi.roi * planes.roi_stride;
    int64_t c = 0;
    for (; c + 2 <= planes.channels; c += 2, features += 2 * plane_size, pooled += 2 * bins) {
      for (int32_t i = 0; i < roi.y.bins; ++i) {
        PackF32 rows[2][N];
        combine_rows<N, 2>(features, plane_size, planes.width, roi.y, i, rows);
        if (planes_per_pack_ == 2) {
          store_pair<N>(rows, pooled + i * roi.x.bins, pooled + bins + i * roi.x.bins, roi.x.bins);
        } else {
          store_bins<N>(rows[0], pooled + i * roi.x.bins, roi.x.bins);
          store_bins<N>(rows[1], pooled + bins + i * roi.x.bins, roi.x.bins);
        }
      }
    }
    if (c == planes.channels) return;
    for (int32_t i = 0; i < roi.y.bins; ++i) {
      PackF32 rows[1][N];
      combine_rows<N, 1>(features, plane_size, planes.width, roi.y, i, rows);
      store_bins<N>(rows[0], pooled + i * roi.x.bins, roi.x.bins);
    }
  }

  // The row of bins i of P planes, before its columns are picked.
  template <int N, int P>
  static FM_KERNEL_INLINE void combine_rows(const S* features, int64_t plane_size, int64_t map_width,
                                            const AxisTaps<float>& y, int32_t i, PackF32 (&rows)[P][N]) {
    FM_UNROLL
    for (int p = 0; p < P; ++p) {
      FM_UNROLL
      for (int n = 0; n < N; ++n) rows[p][n] = PackF32{};
    }
    for (int32_t a = y.begin[i]; a < y.begin[i + 1]; ++a) {
      const S* source = features + y.index[a] * map_width;
      FM_UNROLL
      for (int p = 0; p < P; ++p) {
        FM_UNROLL
        for (int n = 0; n < N; ++n) rows[p][n] += load(source + p * plane_size + n * kPackLanes) * y.weight[a];
      }
    }
  }

  template <int N>
  FM_KERNEL_INLINE void store_bins(const PackF32 (&row)[N], S* pooled, int bins) const {
    for (int32_t g = 0; g < bin_packs_; ++g) {
      PackF32 sum = {};
      for (int32_t t = 0; t < slots_; ++t) {
        const PackF32 picked = pick<N>(row, load_bits<PackU32>(index_[g][t]));
        sum = add_where(has_tap_[g][t], sum, picked * load(weight_[g][t]));
      }
      store_first(pooled + g * kPackLanes, least(kPackLanes, bins - g * kPackLanes), sum);
    }
  }

  // The bins of two planes, in the lower and in the upper half of a pack.
  template <int N>
  FM_KERNEL_INLINE void store_pair(const PackF32 (&rows)[2][N], S* first, S* second, int bins) const {
    PackF32 sum = {};
    for (int32_t t = 0; t < slots_; ++t) {
      const PackU32 index = load_bits<PackU32>(index_[0][t]);
      const PackF32 picked = lower_and_upper(pick<N>(rows[0], index), pick<N>(rows[1], index));
      sum = add_where(has_tap_[0][t], sum, picked * load(weight_[0][t]));
    }
    store_first(first, bins, sum);
    store_first(second, bins, upper_half(sum));
  }

  int64_t origin_;
  int64_t packs_;
  bool usable_;
  int32_t bin_packs_ = 0;
  int32_t planes_per_pack_ = 1;
  int32_t slots_ = 0;
  LaneMask has_tap_[kMostBinPacks][kSlots];
  alignas(64) uint32_t index_[kMostBinPacks][kSlots][kPackLanes];
  alignas(64) float weight_[kMostBinPacks][kSlots][kPackLanes];
};

#endif

}  // namespace
}  // namespace fastmrcnn::FASTMRCNN_ISA
