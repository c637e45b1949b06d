// A part of a gradient tensor that one task owns.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "fastmrcnn/half.h"
#include "fastmrcnn/isa.h"
#include "kernels/storage_kernel.h"

namespace fastmrcnn {

// Sums of Accumulator<S>, zero at first: in the tensor itself where that is what it stores, else beside it, to be
// rounded once.
template <class S>
class GradientSums {
 public:
  using T = Accumulator<S>;

  GradientSums(S* stored, std::int64_t count) : stored_(stored), count_(count) {
    if constexpr (std::is_same_v<S, T>) {
      std::fill(stored, stored + count, T(0));
    } else {
      beside_.resize(static_cast<std::size_t>(count));
    }
  }

  T* data() {
    if constexpr (std::is_same_v<S, T>) {
      return stored_;
    } else {
      return beside_.data();
    }
  }

  void store() const {
    if constexpr (!std::is_same_v<S, T>) {
      constexpr IsaTable<const PerStorage<StorageKernels>*> kernels = FASTMRCNN_ISA_TABLE(storage_kernels);
      kernels.get()->of<S>().round(beside_.data(), stored_, count_);
    }
  }

 private:
  S* stored_;
  std::int64_t count_;
  std::vector<T> beside_;
};

}  // namespace fastmrcnn
