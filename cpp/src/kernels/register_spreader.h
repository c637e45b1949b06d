// The adjoint of register_picker.h: the gradients of up to 16 bins stay in one AVX-512 register, out of which lane
// permutations give each of up to 64 columns the bins that read it. Gives the bits that the plain loops give.
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
class RegisterSpreader {
 public:
  RegisterSpreader(const AxisTaps<T>&, const Columns&) {}
  bool usable() const { return false; }
  void scatter(const T*, int64_t, const AxisTaps<T>&, T*) const {}
};

#if defined(__AVX512F__)

template <>
class RegisterSpreader<float> {
 public:
  FM_KERNEL_INLINE RegisterSpreader(const AxisTaps<float>& x, const Columns& columns)
      : origin_(columns.origin), packs_(columns.width / kLanes<float>), bins_(x.bins) {
    usable_ = !columns.sparse && packs_ >= 1 && packs_ <= kMostRows && columns.width % kLanes<float> == 0 &&
              x.bins <= kLanes<float> && fill_slots(x);
  }

  bool usable() const { return usable_; }

  // Adds all bins of one plane.
  FM_KERNEL_INLINE void scatter(const float* pooled, int64_t map_width, const AxisTaps<float>& y, float* plane) const {
    const __mmask16 is_bin = static_cast<__mmask16>((1u << bins_) - 1);
    for (int32_t i = 0; i < y.bins; ++i, pooled += bins_) {
      if (y.begin[i] == y.begin[i + 1]) continue;
      const __m512 gradient = _mm512_maskz_loadu_ps(is_bin, pooled);
      for (int64_t n = 0; n < packs_; ++n) {
        __m512 row = _mm512_setzero_ps();
        for (int32_t t = 0; t < slots_; ++t) {
          const __m512 bins = _mm512_maskz_permutexvar_ps(has_bin_[t][n], _mm512_load_si512(bin_[t][n]), gradient);
          const __m512 term = _mm512_mul_ps(bins, _mm512_load_ps(weight_[t][n]));
          row = _mm512_mask_add_ps(row, has_bin_[t][n], row, term);
        }
        for (int32_t a = y.begin[i]; a < y.begin[i + 1]; ++a) {
          float* target = plane + y.index[a] * map_width + origin_ + n * kLanes<float>;
          store(target, load(target) + row * y.weight[a]);
        }
      }
    }
  }

 private:
  static constexpr int32_t kSlots =
      4;  // bins that read a column; neighbouring bins share one, or two when they are small
  static constexpr int64_t kMostRows = 4;

  // Slot t holds the t-th bin of every column. False when a column has more bins than there are slots.
  FM_KERNEL_INLINE bool fill_slots(const AxisTaps<float>& x) {
    int32_t used[kMostRows * 16] = {};
    for (int32_t t = 0; t < kSlots; ++t) {
      for (int64_t n = 0; n < packs_; ++n) has_bin_[t][n] = 0;
    }
    memset(bin_, 0, sizeof bin_);
    memset(weight_, 0, sizeof weight_);
    for (int32_t j = 0; j < x.bins; ++j) {
      for (int32_t tap = x.begin[j]; tap < x.begin[j + 1]; ++tap) {
        const int64_t column = x.index[tap] - origin_, n = column / 16, lane = column % 16;
        const int32_t t = used[column]++;
        if (t >= kSlots) return false;
        if (t >= slots_) slots_ = t + 1;
        bin_[t][n][lane] = j;
        weight_[t][n][lane] = x.weight[tap];
        has_bin_[t][n] |= static_cast<__mmask16>(1u << lane);
      }
    }
    return true;
  }

  int64_t origin_;
  int64_t packs_;
  int32_t bins_;
  bool usable_;
  int32_t slots_ = 0;
  __mmask16 has_bin_[kSlots][kMostRows];
  alignas(64) int32_t bin_[kSlots][kMostRows][16];
  alignas(64) float weight_[kSlots][kMostRows][16];
};

#endif

}  // namespace
}  // namespace fastmrcnn::FASTMRCNN_ISA
