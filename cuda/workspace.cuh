// The memory that a kernel needs besides its outputs, dealt out in parts. One function of an operator names the parts;
// called on no memory it tells how many bytes they take.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fastmrcnn/check.h"
#include "fastmrcnn/tensor.h"

namespace fastmrcnn::cuda {

class Workspace {
 public:
  Workspace() = default;

  // [bytes] uint8, at least as many as were told.
  Workspace(const char* op, const TensorView& memory, std::size_t bytes) : base_(memory.as<unsigned char>()) {
    check(memory.ndim == 1 && memory.dtype == DType::u8 && memory.is_contiguous(), op,
          ": workspace must be [bytes] uint8, contiguous; got ", shape_of(memory), " of ", name_of(memory.dtype));
    check(memory.shape[0] >= static_cast<std::int64_t>(bytes), op, ": workspace must have ", bytes, " bytes; got ",
          memory.shape[0]);
    check_writable(op, "workspace", memory);
    check(reinterpret_cast<std::uintptr_t>(base_) % kWidestAccess == 0, op, ": workspace must be aligned to ",
          kWidestAccess, " bytes, as all new tensors are");
  }

  // The next `count` elements, on an address that suits every kind of access.
  template <class T>
  T* take(std::int64_t count) {
    T* part = reinterpret_cast<T*>(base_ + bytes_);
    bytes_ += (count * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
    return part;
  }

  std::size_t bytes() const { return bytes_; }

 private:
  static constexpr std::size_t kAlignment = 128;  // a cache line
  static constexpr std::size_t kWidestAccess = 16;

  unsigned char* base_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace fastmrcnn::cuda
