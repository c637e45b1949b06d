// Reports the CUDA toolkit, driver and devices. The runtime is linked statically and loads the driver lazily, so that
// this library imports on a machine without either.
#include <cuda_runtime_api.h>

#include "fastmrcnn/cuda_runtime_info.h"

namespace fastmrcnn::cuda {

RuntimeInfo runtime_info() {
  RuntimeInfo info;
  info.built = true;
  info.toolkit_version = CUDART_VERSION;
  info.architectures = FASTMRCNN_CUDA_ARCHITECTURES;
  if (cudaDriverGetVersion(&info.driver_version) != cudaSuccess) info.driver_version = 0;
  const cudaError_t status = cudaGetDeviceCount(&info.device_count);
  if (status != cudaSuccess) {
    info.device_count = 0;
    info.problem = cudaGetErrorString(status);
    cudaGetLastError();  // leaves no sticky error for torch
  }
  return info;
}

}  // namespace fastmrcnn::cuda
