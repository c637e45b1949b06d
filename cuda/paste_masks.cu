// Masks pasted to bitmaps: a block writes 32 KiB of one mask's bitmap, a thread 16 aligned bytes at a time.
//
// Rows follow one another in memory, so the bytes of a bitmap are cut into aligned chunks whatever the width is; a
// chunk that goes on in the next row costs no more stores. Most chunks lie beyond their box and are stored as zeros
// without a look at the mask. A block that meets the box keeps the taps of the box's columns in shared memory, 12 KiB
// in float32.
//
// Memory: writes every byte once, so the output needs no zero fill; the masks are read through the first-level cache.
// 100 masks on 800 x 1333 write 106.6 MB: predicted 25 us at the 4.3 TB/s of an H200's measured copy, the arithmetic of
// boxes of 16 to 500 pixels (about 4% of the chunks) hidden behind the stores of the other blocks. One launch.
// Deterministic; the CPU's pixels, computed in the masks' dtype.
#include "fastmrcnn/dtype.h"
#include "fastmrcnn/ops/paste_masks.h"
#include "launch.cuh"
#include "paste_sources.cuh"

namespace fastmrcnn::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kChunk = 16;  // bytes of one store
constexpr int kChunksPerThread = 8;
constexpr std::int64_t kBlockBytes = std::int64_t{kThreads} * kChunk * kChunksPerThread;

// A mask on its way into the image, as one block sees it.
template <class T>
struct PasteJob {
  Placement<T> placed;
  PaddedMask<T> mask;
  T threshold;
  std::int32_t width;

  __device__ bool meets_row(std::int32_t row) const {
    return row >= static_cast<std::int32_t>(placed.y.span.begin) && row < static_cast<std::int32_t>(placed.y.span.end);
  }

  // Columns [begin, end).
  __device__ bool meets_columns(std::int32_t begin, std::int32_t end) const {
    return begin < static_cast<std::int32_t>(placed.x.span.end) && end > static_cast<std::int32_t>(placed.x.span.begin);
  }
};

// The bytes of a chunk, first one lowest.
struct Chunk {
  std::uint64_t halves[2] = {};

  __device__ void set(int k, bool inside) {
    const std::uint64_t bit = std::uint64_t{inside} << (k % 8 * 8);
    halves[0] |= k < 8 ? bit : 0;
    halves[1] |= k < 8 ? 0 : bit;
  }
};

// Bytes [begin, end) of the chunk, pixels of one row that begin at `column`.
template <class T>
__device__ void paste_row(const PasteJob<T>& job, const TapTable<T>& columns, std::int32_t row, std::int32_t column,
                          int begin, int end, Chunk& chunk) {
  if (!(job.meets_row(row) && job.meets_columns(column, column + end - begin))) return;
  const Placement<T>& placed = job.placed;
  const std::int64_t size = job.mask.size;
  const Tap<T> y = geometry::tap_of(placed.rule, placed.y, row - placed.y.span.begin, size);
  const auto first = static_cast<std::int32_t>(placed.x.span.begin),
             last = static_cast<std::int32_t>(placed.x.span.end);
  const std::int32_t shift = column - begin;
#pragma unroll 4
  for (int k = geometry::max_of(begin, first - shift); k < geometry::min_of(end, last - shift); ++k) {
    const Tap<T> x = columns.at(placed.rule, placed.x, shift + k - first, size);
    chunk.set(k, geometry::is_inside(placed.rule, y, x, job.mask.corners(y.index, x.index), job.threshold));
  }
}

// 16 pixels from (row, column) on. Those of the mask before, left of column 0, stay zero.
template <class T>
__device__ Chunk paste_chunk(const PasteJob<T>& job, const TapTable<T>& columns, std::int32_t row,
                             std::int32_t column) {
  Chunk chunk;
  for (int begin = 0; begin < kChunk;) {
    const int end = geometry::min_of(kChunk, begin + job.width - column);
    paste_row(job, columns, row, column, begin, end, chunk);
    begin = end;
    column = 0;
    ++row;
  }
  return chunk;
}

// The part of a chunk that lies within its bitmap: the first and the last one may be shared with other masks.
__device__ void store_chunk(std::uint8_t* image, std::int64_t pixel, std::int64_t pixels, const Chunk& chunk) {
  if (pixel >= 0 && pixel + kChunk <= pixels) {
    *reinterpret_cast<ulonglong2*>(image + pixel) = {chunk.halves[0], chunk.halves[1]};
    return;
  }
  for (int k = 0; k < kChunk; ++k) {
    if (pixel + k < 0 || pixel + k >= pixels) continue;
    image[pixel + k] = static_cast<std::uint8_t>((k < 8 ? chunk.halves[0] : chunk.halves[1]) >> (k % 8 * 8));
  }
}

