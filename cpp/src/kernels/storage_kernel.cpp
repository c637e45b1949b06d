// Rounds accumulators to a half type. Memory-bound.
#include "kernels/storage_kernel.h"

#include "kernels/pack.h"

namespace fastmrcnn::FASTMRCNN_ISA {
namespace {

template <class S>
void round(const Accumulator<S>* values, S* stored, int64_t count) {
  int64_t k = 0;
  for (; k + kLanes<S> <= count; k += kLanes<S>) store(stored + k, load(values + k));
  for (; k < count; ++k) assign(stored[k], values[k]);
}

template <class S>
constexpr StorageKernels<S> kKernels{round<S>};

}  // namespace

extern const PerStorage<StorageKernels> storage_kernels{kKernels<float>, kKernels<double>, kKernels<Half>,
                                                        kKernels<BFloat16>};

}  // namespace fastmrcnn::FASTMRCNN_ISA
