// A stand-in for the CUDA runtime: the native module is linked with this file instead of cudart when its kernels are to
// be interpreted. It keeps the PTX that nvcc embedded and the kernels' host stubs; launches, fills and copies go to
// Python callbacks.
//
// Only what the project and CUB call is defined. The link runs with -Wl,--no-undefined, so that a new runtime call is
// noticed, and with hidden visibility and -Wl,-Bsymbolic, so that torch's own runtime in the same process is never
// touched.
#include <cuda_runtime_api.h>
#include <cxxabi.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#define FM_EXPORT __attribute__((visibility("default")))

namespace {

// What Python provides. Each returns 0, or anything else where it stored an error of its own.
using ModuleCallback = void (*)(int module, const char* ptx);
using LaunchCallback = int (*)(int module, const char* kernel, const char* readable, const unsigned* grid_and_block,
                               void** arguments, std::size_t shared_bytes);
using FillCallback = int (*)(void* to, int value, std::size_t bytes);
using CopyCallback = int (*)(void* to, const void* from, std::size_t bytes, int kind);

constexpr unsigned kMaxThreads = 1024;
constexpr unsigned kMaxGridYZ = 65535;
constexpr unsigned kMaxBlockZ = 64;
constexpr std::size_t kSharedDefault = 48 * 1024;
constexpr std::size_t kSharedOptIn = 227 * 1024;
constexpr int kDevices = 2;     // the second one so that a change of device shows; memory is common to both
constexpr int kProcessors = 4;  // few, so that loops over a persistent grid turn more than once

struct Kernel {
  int module;
  std::string name;
  std::string readable;
  std::size_t dynamic_shared_limit = kSharedDefault;
};

struct Configuration {
  dim3 grid, block;
  std::size_t shared_bytes;
  cudaStream_t stream;
};

struct State {
  std::vector<std::string> modules;
  std::map<const void*, Kernel> kernels;  // by host stub
  ModuleCallback add_module = nullptr;
  LaunchCallback launch = nullptr;
  FillCallback fill = nullptr;
  CopyCallback copy = nullptr;
  cudaStream_t last_stream = nullptr;  // of a launch
  int last_device = -1;
};

// A function-local static: nvcc's registration runs before the globals of this file are made.
State& state() {
  static State instance;
  return instance;
}

thread_local Configuration pushed;
thread_local cudaError_t last_error = cudaSuccess;
thread_local int current_device = 0;

cudaError_t record(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

std::string demangle(const char* name) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(abi::__cxa_demangle(name, nullptr, nullptr, &status),
                                                         &std::free);
  return status == 0 ? text.get() : name;
}

// The fat binary (cuda's fatbinary_section.h): a header, then entries, each with a header and a payload.
struct FatHeader {
  std::uint32_t magic;
  std::uint16_t version, header_bytes;
  std::uint64_t payload_bytes;
};
struct FatEntry {
  std::uint16_t kind, version;
  std::uint32_t header_bytes;
  std::uint64_t payload_bytes;
};
constexpr std::uint16_t kPtxEntry = 1;

// The PTX text must lie there as it is: nvcc --no-compress.
std::string find_ptx(const void* fat_binary) {
  const auto* bytes = static_cast<const char*>(fat_binary);
  FatHeader header;
  std::memcpy(&header, bytes, sizeof(header));
  std::size_t at = header.header_bytes;
  const std::size_t end = at + header.payload_bytes;
  while (at < end) {
    FatEntry entry;
    std::memcpy(&entry, bytes + at, sizeof(entry));
    const std::string_view payload(bytes + at + entry.header_bytes, entry.payload_bytes);
    if (entry.kind == kPtxEntry) return std::string(payload.substr(0, payload.find('\0')));
    at += entry.header_bytes + entry.payload_bytes;
  }
  return "";
}

Kernel* find_kernel(const void* stub) {
  const auto found = state().kernels.find(stub);
  return found == state().kernels.end() ? nullptr : &found->second;
}

bool within_limits(const dim3& grid, const dim3& block) {
  const std::uint64_t threads = std::uint64_t{block.x} * block.y * block.z;
  return threads >= 1 && threads <= kMaxThreads && block.z <= kMaxBlockZ && grid.x >= 1 && grid.x <= 0x7fffffffu &&
         grid.y >= 1 && grid.y <= kMaxGridYZ && grid.z >= 1 && grid.z <= kMaxGridYZ;
}

cudaError_t launch(const void* stub, dim3 grid, dim3 block, void** arguments, std::size_t shared_bytes,
                   cudaStream_t stream) {
  const Kernel* kernel = find_kernel(stub);
  if (kernel == nullptr) return record(cudaErrorInvalidDeviceFunction);
  if (!within_limits(grid, block) || shared_bytes > kernel->dynamic_shared_limit) {
    return record(cudaErrorInvalidConfiguration);
  }
  if (state().launch == nullptr) return record(cudaErrorNoDevice);
  state().last_stream = stream;
  state().last_device = current_device;
  const unsigned sizes[6] = {grid.x, grid.y, grid.z, block.x, block.y, block.z};
  const int failed =
      state().launch(kernel->module, kernel->name.c_str(), kernel->readable.c_str(), sizes, arguments, shared_bytes);
  return record(failed ? cudaErrorLaunchFailure : cudaSuccess);
}

int attribute_value(cudaDeviceAttr attribute) {
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount: return kProcessors;
    case cudaDevAttrComputeCapabilityMajor: return 9;
    case cudaDevAttrComputeCapabilityMinor: return 0;
    case cudaDevAttrWarpSize: return 32;
    case cudaDevAttrMaxThreadsPerBlock: return kMaxThreads;
    case cudaDevAttrMaxThreadsPerMultiProcessor: return 2048;
    case cudaDevAttrMaxSharedMemoryPerBlock: return kSharedDefault;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: return kSharedOptIn;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: return 228 * 1024;
    case cudaDevAttrMaxGridDimX: return 0x7fffffff;
    case cudaDevAttrMaxGridDimY: return kMaxGridYZ;
    case cudaDevAttrMaxGridDimZ: return kMaxGridYZ;
    case cudaDevAttrL2CacheSize: return 50 << 20;
    default: return -1;
  }
}

}  // namespace

