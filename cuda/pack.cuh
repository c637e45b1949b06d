// Neighbouring values moved as one word, and stored types converted by the instructions that the device has for it.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <cstring>

#include "fastmrcnn/half.h"
#include "fastmrcnn/tensor.h"

namespace fastmrcnn::cuda {

template <class S, int kWidth>
struct alignas(sizeof(S) * kWidth) Pack {
  S values[kWidth];
};

namespace pack_detail {

template <int kBytes>
struct WordOf;
template <>
struct WordOf<2> {
  using type = std::uint16_t;
};
template <>
struct WordOf<4> {
  using type = unsigned;
};
template <>
struct WordOf<8> {
  using type = uint2;
};
template <>
struct WordOf<16> {
  using type = uint4;
};

}  // namespace pack_detail

// Through the read-only cache: nothing writes the values while the kernel runs.
template <int kWidth, class S>
__device__ __forceinline__ Pack<S, kWidth> load_pack(const S* values) {
  using Word = typename pack_detail::WordOf<sizeof(S) * kWidth>::type;
  const Word word = __ldg(reinterpret_cast<const Word*>(values));
  Pack<S, kWidth> pack;
  memcpy(&pack, &word, sizeof pack);
  return pack;
}

// Marked as the first to leave the caches, where what is read has to stay.
template <int kWidth, class S>
__device__ __forceinline__ void stream_pack(S* values, const Pack<S, kWidth>& pack) {
  using Word = typename pack_detail::WordOf<sizeof(S) * kWidth>::type;
  Word word;
  memcpy(&word, &pack, sizeof word);
  __stcs(reinterpret_cast<Word*>(values), word);
}

// The numbers that value_of and assign of half.h give.
__device__ __forceinline__ float widened(float stored) {
  return stored;
}
__device__ __forceinline__ double widened(double stored) {
  return stored;
}
__device__ __forceinline__ float widened(Half stored) {
  return __half2float(__ushort_as_half(stored.bits));
}
__device__ __forceinline__ float widened(BFloat16 stored) {
  return value_of(stored);  // a shift
}

__device__ __forceinline__ void narrow(float& stored, float value) {
  stored = value;
}
__device__ __forceinline__ void narrow(double& stored, double value) {
  stored = value;
}
__device__ __forceinline__ void narrow(Half& stored, float value) {
  stored.bits = __half_as_ushort(__float2half_rn(value));
}
__device__ __forceinline__ void narrow(BFloat16& stored, float value) {
  stored.bits = __bfloat16_as_ushort(__float2bfloat16_rn(value));
}

// a * b + c, rounded once. The build contracts nothing by itself.
__device__ __forceinline__ float fused(float a, float b, float c) {
  return __fmaf_rn(a, b, c);
}
__device__ __forceinline__ double fused(double a, double b, double c) {
  return __fma_rn(a, b, c);
}

template <class S, int kWidth>
struct Sums {
  using T = Accumulator<S>;
  T values[kWidth];

  __device__ __forceinline__ explicit Sums(T start = 0) {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) values[i] = start;
  }

  __device__ __forceinline__ void add(T weight, const Pack<S, kWidth>& pack) {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) values[i] = fused(weight, widened(pack.values[i]), values[i]);
  }

  __device__ __forceinline__ Pack<S, kWidth> stored() const {
    Pack<S, kWidth> pack;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) narrow(pack.values[i], values[i]);
    return pack;
  }
};

// Whether rows of `count` values that begin at `data` can be read in whole packs.
template <int kWidth, class S>
bool holds_packs(const S* data, std::int64_t count) {
  return count % kWidth == 0 && reinterpret_cast<std::uintptr_t>(data) % (sizeof(S) * kWidth) == 0;
}

}  // namespace fastmrcnn::cuda
