#include "fastmrcnn/device_guard.h"

#include "launch.cuh"

namespace fastmrcnn::cuda {

DeviceGuard::DeviceGuard(int index) : index_(index) {
  check_cuda("fastmrcnn", "asking for the current CUDA device", cudaGetDevice(&previous_));
  if (index_ != previous_) check_cuda("fastmrcnn", "changing the CUDA device", cudaSetDevice(index_));
}

DeviceGuard::~DeviceGuard() {
  if (index_ != previous_) cudaSetDevice(previous_);
}

}  // namespace fastmrcnn::cuda
