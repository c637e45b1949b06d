// The CUDA device that a call's tensors lie on, made current while the call runs. Defined in cuda/device_guard.cu; a
// build without nvcc never constructs one.
#pragma once

namespace fastmrcnn::cuda {

class DeviceGuard {
 public:
  explicit DeviceGuard(int index);
  ~DeviceGuard();
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int index_, previous_ = 0;
};

}  // namespace fastmrcnn::cuda