extern "C" {

FM_EXPORT void fastmrcnn_interpreter_connect(ModuleCallback add_module, LaunchCallback launch_kernel, FillCallback fill,
                                             CopyCallback copy) {
  State& s = state();
  s.add_module = add_module;
  s.launch = launch_kernel;
  s.fill = fill;
  s.copy = copy;
  if (add_module == nullptr) return;
  for (std::size_t i = 0; i < s.modules.size(); ++i) add_module(static_cast<int>(i), s.modules[i].c_str());
}

// Where the last launch went, and which device is current on this thread.
FM_EXPORT void fastmrcnn_interpreter_where(void** stream, int* device, int* current) {
  *stream = state().last_stream;
  *device = state().last_device;
  *current = current_device;
}

// Registration, called by code that nvcc generates. The handle of a fat binary is its number plus one.
void** __cudaRegisterFatBinary(void* wrapper) {
  const void* data;
  std::memcpy(&data, static_cast<const char*>(wrapper) + 8, sizeof(data));
  state().modules.push_back(find_ptx(data));
  return reinterpret_cast<void**>(state().modules.size());
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
char __cudaInitModule(void**) {
  return 0;
}
void __cudaRegisterVar(void**, char*, char*, const char*, int, std::size_t, int, int) {}
void __cudaRegisterFunction(void** handle, const char* stub, char*, const char* name, int, uint3*, uint3*, dim3*, dim3*,
                            int*) {
  const int module = static_cast<int>(reinterpret_cast<std::uintptr_t>(handle)) - 1;
  state().kernels[stub] = Kernel{module, name, demangle(name)};
}

// Launches.
unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, std::size_t shared_bytes, cudaStream_t stream) {
  pushed = {grid, block, shared_bytes, stream};
  return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, std::size_t* shared_bytes, void* stream) {
  *grid = pushed.grid;
  *block = pushed.block;
  *shared_bytes = pushed.shared_bytes;
  *static_cast<cudaStream_t*>(stream) = pushed.stream;
  return cudaSuccess;
}
cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* stub) {
  *kernel = static_cast<cudaKernel_t>(const_cast<void*>(stub));
  return cudaSuccess;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments, std::size_t shared_bytes,
                               cudaStream_t stream) {
  return launch(kernel, grid, block, arguments, shared_bytes, stream);
}
cudaError_t cudaLaunchKernel(const void* stub, dim3 grid, dim3 block, void** arguments, std::size_t shared_bytes,
                             cudaStream_t stream) {
  return launch(stub, grid, block, arguments, shared_bytes, stream);
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* stub, void** arguments) {
  return launch(stub, config->gridDim, config->blockDim, arguments, config->dynamicSmemBytes, config->stream);
}

