// Stands in for cuda/ in a build without nvcc.
#if !defined(FASTMRCNN_WITH_CUDA)

#include "fastmrcnn/cuda_runtime_info.h"

namespace fastmrcnn::cuda {

RuntimeInfo runtime_info() {
  RuntimeInfo info;
  info.problem = "this build has no CUDA kernels";
  return info;
}

}  // namespace fastmrcnn::cuda

#endif
