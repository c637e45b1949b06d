// How every kernel is launched: on the caller's stream, checked, named in the error. Nothing here synchronises.
#pragma once

#include <cuda_runtime.h>

#include <sstream>
#include <stdexcept>
#include <type_traits>

#include "fastmrcnn/check.h"
#include "fastmrcnn/tensor.h"

namespace fastmrcnn::cuda {

struct LaunchShape {
  dim3 grid, block;
  std::size_t shared_bytes = 0;  // dynamic
};

inline void check_cuda(const char* op, const char* what, cudaError_t status) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // which keeps it, and would tell it of the next launch
  std::ostringstream message;
  message << op << ": " << what << " failed: " << cudaGetErrorString(status) << " (" << cudaGetErrorName(status) << ')';
  throw std::runtime_error(message.str());
}

inline cudaStream_t stream_of(const Context& context) {
  return static_cast<cudaStream_t>(context.stream);
}

// Raises RuntimeError where the launch is refused. An error of the kernel itself shows at the next synchronisation, as
// all of CUDA's do; CUDA_LAUNCH_BLOCKING=1 brings it here. Dynamic shared memory above 48 KiB is asked for.
template <class... Parameters, class... Arguments>
void launch(const char* op, const Context& context, void (*kernel)(Parameters...), const LaunchShape& shape,
            Arguments&&... arguments) {
  constexpr std::size_t kWithoutAsking = 48 << 10;
  if (shape.shared_bytes > kWithoutAsking) {
    check_cuda(op, "asking for shared memory",
               cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shape.shared_bytes)));
  }
  kernel<<<shape.grid, shape.block, shape.shared_bytes, stream_of(context)>>>(
      static_cast<Parameters>(std::forward<Arguments>(arguments))...);
  const cudaError_t status = cudaGetLastError();
  if (status == cudaSuccess) return;
  std::ostringstream what;
  what << "launch of " << shape.grid.x << " x " << shape.grid.y << " x " << shape.grid.z << " blocks of "
       << shape.block.x * shape.block.y * shape.block.z << " threads";
  check_cuda(op, what.str().c_str(), status);
}

// Zeros `bytes` of the device's memory, on the caller's stream.
inline void clear(const char* op, const Context& context, void* memory, std::size_t bytes) {
  if (bytes > 0) check_cuda(op, "clearing memory", cudaMemsetAsync(memory, 0, bytes, stream_of(context)));
}

constexpr std::int64_t kMostBlocks = (std::int64_t{1} << 31) - 1;  // of a grid, in x

// A grid of so many blocks, for kernels whose blocks do not loop.
inline unsigned all_blocks(const char* op, std::int64_t blocks) {
  check(blocks <= kMostBlocks, op, ": takes ", blocks, " blocks; a launch has at most ", kMostBlocks);
  return static_cast<unsigned>(blocks);
}

// Blocks that cover `items` at `per_block` each. Kernels over more items than a grid holds loop (grid-stride).
inline unsigned blocks_for(std::int64_t items, std::int64_t per_block) {
  const std::int64_t blocks = (items + per_block - 1) / per_block;
  return static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks);
}

}  // namespace fastmrcnn::cuda
