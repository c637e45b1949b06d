// The x-step of RoIAlign on NCHW maps inside registers: a combined row of up to 64 columns stays in four AVX-512
// registers, out of which lane permutations pick the taps of up to 16 bins at a time. Gives the bits that the plain
// loops give.
#pragma once

#include "kernels/columns.h"
#include "kernels/pack.h"
#include "kernels/roi_align_kernel.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace fastmrcnn::FASTMRCNN_ISA {
namespace {

// Of one RoI. Where it does not serve (other types and instruction sets, many bins, wide RoIs), `usable` is false.
template <class T>
class RegisterPicker {
 public:
  RegisterPicker(const AxisTaps<T>&, const Columns&) {}
  bool usable() const { return false; }
  void gather(const T*, int64_t, const AxisTaps<T>&, T*) const {}
};

#if defined(__AVX512F__)

template <>
class RegisterPicker<float> {
 public:
  FM_KERNEL_INLINE RegisterPicker(const AxisTaps<float>& x, const Columns& columns)
      : origin_(columns.origin), packs_(columns.width / kLanes<float>) {
    for (int32_t j = 0; j < x.bins; ++j) {
      if (x.begin[j + 1] - x.begin[j] > slots_) slots_ = x.begin[j + 1] - x.begin[j];
    }
    usable_ = !columns.sparse && packs_ >= 1 && packs_ <= 4 && columns.width % kLanes<float> == 0 && x.bins <= 16 &&
              slots_ <= kSlots;
    if (!usable_) return;
    is_bin_ = static_cast<__mmask16>((1u << x.bins) - 1);
    for (int32_t t = 0; t < slots_; ++t) fill_slot(t, x);
  }

  bool usable() const { return usable_; }

  // All bins of one plane.
  FM_KERNEL_INLINE void gather(const float* plane, int64_t map_width, const AxisTaps<float>& y, float* pooled) const {
    if (packs_ == 1) return gather_packs<1>(plane, map_width, y, pooled);
    if (packs_ == 2) return gather_packs<2>(plane, map_width, y, pooled);
    if (packs_ == 3) return gather_packs<3>(plane, map_width, y, pooled);
    gather_packs<4>(plane, map_width, y, pooled);
  }

 private:
  static constexpr int32_t kSlots = 8;  // taps of a bin

  // Slot t holds the t-th tap of every bin.
  FM_KERNEL_INLINE void fill_slot(int32_t t, const AxisTaps<float>& x) {
    alignas(64) int32_t index[16] = {};
    alignas(64) float weight[16] = {};
    has_tap_[t] = 0;
    for (int32_t j = 0; j < x.bins; ++j) {
      const int32_t tap = x.begin[j] + t;
      if (tap >= x.begin[j + 1]) continue;
      index[j] = static_cast<int32_t>(x.index[tap] - origin_);
      weight[j] = x.weight[tap];
      has_tap_[t] |= static_cast<__mmask16>(1u << j);
    }
    index_[t] = _mm512_load_si512(index);
    weight_[t] = _mm512_load_ps(weight);
  }

  template <int N>
  FM_KERNEL_INLINE void gather_packs(const float* plane, int64_t map_width, const AxisTaps<float>& y,
                                     float* pooled) const {
    const int bins = __builtin_popcount(is_bin_);
    for (int32_t i = 0; i < y.bins; ++i, pooled += bins) {
      PackF32 row[4] = {};
      for (int32_t a = y.begin[i]; a < y.begin[i + 1]; ++a) {
        const float* source = plane + y.index[a] * map_width + origin_;
        FM_UNROLL
        for (int n = 0; n < N; ++n) row[n] += load(source + n * kLanes<float>) * y.weight[a];
      }
      __m512 sum = _mm512_setzero_ps();
      for (int32_t t = 0; t < slots_; ++t) {
        const __m512 term = _mm512_mul_ps(pick<N>(row, index_[t]), weight_[t]);
        sum = _mm512_mask_add_ps(sum, has_tap_[t], sum, term);
      }
      _mm512_mask_storeu_ps(pooled, is_bin_, sum);
    }
  }

  // row[index] in each lane.
  template <int N>
  static FM_KERNEL_INLINE __m512 pick(const PackF32 (&row)[4], __m512i index) {
    const __m512 low = _mm512_permutex2var_ps(row[0], index, row[1]);
    if (N <= 2) return low;
    const __m512 high = _mm512_permutex2var_ps(row[2], index, row[3]);
    return _mm512_mask_blend_ps(_mm512_test_epi32_mask(index, _mm512_set1_epi32(32)), low, high);
  }

  int64_t origin_;
  int64_t packs_;
  bool usable_;
  int32_t slots_ = 0;
  __mmask16 is_bin_ = 0;
  __mmask16 has_tap_[kSlots];
  __m512i index_[kSlots];
  __m512 weight_[kSlots];
};

#endif

}  // namespace
}  // namespace fastmrcnn::FASTMRCNN_ISA
