// A vector of the instruction set's natural width. Compilers without vector extensions get one element.
#pragma once

#include <stdint.h>
#include <string.h>

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

template <class T>
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

#define FM_UNROLL _Pragma("GCC unroll 16")
#define FM_KERNEL_INLINE __attribute__((always_inline)) inline

#else

constexpr int kMostPacks = 1;
template <class T>
struct PackOf {
  using type = T;
};
#define FM_UNROLL
#define FM_KERNEL_INLINE inline

#endif

template <class T>
using Pack = typename PackOf<T>::type;

template <class T>
constexpr int64_t kLanes = sizeof(Pack<T>) / sizeof(T);

template <class T>
FM_KERNEL_INLINE Pack<T> load(const T* source) {
  Pack<T> pack;
  memcpy(&pack, source, sizeof pack);
  return pack;
}

template <class T>
FM_KERNEL_INLINE void store(T* target, Pack<T> pack) {
  memcpy(target, &pack, sizeof pack);
}

// Subtracting zero keeps the bits of every value, the sign of zero too.
template <class T>
FM_KERNEL_INLINE Pack<T> broadcast(T value) {
  return value - Pack<T>{};
}

}  // namespace
}  // namespace fastmrcnn::FASTMRCNN_ISA
