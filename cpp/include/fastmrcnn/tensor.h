// The two types that every operator takes: a borrowed view of a tensor and the context in which to run.
#pragma once

#include <cstdint>

namespace fastmrcnn {

enum class DType : std::uint8_t { f16, bf16, f32, f64, i32, i64, u8, boolean };
enum class DeviceType : std::uint8_t { cpu, cuda };

struct Device {
  DeviceType type = DeviceType::cpu;
  int index = 0;

  bool operator==(const Device& other) const { return type == other.type && index == other.index; }
  bool operator!=(const Device& other) const { return !(*this == other); }
};

constexpr int kMaxDims = 5;

// A tensor that somebody else owns. Strides count elements, not bytes. An undefined view (`!defined()`) stands for
// an optional argument that was not given.
struct TensorView {
  void* data = nullptr;
  std::int64_t shape[kMaxDims] = {};
  std::int64_t strides[kMaxDims] = {};
  int ndim = -1;
  DType dtype = DType::f32;
  Device device;
  bool writable = true;  // numpy arrays may not be

  bool defined() const { return ndim >= 0; }

  // Whether a check may look at the values. Those on a GPU would have to be waited for.
  bool on_host() const { return device.type == DeviceType::cpu; }

  std::int64_t numel() const {
    std::int64_t count = 1;
    for (int d = 0; d < ndim; ++d) count *= shape[d];
    return count;
  }

  // True where the strides are those of a dense tensor whose dimensions are stored in `order`, outermost first.
  // Dimensions of size one may have any stride.
  template <int N>
  bool is_dense(const int (&order)[N]) const {
    if (ndim != N) return false;
    std::int64_t expected = 1;
    for (int k = N - 1; k >= 0; --k) {
      const int d = order[k];
      if (shape[d] != 1 && strides[d] != expected) return numel() == 0;
      expected *= shape[d];
    }
    return true;
  }

  bool is_contiguous() const {
    std::int64_t expected = 1;
    for (int d = ndim - 1; d >= 0; --d) {
      if (shape[d] != 1 && strides[d] != expected) return numel() == 0;
      expected *= shape[d];
    }
    return true;
  }

  // [N, C, H, W] stored as N, H, W, C.
  bool is_channels_last() const { return is_dense({0, 2, 3, 1}); }

  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

// Where and how an operator runs. `stream` is the caller's current CUDA stream; `num_threads` bounds the CPU threads.
struct Context {
  void* stream = nullptr;
  int num_threads = 1;
};

}  // namespace fastmrcnn
