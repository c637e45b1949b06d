// Uninitialised working memory: on the stack for small sizes, so that a call on a few boxes allocates nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>

namespace fastmrcnn::cpu {

template <class T, std::int64_t kOnStack>
class Scratch {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_default_constructible_v<T>);

 public:
  explicit Scratch(std::int64_t size) {
    if (size > kOnStack) heap_.reset(static_cast<T*>(::operator new(size * sizeof(T), kAlignment)));
  }

  T* get() { return heap_ ? heap_.get() : stack_; }
  T& operator[](std::int64_t k) { return get()[k]; }

 private:
  // Whole cache lines: a vector that straddles two takes twice as long to load.
  static constexpr std::align_val_t kAlignment{64};

  struct Free {
    void operator()(T* memory) const { ::operator delete(memory, kAlignment); }
  };

  std::unique_ptr<T[], Free> heap_;
  alignas(64) T stack_[kOnStack];
};

}  // namespace fastmrcnn::cpu
