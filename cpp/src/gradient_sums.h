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
// rounded once. The part is `runs` runs of `length` elements whose beginnings lie `stride` apart.
template <class S>
class GradientSums {
 public:
  using T = Accumulator<S>;

  GradientSums(S* stored, std::int64_t length, std::int64_t runs = 1, std::int64_t stride = 0)
      : stored_(stored), length_(length), runs_(runs), stride_(stride) {
    if constexpr (kInPlace) {
      for (std::int64_t run = 0; run < runs; ++run) std::fill_n(stored + run * stride, length, T(0));
    } else {
      beside_.resize(static_cast<std::size_t>(runs * length));
    }
  }

  T* data() {
    if constexpr (kInPlace) {
      return stored_;
    } else {
      return beside_.data();
    }
  }

  // From one run of the sums to the next.
  std::int64_t stride() const { return kInPlace ? stride_ : length_; }

  void store() const {
    if constexpr (!kInPlace) {
      constexpr IsaTable<const PerStorage<StorageKernels>*> kernels = FASTMRCNN_ISA_TABLE(storage_kernels);
      const auto round = kernels.get()->template of<S>().round;
      for (std::int64_t run = 0; run < runs_; ++run) {
        round(beside_.data() + run * length_, stored_ + run * stride_, length_);
      }
    }
  }

 private:
  static constexpr bool kInPlace = std::is_same_v<S, T>;

  S* stored_;
  std::int64_t length_, runs_, stride_;
  std::vector<T> beside_;
};

}  // namespace fastmrcnn
