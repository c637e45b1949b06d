// Small kernels, each with a mistake that its correct twin does not make: `kBug` switches it on. They test the
// interpreter's checks (test_checks.py); a mistake that these do not find would not be found in the project's own
// kernels either.
#include <cuda_runtime.h>

#include <cstring>
#include <cub/block/block_scan.cuh>

namespace {

constexpr int kThreads = 64;
constexpr unsigned kWarp = 0xffffffffu;

__device__ int thread_index() {
  return blockIdx.x * blockDim.x + threadIdx.x;
}

// Bounds and alignment.

template <bool kBug>
__global__ void reads_behind_the_end(const float* in, float* out, int n) {
  const int i = thread_index();
  if (i < n) out[i] = in[kBug ? i + 1 : i];
}

template <bool kBug>
__global__ void writes_before_the_start(const float* in, float* out, int n) {
  const int i = thread_index();
  if (i < n) out[kBug ? i - 1 : i] = in[i];
}

template <bool kBug>
__global__ void stores_a_vector_anywhere(const float* in, float* out, int n) {
  const int i = thread_index() * 2;
  if (i + 2 >= n) return;
  *reinterpret_cast<float2*>(out + i + (kBug ? 1 : 0)) = make_float2(in[i], in[i + 1]);
}

// A row has 2^24 elements, so that the last ones begin beyond 2^31.
template <bool kBug>
__global__ void overflows_an_index(const float* in, float* out, int n) {
  const int i = thread_index();
  const int wrapped = static_cast<int>(static_cast<unsigned>(i) << 24);
  if (i < n) out[i] = in[kBug ? wrapped : static_cast<long long>(i) << 24];
}

template <bool kBug>
__global__ void overruns_shared_memory(const float* in, float* out, int n) {
  __shared__ float tile[kThreads];
  const int i = thread_index();
  tile[threadIdx.x] = i < n ? in[i] : 0.f;
  __syncthreads();
  float sum = 0.f;
  for (int j = 0; j < kThreads + (kBug ? 1 : 0); ++j) sum += tile[j];
  if (i < n) out[i] = sum;
}

template <bool kBug>
__global__ void asks_for_too_little_shared_memory(const float* in, float* out, int n) {
  extern __shared__ float row[];
  const int i = thread_index();
  row[threadIdx.x + (kBug ? 1 : 0)] = i < n ? in[i] : 0.f;
  if (i < n) out[i] = row[threadIdx.x + (kBug ? 1 : 0)];
}

template <bool kBug>
__global__ void overruns_a_local_array(const float* in, float* out, int n) {
  const int i = thread_index();
  float values[4];
  const int count = n % 7;  // not known to the compiler
  for (int j = 0; j < 4; ++j) values[j] = i < n ? in[i] : 0.f;
  values[kBug ? 4 + count : count % 4] = 1.f;
  if (i < n) out[i] = values[(i + count) % 4];
}

// Memory that nobody has written.

template <bool kBug>
__global__ void reads_its_output(const float* in, float* out, int n) {
  const int i = thread_index();
  if (i < n) out[i] = in[i] + (kBug ? out[i] : 0.f);
}

template <bool kBug>
__global__ void leaves_shared_memory_unwritten(const float* in, float* out, int n) {
  __shared__ float tile[kThreads];
  const int i = thread_index();
  if (!kBug || threadIdx.x % 8 != 0) tile[threadIdx.x] = i < n ? in[i] : 0.f;
  __syncthreads();
  if (i < n) out[i] = tile[kThreads - 1 - threadIdx.x];
}

// Races.

template <bool kBug>
__global__ void forgets_a_barrier(const float* in, float* out, int n) {
  __shared__ float tile[kThreads];
  const int i = thread_index();
  tile[threadIdx.x] = i < n ? in[i] : 0.f;
  if (!kBug) __syncthreads();
  if (i < n) out[i] = tile[kThreads - 1 - threadIdx.x];
}

template <bool kBug>
__global__ void overwrites_what_others_read(const float* in, float* out, int n) {
  __shared__ float sums[kThreads];
  const int i = thread_index(), t = threadIdx.x;
  sums[t] = i < n ? in[i] : 0.f;
  __syncthreads();
  for (int distance = 1; distance < kThreads; distance *= 2) {
    const float other = t >= distance ? sums[t - distance] : 0.f;
    if (!kBug) __syncthreads();
    sums[t] += other;
    __syncthreads();
  }
  if (i < n) out[i] = sums[t];
}

template <bool kBug>
__global__ void forgets_a_warp_barrier(const float* in, float* out, int n) {
  __shared__ float first[kThreads / 32];
  const int i = thread_index(), warp = threadIdx.x / 32;
  if (threadIdx.x % 32 == 0) first[warp] = i < n ? in[i] : 0.f;
  if (!kBug) __syncwarp();
  if (i < n) out[i] = first[warp];
}

template <bool kBug>
__global__ void relies_on_a_shuffle_for_memory(const float* in, float* out, int n) {
  __shared__ float values[kThreads];
  const int i = thread_index(), t = threadIdx.x;
  values[t] = i < n ? in[i] : 0.f;
  const int other = __shfl_xor_sync(kWarp, t, 1);
  if (!kBug) __syncwarp();
  if (i < n) out[i] = values[other];
}

template <bool kBug>
__global__ void synchronises_another_half_of_the_warp(const float* in, float* out, int n) {
  __shared__ float values[kThreads];
  const int i = thread_index(), t = threadIdx.x;
  values[t] = i < n ? in[i] : 0.f;
  __syncwarp(t % 32 < 16 ? 0x0000ffffu : 0xffff0000u);
  if (i < n) out[i] = values[t ^ (kBug ? 16 : 8)];
}

template <bool kBug>
__global__ void synchronises_another_half_of_the_block(const float* in, float* out, int n) {
  __shared__ float values[kThreads];
  const int i = thread_index(), t = threadIdx.x;
  values[t] = i < n ? in[i] : 0.f;
  asm volatile("bar.sync %0, 32;" ::"r"(1 + t / 32) : "memory");
  if (i < n) out[i] = values[t ^ (kBug ? 32 : 8)];
}

template <bool kBug>
__global__ void adds_without_atomics(const float* in, float* out, int n) {
  const int i = thread_index();
  if (i >= n) return;
  if (kBug) {
    out[0] = in[i];
  } else {
    atomicExch(out, in[i]);
  }
}

template <bool kBug>
__global__ void gives_an_output_two_owners(const float* in, float* out, int n) {
  const int block = kBug ? blockIdx.x / 2 * 2 : blockIdx.x, i = block * blockDim.x + threadIdx.x;
  if (i < n) out[i] = in[i];
}

template <bool kBug>
__global__ void reads_beside_an_atomic(const float* in, float* out, int n) {
  __shared__ float sum;
  if (threadIdx.x == 0) sum = 0.f;
  __syncthreads();
  atomicAdd(&sum, in[threadIdx.x % n]);
  if (!kBug) __syncthreads();
  if (thread_index() < n) out[thread_index()] = sum;
}

template <bool kBug>
__global__ void reuses_the_storage_of_a_scan(const float* in, float* out, int n) {
  using Scan = cub::BlockScan<float, kThreads, cub::BLOCK_SCAN_WARP_SCANS>;
  __shared__ typename Scan::TempStorage storage;
  float total = 0.f;
  for (int start = 0; start < n; start += kThreads) {
    const int i = start + threadIdx.x;
    float value = i < n ? in[i] : 0.f, sum;
    Scan(storage).InclusiveSum(value, value, sum);
    if (i < n && blockIdx.x == 0) out[i] = total + value;
    total += sum;
    if (!kBug) __syncthreads();
  }
}

// Barriers and collectives that some threads miss.

template <bool kBug>
__global__ void returns_before_a_barrier(const float* in, float* out, int n) {
  __shared__ float tile[kThreads];
  const int i = thread_index();
  if (kBug && i >= n) return;
  tile[threadIdx.x] = i < n ? in[i] : 0.f;
  __syncthreads();
  if (i < n) out[i] = tile[threadIdx.x];
}

template <bool kBug>
__global__ void waits_in_a_branch(const float* in, float* out, int n) {
  __shared__ float tile[kThreads];
  const int i = thread_index();
  tile[threadIdx.x] = i < n ? in[i] : 0.f;
  if (!kBug || threadIdx.x < 32) __syncthreads();
  if (kBug && threadIdx.x >= 32) {
    tile[threadIdx.x] += 1.f;
    __syncthreads();
  }
  if (i < n) out[i] = tile[threadIdx.x];
}

template <bool kBug>
__global__ void shuffles_in_a_branch(const float* in, float* out, int n) {
  const int i = thread_index(), lane = threadIdx.x % 32;
  float value = i < n ? in[i] : 0.f;
  if (!kBug || lane < 16) value = __shfl_sync(kWarp, value, 3);
  if (kBug) __syncthreads();
  if (i < n) out[i] = value;
}

template <bool kBug>
__global__ void names_others_in_its_mask(const float* in, float* out, int n) {
  const int i = thread_index(), lane = threadIdx.x % 32;
  float value = i < n ? in[i] : 0.f;
  if (lane < 16) value = __shfl_sync(kBug ? 0xffff0000u : 0x0000ffffu, value, 3);
  if (i < n) out[i] = value;
}

// Assertions.

template <bool kBug>
__global__ void fails_an_assertion(const float* in, float* out, int n) {
  const int i = thread_index();
  if (kBug && i == n - 1) __trap();
  if (i < n) out[i] = in[i];
}

struct Case {
  const char* name;
  void (*kernels[2])(const float*, float*, int);  // correct, with the mistake
  std::size_t shared_bytes;
};

#define CASE(kernel, shared_bytes) {#kernel, {kernel<false>, kernel<true>}, shared_bytes}
const Case kCases[] = {
    CASE(reads_behind_the_end, 0),
    CASE(writes_before_the_start, 0),
    CASE(stores_a_vector_anywhere, 0),
    CASE(overflows_an_index, 0),
    CASE(overruns_shared_memory, 0),
    CASE(asks_for_too_little_shared_memory, kThreads * sizeof(float)),
    CASE(overruns_a_local_array, 0),
    CASE(reads_its_output, 0),
    CASE(leaves_shared_memory_unwritten, 0),
    CASE(forgets_a_barrier, 0),
    CASE(overwrites_what_others_read, 0),
    CASE(forgets_a_warp_barrier, 0),
    CASE(relies_on_a_shuffle_for_memory, 0),
    CASE(synchronises_another_half_of_the_warp, 0),
    CASE(synchronises_another_half_of_the_block, 0),
    CASE(adds_without_atomics, 0),
    CASE(gives_an_output_two_owners, 0),
    CASE(reads_beside_an_atomic, 0),
    CASE(reuses_the_storage_of_a_scan, 0),
    CASE(returns_before_a_barrier, 0),
    CASE(waits_in_a_branch, 0),
    CASE(shuffles_in_a_branch, 0),
    CASE(names_others_in_its_mask, 0),
    CASE(fails_an_assertion, 0),
};
#undef CASE

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT int launch_case(const char* name, bool bug, int blocks, const float* in, float* out, int n) {
  for (const Case& c : kCases) {
    if (std::strcmp(c.name, name) != 0) continue;
    c.kernels[bug]<<<blocks, kThreads, c.shared_bytes>>>(in, out, n);
    return cudaGetLastError();
  }
  return -1;
}

// A launch beyond the limits: threads of a block, or bytes of dynamic shared memory.
EXPORT int launch_sizes(int threads, int shared_bytes, int allowed_bytes, const float* in, float* out, int n) {
  const auto kernel = asks_for_too_little_shared_memory<false>;
  if (allowed_bytes > 0) {
    const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, allowed_bytes);
    if (error != cudaSuccess) return error;
  }
  kernel<<<1, threads, shared_bytes>>>(in, out, n);
  return cudaGetLastError();
}

EXPORT int fill(void* to, int value, std::size_t bytes) {
  return cudaMemsetAsync(to, value, bytes, nullptr);
}

EXPORT int copy(void* to, const void* from, std::size_t bytes, int kind) {
  return cudaMemcpyAsync(to, from, bytes, static_cast<cudaMemcpyKind>(kind), nullptr);
}

EXPORT const char* error_name(int error) {
  return cudaGetErrorName(static_cast<cudaError_t>(error));
}
