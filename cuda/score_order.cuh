// Stable orders on the device: keys of scores and groups, and CUB's radix sort of them in a workspace.
#pragma once

#include <cstdint>
#include <cub/device/device_radix_sort.cuh>

#include "fastmrcnn/geometry/float_order.h"
#include "launch.cuh"
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

// What is sorted: a key in the upper half, an index below 2^32 in the lower. Keys of 64 bits are sorted by their lower
// halves and then by their upper ones, so that there is one sort to compile.
using Keyed = std::uint64_t;

__device__ inline Keyed keyed(std::uint32_t key, std::int64_t index) {
  return Keyed{key} << 32 | static_cast<std::uint32_t>(index);
}

__device__ inline std::int64_t index_of(Keyed item) {
  return static_cast<std::uint32_t>(item);
}

class KeyedSort {
 public:
  KeyedSort(Workspace& workspace, std::int64_t n)
      : n_(n), input_(workspace.take<Keyed>(n)), output_(workspace.take<Keyed>(n)) {
    check_cuda("sort", "asking for its size", run(nullptr, temporary_bytes_, nullptr));
    temporary_ = workspace.take<unsigned char>(static_cast<std::int64_t>(temporary_bytes_));
  }

  Keyed* input() const { return input_; }
  const Keyed* output() const { return output_; }

  // Ascending by key, equal keys in the order in which they stand.
  void operator()(const char* op, const Context& context) const {
    std::size_t bytes = temporary_bytes_;
    check_cuda(op, "sorting", run(temporary_, bytes, stream_of(context)));
  }

 private:
  cudaError_t run(void* memory, std::size_t& bytes, cudaStream_t stream) const {
    return cub::DeviceRadixSort::SortKeys(memory, bytes, input_, output_, n_, 32, 64, stream);
  }

  std::int64_t n_;
  Keyed *input_, *output_;
  void* temporary_;
  std::size_t temporary_bytes_ = 0;
};

}  // namespace fastmrcnn::cuda