// The block's part of a bitmap, from pixel `begin` on: aligned, so it may be up to 15 pixels before the first one.
template <class T>
__device__ void paste_part(const PasteJob<T>& job, const TapTable<T>& columns, std::uint8_t* image, std::int64_t pixels,
                           std::int64_t begin) {
  const std::int64_t anchor = geometry::max_of(begin, std::int64_t{0});
  const auto first_row = static_cast<std::int32_t>(anchor / job.width);
  const std::int64_t anchor_column = anchor % job.width;
  const auto width = static_cast<std::uint32_t>(job.width);
  for (int k = 0; k < kChunksPerThread; ++k) {
    const std::int64_t pixel = begin + (std::int64_t{k} * kThreads + threadIdx.x) * kChunk;
    if (pixel >= pixels) return;
    Chunk chunk;
    if (pixel < 0) {
      chunk = paste_chunk(job, columns, 0, static_cast<std::int32_t>(pixel));
    } else {
      const auto offset = static_cast<std::uint32_t>(anchor_column + pixel - anchor);
      chunk = paste_chunk(job, columns, static_cast<std::int32_t>(first_row + offset / width),
                          static_cast<std::int32_t>(offset % width));
    }
    store_chunk(image, pixel, pixels, chunk);
  }
}

__device__ void clear_part(std::uint8_t* image, std::int64_t pixels, std::int64_t begin) {
  for (int k = 0; k < kChunksPerThread; ++k) {
    const std::int64_t pixel = begin + (std::int64_t{k} * kThreads + threadIdx.x) * kChunk;
    if (pixel < pixels) store_chunk(image, pixel, pixels, {});
  }
}

// As many registers as the arithmetic takes: half the threads that a multiprocessor holds keep its stores busy.
template <class T>
constexpr int kBlocks = sizeof(T) == sizeof(float) ? 4 : 2;

template <class T, class BoxT>
__global__ void __launch_bounds__(kThreads, kBlocks<T>)
    paste(PasteInputs<T, BoxT> inputs, std::int64_t parts, std::uint8_t* __restrict__ pasted) {
  __shared__ TapTable<T> columns;
  const std::int64_t n = blockIdx.x / parts, pixels = inputs.height * inputs.width;
  std::uint8_t* const image = pasted + n * pixels;
  const auto before = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(image) % kChunk);
  const std::int64_t begin = (blockIdx.x - n * parts) * kBlockBytes - before;
  const PasteJob<T> job{inputs.place(n),
                        {inputs.masks + n * inputs.size * inputs.size, static_cast<std::uint32_t>(inputs.size)},
                        static_cast<T>(inputs.options.threshold),
                        static_cast<std::int32_t>(inputs.width)};
  const geometry::PixelSpan& rows = job.placed.y.span;
  if (job.placed.empty() || begin + kBlockBytes <= rows.begin * inputs.width || begin >= rows.end * inputs.width) {
    return clear_part(image, pixels, begin);
  }
  columns.fill(job.placed.rule, job.placed.x, inputs.size);
  __syncthreads();
  paste_part(job, columns, image, pixels, begin);
}

}  // namespace

void paste_masks(const Context& context, const TensorView& masks, const TensorView& boxes, const std::string& method,
                 bool fused_position, double threshold, const TensorView& pasted) {
  const PasteOptions options = paste_options("paste_masks", method, fused_position, threshold);
  check_paste_inputs("paste_masks", masks, boxes);
  check_paste_masks(masks, pasted);
  if (pasted.numel() == 0) return;
  const std::int64_t height = pasted.shape[1], width = pasted.shape[2];
  const std::int64_t parts = (height * width + kChunk - 1 + kBlockBytes - 1) / kBlockBytes;
  const unsigned blocks = all_blocks("paste_masks", masks.shape[0] * parts);
  dispatch_floating("paste_masks", "masks", masks.dtype, [&](auto mask_tag) {
    using T = typename decltype(mask_tag)::type;
    dispatch_floating("paste_masks", "boxes", boxes.dtype, [&](auto box_tag) {
      using BoxT = typename decltype(box_tag)::type;
      const PasteInputs<T, BoxT> inputs{
          masks.as<const T>(), boxes.as<const geometry::Box<BoxT>>(), masks.shape[1], height, width, options};
      launch("paste_masks", context, paste<T, BoxT>, {blocks, kThreads}, inputs, parts, pasted.as<std::uint8_t>());
    });
  });
}

}  // namespace fastmrcnn::cuda
