// What the CUDA half of this build is and sees. Defined by cuda/runtime_info.cu, or by cpp/src/without_cuda.cpp in a
// build without nvcc.
#pragma once

#include <string>

namespace fastmrcnn::cuda {

struct RuntimeInfo {
  bool built = false;         // compiled with nvcc
  int toolkit_version = 0;    // 1000 * major + 10 * minor of the toolkit it was compiled with
  int driver_version = 0;     // newest CUDA version that the installed driver supports, 0 without a driver
  int device_count = 0;       // usable devices
  std::string problem;        // why there is none, in the runtime's words
  std::string architectures;  // e.g. "75 80 86 90"
};

// Never throws: no driver and no GPU are ordinary states.
RuntimeInfo runtime_info();

}  // namespace fastmrcnn::cuda
