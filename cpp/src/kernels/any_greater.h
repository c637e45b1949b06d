// Whether a > b in any lane: the one question about packs that the compilers' vector extensions answer slowly.
#pragma once

#include "kernels/pack.h"

#if defined(__AVX512F__) || defined(__AVX2__) || defined(__SSE2__)
#include <immintrin.h>
#endif

namespace fastmrcnn::FASTMRCNN_ISA {
namespace {

#if defined(__AVX512F__)
FM_KERNEL_INLINE bool any_greater(PackF32 a, PackF32 b) {
  return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ) != 0;
}
FM_KERNEL_INLINE bool any_greater(PackF64 a, PackF64 b) {
  return _mm512_cmp_pd_mask(a, b, _CMP_GT_OQ) != 0;
}
#elif defined(__AVX2__)
FM_KERNEL_INLINE bool any_greater(PackF32 a, PackF32 b) {
  return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)) != 0;
}
FM_KERNEL_INLINE bool any_greater(PackF64 a, PackF64 b) {
  return _mm256_movemask_pd(_mm256_cmp_pd(a, b, _CMP_GT_OQ)) != 0;
}
#elif defined(__SSE2__)
FM_KERNEL_INLINE bool any_greater(PackF32 a, PackF32 b) {
  return _mm_movemask_ps(_mm_cmpgt_ps(a, b)) != 0;
}
FM_KERNEL_INLINE bool any_greater(PackF64 a, PackF64 b) {
  return _mm_movemask_pd(_mm_cmpgt_pd(a, b)) != 0;
}
#elif defined(__GNUC__)
template <class P>
FM_KERNEL_INLINE bool any_greater(P a, P b) {
  const auto greater = a > b;
  uint64_t words[sizeof greater / sizeof(uint64_t)], any = 0;
  memcpy(words, &greater, sizeof words);
  for (const uint64_t word : words) any |= word;
  return any != 0;
}
#else
template <class T>
bool any_greater(T a, T b) {
  return a > b;
}
#endif

}  // namespace
}  // namespace fastmrcnn::FASTMRCNN_ISA