// Memory.
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t) {
  if (state().fill == nullptr) return record(cudaErrorNoDevice);
  return record(state().fill(to, value, bytes) ? cudaErrorInvalidValue : cudaSuccess);
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t) {
  if (state().copy == nullptr) return record(cudaErrorNoDevice);
  return record(state().copy(to, from, bytes, kind) ? cudaErrorInvalidValue : cudaSuccess);
}

// Devices: two, while somebody interprets; none before, as on a machine without a GPU.
cudaError_t cudaGetDeviceCount(int* count) {
  *count = state().launch == nullptr ? 0 : kDevices;
  return *count == 0 ? record(cudaErrorNoDevice) : cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= kDevices) return record(cudaErrorInvalidDevice);
  current_device = device;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute_value(attribute);
  return *value < 0 ? record(cudaErrorInvalidValue) : cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  *status = cudaStreamCaptureStatusNone;
  return cudaSuccess;
}

// Kernels. Registers and occupancy are ptxas's to say; these are plausible figures.
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* stub) {
  const Kernel* kernel = find_kernel(stub);
  if (kernel == nullptr) return record(cudaErrorInvalidDeviceFunction);
  *attributes = {};
  attributes->ptxVersion = attributes->binaryVersion = 90;
  attributes->maxThreadsPerBlock = kMaxThreads;
  attributes->numRegs = 32;
  attributes->maxDynamicSharedSizeBytes = static_cast<int>(kernel->dynamic_shared_limit);
  return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void* stub, cudaFuncAttribute attribute, int value) {
  Kernel* kernel = find_kernel(stub);
  if (kernel == nullptr) return record(cudaErrorInvalidDeviceFunction);
  if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) return cudaSuccess;
  const bool valid = attribute == cudaFuncAttributeMaxDynamicSharedMemorySize && value >= 0 &&
                     static_cast<std::size_t>(value) <= kSharedOptIn;
  if (!valid) return record(cudaErrorInvalidValue);
  kernel->dynamic_shared_limit = static_cast<std::size_t>(value);
  return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void*, int, std::size_t,
                                                                   unsigned) {
  *blocks = 2;
  return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void*, int, std::size_t) {
  *blocks = 2;
  return cudaSuccess;
}

// Errors.
cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}
cudaError_t cudaPeekAtLastError() {
  return last_error;
}
const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess: return "cudaSuccess";
    case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
    case cudaErrorInvalidConfiguration: return "cudaErrorInvalidConfiguration";
    case cudaErrorInvalidDeviceFunction: return "cudaErrorInvalidDeviceFunction";
    case cudaErrorInvalidDevice: return "cudaErrorInvalidDevice";
    case cudaErrorNoDevice: return "cudaErrorNoDevice";
    case cudaErrorLaunchFailure: return "cudaErrorLaunchFailure";
    default: return "cudaErrorUnknown";
  }
}
const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess: return "no error";
    case cudaErrorInvalidValue: return "invalid argument";
    case cudaErrorInvalidConfiguration: return "invalid configuration argument";
    case cudaErrorInvalidDeviceFunction: return "invalid device function";
    case cudaErrorInvalidDevice: return "invalid device ordinal";
    case cudaErrorNoDevice: return "no CUDA-capable device is detected";
    case cudaErrorLaunchFailure: return "unspecified launch failure";
    default: return "unrecognized error code";
  }
}

}  // extern "C"
