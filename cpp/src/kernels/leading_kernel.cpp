// The one pass over all logits. Few of them are among the best, so a block is compared in vectors, its results are
// gathered in the bits of one word, and only the bits that are set are looked at.
#include "kernels/leading_kernel.h"

#include <string.h>

#include "kernels/pack.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace fastmrcnn::FASTMRCNN_ISA {
namespace {

constexpr int64_t kBlock = 64;

#if defined(__AVX512F__)

FM_KERNEL_INLINE uint64_t at_most(__m512i keys, uint16_t limit) {
  return _mm512_cmple_epu16_mask(keys, _mm512_set1_epi16(static_cast<int16_t>(limit)));
}

FM_KERNEL_INLINE uint64_t at_most(__m512i keys, uint32_t limit) {
  return _mm512_cmple_epu32_mask(keys, _mm512_set1_epi32(static_cast<int32_t>(limit)));
}

FM_KERNEL_INLINE uint64_t at_most(__m512i keys, uint64_t limit) {
  return _mm512_cmple_epu64_mask(keys, _mm512_set1_epi64(static_cast<int64_t>(limit)));
}

// Bit k is set where the key of values[k] is at most `limit`.
template <class Bits>
FM_KERNEL_INLINE uint64_t leading_bits(const Bits* values, const geometry::FloatOrder<Bits>& order, Bits limit) {
  constexpr int64_t kLanes512 = 64 / sizeof(Bits);
  uint64_t bits = 0;
  for (int64_t begin = 0; begin < kBlock; begin += kLanes512) {
    Bits keys[kLanes512];
    for (int64_t lane = 0; lane < kLanes512; ++lane) keys[lane] = order.key(values[begin + lane]);
    bits |= at_most(_mm512_loadu_si512(keys), limit) << begin;
  }
  return bits;
}

#else

template <class Bits>
FM_KERNEL_INLINE uint64_t leading_bits(const Bits* values, const geometry::FloatOrder<Bits>& order, Bits limit) {
  uint8_t leads[kBlock];
  for (int64_t k = 0; k < kBlock; ++k) leads[k] = order.key(values[k]) <= limit;
  uint64_t bits = 0;
  for (int64_t begin = 0; begin < kBlock; begin += 8) {
    // In little-endian order the product has the lowest bits of the eight bytes, first to last, in its highest byte.
    uint64_t eight;
    memcpy(&eight, leads + begin, sizeof eight);
    bits |= (eight * 0x0102040810204080u) >> 56 << begin;
  }
  return bits;
}

#endif

template <class Bits>
int64_t find_leading(const Bits* values, int64_t count, const geometry::FloatOrder<Bits> order, Bits limit,
                     int32_t* positions) {
  int64_t found = 0, begin = 0;
  for (; begin + kBlock <= count; begin += kBlock) {
    for (uint64_t bits = leading_bits(values + begin, order, limit); bits != 0; bits &= bits - 1) {
      positions[found++] = static_cast<int32_t>(begin + __builtin_ctzll(bits));
    }
  }
  for (; begin < count; ++begin) {
    positions[found] = static_cast<int32_t>(begin);
    found += order.key(values[begin]) <= limit;
  }
  return found;
}

}  // namespace

int64_t find_leading_u16(const uint16_t* values, int64_t count, const geometry::FloatOrder<uint16_t>& order,
                         uint16_t limit, int32_t* positions) {
  return find_leading(values, count, order, limit, positions);
}

int64_t find_leading_u32(const uint32_t* values, int64_t count, const geometry::FloatOrder<uint32_t>& order,
                         uint32_t limit, int32_t* positions) {
  return find_leading(values, count, order, limit, positions);
}

int64_t find_leading_u64(const uint64_t* values, int64_t count, const geometry::FloatOrder<uint64_t>& order,
                         uint64_t limit, int32_t* positions) {
  return find_leading(values, count, order, limit, positions);
}

}  // namespace fastmrcnn::FASTMRCNN_ISA
