// Uninitialised working memory: on the stack for small sizes, so that a call on a few boxes allocates nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace fastmrcnn::cpu {

template <class T, std::int64_t kOnStack>
class Scratch {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  explicit Scratch(std::int64_t size) {
    if (size > kOnStack) heap_.reset(new T[size]);
  }

  T* get() { return heap_ ? heap_.get() : stack_; }
  T& operator[](std::int64_t k) { return get()[k]; }

 private:
  std::unique_ptr<T[]> heap_;
  T stack_[kOnStack];
};

}  // namespace fastmrcnn::cpu
