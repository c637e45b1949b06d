// A vector of accumulators (float or double) of the instruction set's natural width, loaded from and stored to memory
// of any storage type. Compilers without vector extensions get one element.
#pragma once

#include <stdint.h>
#include <string.h>

#include "fastmrcnn/half.h"

#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace fastmrcnn::FASTMRCNN_ISA {
namespace {

#if defined(__GNUC__)

#if defined(__AVX512F__)
constexpr int kPackBytes = 64;
#elif defined(__AVX2__)
constexpr int kPackBytes = 32;
#else
constexpr int kPackBytes = 16;
#endif
// Accumulators that fit the register file beside their operands.
constexpr int kMostPacks = kPackBytes == 64 ? 16 : 8;

typedef float PackF32 __attribute__((vector_size(kPackBytes)));
typedef double PackF64 __attribute__((vector_size(kPackBytes)));
typedef int32_t PackI32 __attribute__((vector_size(kPackBytes)));
typedef int64_t PackI64 __attribute__((vector_size(kPackBytes)));
typedef uint32_t PackU32 __attribute__((vector_size(kPackBytes)));
typedef uint16_t PackU16 __attribute__((vector_size(kPackBytes / 2)));

#define FM_UNROLL _Pragma("GCC unroll 16")
#define FM_KERNEL_INLINE __attribute__((always_inline)) inline

template <class To, class From>
FM_KERNEL_INLINE To convert_lanes(From from) {
  return __builtin_convertvector(from, To);
}

#else

constexpr int kMostPacks = 1;
using PackF32 = float;
using PackF64 = double;
using PackI32 = int32_t;
using PackI64 = int64_t;
using PackU32 = uint32_t;
using PackU16 = uint16_t;
#define FM_UNROLL
#define FM_KERNEL_INLINE inline

template <class To, class From>
To convert_lanes(From from) {
  return static_cast<To>(from);
}

#endif

template <class Accumulated>
struct PackOf;
template <>
struct PackOf<float> {
  using type = PackF32;
};
template <>
struct PackOf<double> {
  using type = PackF64;
};
template <>
struct PackOf<int32_t> {
  using type = PackI32;
};
template <>
struct PackOf<int64_t> {
  using type = PackI64;
};

// Of the values that a storage type is computed in.
template <class Storage>
using Pack = typename PackOf<Accumulator<Storage>>::type;

template <class Storage>
constexpr int64_t kLanes = sizeof(Pack<Storage>) / sizeof(Accumulator<Storage>);

template <class To, class Storage>
FM_KERNEL_INLINE To load_bits(const Storage* source) {
  To lanes;
  memcpy(&lanes, source, sizeof lanes);
  return lanes;
}

// 16-bit patterns in words. GCC widens halves of a register and joins them where one instruction would do.
#if defined(__AVX512F__)
// With a mask of all lanes: GCC warns of the undefined vectors inside those of its intrinsics that have none.
constexpr __mmask16 kAllLanes = 0xffff;

FM_KERNEL_INLINE PackU32 widen(PackU16 patterns) {
  return reinterpret_cast<PackU32>(_mm512_maskz_cvtepu16_epi32(kAllLanes, reinterpret_cast<__m256i>(patterns)));
}
#elif defined(__AVX2__)
FM_KERNEL_INLINE PackU32 widen(PackU16 patterns) {
  return reinterpret_cast<PackU32>(_mm256_cvtepu16_epi32(reinterpret_cast<__m128i>(patterns)));
}
#else
FM_KERNEL_INLINE PackU32 widen(PackU16 patterns) {
  return convert_lanes<PackU32>(patterns);
}
#endif

template <class T>
FM_KERNEL_INLINE Pack<T> load(const T* source) {
  return load_bits<Pack<T>>(source);
}
FM_KERNEL_INLINE PackF32 load(const BFloat16* source) {
  return half_bits::float_of_bfloat16<PackF32>(widen(load_bits<PackU16>(source)));
}

template <class T>
FM_KERNEL_INLINE void store(T* target, Pack<T> pack) {
  memcpy(target, &pack, sizeof pack);
}
FM_KERNEL_INLINE void store(BFloat16* target, PackF32 pack) {
  const PackU16 lanes = convert_lanes<PackU16>(half_bits::bfloat16_of_float<PackF32, PackU32>(pack));
  memcpy(target, &lanes, sizeof lanes);
}

#if defined(__AVX512F__)
FM_KERNEL_INLINE PackF32 load(const Half* source) {
  return _mm512_maskz_cvtph_ps(kAllLanes, load_bits<__m256i>(source));
}
FM_KERNEL_INLINE void store(Half* target, PackF32 pack) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(target),
                      _mm512_maskz_cvtps_ph(kAllLanes, pack, _MM_FROUND_TO_NEAREST_INT));
}
#elif defined(__F16C__)
FM_KERNEL_INLINE PackF32 load(const Half* source) {
  return _mm256_cvtph_ps(load_bits<__m128i>(source));
}
FM_KERNEL_INLINE void store(Half* target, PackF32 pack) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(target), _mm256_cvtps_ph(pack, _MM_FROUND_TO_NEAREST_INT));
}
#else
FM_KERNEL_INLINE PackF32 load(const Half* source) {
  return half_bits::float_of_half<PackF32>(widen(load_bits<PackU16>(source)));
}
FM_KERNEL_INLINE void store(Half* target, PackF32 pack) {
  const PackU16 lanes = convert_lanes<PackU16>(half_bits::half_of_float<PackF32, PackU32>(pack));
  memcpy(target, &lanes, sizeof lanes);
}
#endif

// Subtracting zero keeps the bits of every value, the sign of zero too.
template <class T>
FM_KERNEL_INLINE Pack<T> broadcast(T value) {
  return value - Pack<T>{};
}

}  // namespace
}  // namespace fastmrcnn::FASTMRCNN_ISA
