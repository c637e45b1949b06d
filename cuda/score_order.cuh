// Stable orders of scores and of groups on the device: CUB's radix sort in a workspace.
#pragma once

#include <cstdint>

#include "fastmrcnn/geometry/float_order.h"
#include "workspace.cuh"

namespace fastmrcnn::cuda {

// Unsigned keys that ascend where scores descend: NaN first, both zeros alike, as cpu::descending_order has it.
__device__ inline std::uint32_t descending_key(float score) {
  return geometry::FloatOrder<std::uint32_t>{0x7f800000u}.key(__float_as_uint(score));
}

__device__ inline std::uint64_t descending_key(double score) {
  return geometry::FloatOrder<std::uint64_t>{0x7ff0000000000000u}.key(
      static_cast<std::uint64_t>(__double_as_longlong(score)));
}

// Unsigned keys in the order of signed numbers.
__device__ inline std::uint64_t ascending_key(std::int64_t number) {
  return static_cast<std::uint64_t>(number) ^ std::uint64_t{1} << 63;
}

// What is sorted: a key in the upper half, an index below 2^32 in the lower.
using Keyed = std::uint64_t;

__device__ inline Keyed keyed(std::uint32_t key, std::int64_t index) {
  return Keyed{key} << 32 | static_cast<std::uint32_t>(index);
}

__device__ inline std::int64_t index_of(Keyed item) {
  return static_cast<std::uint32_t>(item);
}

// Sorts n < 2^31 indices, those of equal keys in the order in which they stand. Keys of 64 bits go by their lower
// halves and then by their upper ones, so that there is one sort to compile. A launch for the keys and one for the sort
// of some thousands, else a histogram and a pass for each byte, and that twice for 64 bits.
class KeyedSort {
 public:
  KeyedSort(Workspace& workspace, std::int64_t n);

  // The indices in descending order of their scores, NaN first. For float and double.
  template <class T>
  void by_score(const char* op, const Context& context, const T* scores) const;

  // In ascending order of the groups: the indices themselves, or if `order` is given, ranks in it.
  void by_group(const char* op, const Context& context, const std::int64_t* groups, const Keyed* order) const;

  const Keyed* result() const { return output_; }

 private:
  template <class KeyOf>
  void sort(const char* op, const Context& context, const KeyOf& key_of, const Keyed* before) const;

  std::int64_t n_;
  Keyed *input_, *output_;
  void* temporary_;
  std::size_t temporary_bytes_ = 0;
};

// For n numbers in ascending order, where the run of equal ones begins that each belongs to.
void find_begins(const char* op, const Context& context, const std::int64_t* groups, std::int64_t n,
                 std::int32_t* begins);

}  // namespace fastmrcnn::cuda
