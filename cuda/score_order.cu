// Keys, one thread each, and CUB's radix sort. A sort reads and writes 16 bytes an item and pass, four passes for each
// half of a key: predicted 20 us for 12,000 items on an H200, all of it the latency of its launches. Deterministic.
#include "score_order.cuh"

#include <cub/device/device_radix_sort.cuh>

#include "launch.cuh"

namespace fastmrcnn::cuda {
namespace {

constexpr int kThreads = 256;

LaunchShape per_item(std::int64_t n) {
  return {blocks_for(n, kThreads), kThreads};
}

cudaError_t sort_keys(void* memory, std::size_t& bytes, const Keyed* input, Keyed* output, std::int64_t n,
                      cudaStream_t stream) {
  return cub::DeviceRadixSort::SortKeys(memory, bytes, input, output, n, 32, 64, stream);
}

// The lower or the upper half of the key of a score.
template <class T>
struct ScoreHalf {
  const T* scores;
  bool upper;

  __device__ std::uint32_t operator()(std::int64_t index) const {
    const std::uint64_t key = descending_key(scores[index]);
    return static_cast<std::uint32_t>(upper ? key >> 32 : key);
  }
};

// That of a group, or of the group at a rank of `order`.
struct GroupHalf {
  const std::int64_t* groups;
  const Keyed* order;
  bool upper;

  __device__ std::uint32_t operator()(std::int64_t rank) const {
    const std::uint64_t key = ascending_key(groups[order == nullptr ? rank : index_of(order[rank])]);
    return static_cast<std::uint32_t>(upper ? key >> 32 : key);
  }
};

// Keys of all indices, in the order of a sort before, if there was one.
template <class KeyOf>
__global__ void make_keys(KeyOf key_of, const Keyed* __restrict__ before, std::int64_t n, Keyed* __restrict__ items) {
  const std::int64_t k = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (k >= n) return;
  const std::int64_t index = before == nullptr ? k : index_of(before[k]);
  items[k] = keyed(key_of(index), index);
}

__global__ void search_begins(const std::int64_t* __restrict__ groups, std::int64_t n,
                              std::int32_t* __restrict__ begins) {
  const std::int64_t k = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (k >= n) return;
  const std::int64_t own = groups[k];
  std::int64_t begin = 0, end = k;  // where the group begins is in [begin, end]
  while (begin < end) {
    const std::int64_t middle = (begin + end) / 2;
    if (groups[middle] < own) {
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  begins[k] = static_cast<std::int32_t>(begin);
}

}  // namespace

KeyedSort::KeyedSort(Workspace& workspace, std::int64_t n)
    : n_(n), input_(workspace.take<Keyed>(n)), output_(workspace.take<Keyed>(n)) {
  check_cuda("sort", "asking for its size", sort_keys(nullptr, temporary_bytes_, input_, output_, n, nullptr));
  temporary_ = workspace.take<unsigned char>(static_cast<std::int64_t>(temporary_bytes_));
}

template <class KeyOf>
void KeyedSort::sort(const char* op, const Context& context, const KeyOf& key_of, const Keyed* before) const {
  launch(op, context, make_keys<KeyOf>, per_item(n_), key_of, before, n_, input_);
  std::size_t bytes = temporary_bytes_;
  check_cuda(op, "sorting", sort_keys(temporary_, bytes, input_, output_, n_, stream_of(context)));
}

template <class T>
void KeyedSort::by_score(const char* op, const Context& context, const T* scores) const {
  sort(op, context, ScoreHalf<T>{scores, false}, nullptr);
  if (sizeof(T) > sizeof(float)) sort(op, context, ScoreHalf<T>{scores, true}, output_);
}

template void KeyedSort::by_score(const char*, const Context&, const float*) const;
template void KeyedSort::by_score(const char*, const Context&, const double*) const;

void KeyedSort::by_group(const char* op, const Context& context, const std::int64_t* groups, const Keyed* order) const {
  sort(op, context, GroupHalf{groups, order, false}, nullptr);
  sort(op, context, GroupHalf{groups, order, true}, output_);
}

void find_begins(const char* op, const Context& context, const std::int64_t* groups, std::int64_t n,
                 std::int32_t* begins) {
  launch(op, context, search_begins, per_item(n), groups, n, begins);
}

}  // namespace fastmrcnn::cuda
