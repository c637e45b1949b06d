// Lanes of float packs by index and by mask: the x-step of RoIAlign on NCHW maps inside registers. Empty where the
// instruction set does not permute by variable indices.
#pragma once

#include "kernels/pack.h"

namespace fastmrcnn::FASTMRCNN_ISA {
namespace {

#if defined(__AVX512F__)

#define FM_HAS_LANES
constexpr int kPackLanes = 16;

using LaneMask = __mmask16;

FM_KERNEL_INLINE LaneMask mask_of(uint32_t lanes) {
  return static_cast<LaneMask>(lanes);
}

// sum + term in the lanes of the mask, sum elsewhere.
FM_KERNEL_INLINE PackF32 add_where(LaneMask mask, PackF32 sum, PackF32 term) {
  return _mm512_mask_add_ps(sum, mask, sum, term);
}

// packs[index] in each lane, the N packs being one array.
template <int N>
FM_KERNEL_INLINE PackF32 pick(const PackF32* packs, PackU32 indices) {
  const __m512i index = reinterpret_cast<__m512i>(indices);
  if constexpr (N == 1) return _mm512_maskz_permutexvar_ps(kAllLanes, index, packs[0]);
  if constexpr (N == 2) return _mm512_permutex2var_ps(packs[0], index, packs[1]);
  if constexpr (N > 2) {
    const PackF32 low = pick<2>(packs, indices), high = pick<N - 2>(packs + 2, indices);
    return _mm512_mask_blend_ps(_mm512_test_epi32_mask(index, _mm512_set1_epi32(32)), low, high);
  }
}

// The lower half of one pack's lanes and the upper half of another's.
FM_KERNEL_INLINE PackF32 lower_and_upper(PackF32 lower, PackF32 upper) {
  return _mm512_mask_blend_ps(0xff00, lower, upper);
}

// Moved to the lower half.
FM_KERNEL_INLINE PackF32 upper_half(PackF32 pack) {
  return _mm512_maskz_shuffle_f32x4(kAllLanes, pack, pack, 0xee);
}

// The first `count` lanes; the rest of the memory is not touched and reads as zero.
FM_KERNEL_INLINE PackF32 load_first(const float* source, int count) {
  return _mm512_maskz_loadu_ps(mask_of((1u << count) - 1), source);
}
FM_KERNEL_INLINE PackF32 load_first(const Half* source, int count) {
  return _mm512_maskz_cvtph_ps(kAllLanes, _mm256_maskz_loadu_epi16(mask_of((1u << count) - 1), source));
}
FM_KERNEL_INLINE PackF32 load_first(const BFloat16* source, int count) {
  const __m256i lanes = _mm256_maskz_loadu_epi16(mask_of((1u << count) - 1), source);
  return half_bits::float_of_bfloat16<PackF32>(widen(reinterpret_cast<PackU16>(lanes)));
}

FM_KERNEL_INLINE void store_first(float* target, int count, PackF32 pack) {
  _mm512_mask_storeu_ps(target, mask_of((1u << count) - 1), pack);
}
template <class S>
FM_KERNEL_INLINE void store_first(S* target, int count, PackF32 pack) {
  alignas(32) S lanes[kPackLanes];
  store(lanes, pack);
  _mm256_mask_storeu_epi16(target, mask_of((1u << count) - 1), load_bits<__m256i>(lanes));
}

#elif defined(__AVX2__)

#define FM_HAS_LANES
constexpr int kPackLanes = 8;

using LaneMask = __m256i;

FM_KERNEL_INLINE LaneMask mask_of(uint32_t lanes) {
  const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(static_cast<int>(lanes)), bit), bit);
}

FM_KERNEL_INLINE PackF32 add_where(LaneMask mask, PackF32 sum, PackF32 term) {
  return _mm256_blendv_ps(sum, sum + term, _mm256_castsi256_ps(mask));
}

template <int N>
FM_KERNEL_INLINE PackF32 pick(const PackF32* packs, PackU32 indices) {
  const __m256i index = reinterpret_cast<__m256i>(indices);
  if constexpr (N == 1) return _mm256_permutevar8x32_ps(packs[0], index);
  if constexpr (N > 1) {
    constexpr int kLow = N > 2 ? 2 : 1, kBit = kLow * 8;
    const PackF32 low = pick<kLow>(packs, indices), high = pick<N - kLow>(packs + kLow, indices);
    // The bit of the index that tells high from low becomes the sign that blendv looks at.
    const __m256i sign = _mm256_slli_epi32(index, kBit == 16 ? 27 : 28);
    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(sign));
  }
}

FM_KERNEL_INLINE PackF32 lower_and_upper(PackF32 lower, PackF32 upper) {
  return _mm256_blend_ps(lower, upper, 0xf0);
}
FM_KERNEL_INLINE PackF32 upper_half(PackF32 pack) {
  return _mm256_permute2f128_ps(pack, pack, 0x11);
}

FM_KERNEL_INLINE PackF32 load_first(const float* source, int count) {
  return _mm256_maskload_ps(source, mask_of((1u << count) - 1));
}
template <class S>
FM_KERNEL_INLINE PackF32 load_first(const S* source, int count) {
  alignas(16) S lanes[kPackLanes] = {};
  for (int lane = 0; lane < count; ++lane) lanes[lane] = source[lane];
  return load(lanes);
}

FM_KERNEL_INLINE void store_first(float* target, int count, PackF32 pack) {
  _mm256_maskstore_ps(target, mask_of((1u << count) - 1), pack);
}
template <class S>
FM_KERNEL_INLINE void store_first(S* target, int count, PackF32 pack) {
  alignas(16) S lanes[kPackLanes];
  store(lanes, pack);
  for (int lane = 0; lane < count; ++lane) target[lane] = lanes[lane];
}

#endif

#if defined(FM_HAS_LANES)

// The most packs of columns, and of bins, that the register kernels take: 16 bins, whatever the width.
constexpr int kMostColumnPacks = 4;
constexpr int kMostBinPacks = 16 / kPackLanes;

FM_KERNEL_INLINE int least(int a, int b) {
  return a < b ? a : b;
}

#endif

}  // namespace
}  // namespace fastmrcnn::FASTMRCNN_ISA
