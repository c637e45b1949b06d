// Masks pasted straight to COCO run-length strings: a block a mask, no bitmap.
//
// A thread walks a quarter of a column of the image and finds where the mask changes; as on the CPU, pixels between two
// rows of the mask whose blended values lie on one side of the threshold are passed over at once. Prefix sums over the
// threads put the changes in order, a few hundred at a time; each is then a run, its difference from the run two before
// a number, and prefix sums over the numbers' lengths say where their characters go.
//
// Memory: the mask (3 KiB at 28 x 28) and the string; all else stays on the chip, 26 KiB of shared memory in float32.
// The cost is the columns of the box and the pixels at the mask's outline: about 600 operations for each four threads'
// column of a smooth mask. Predicted 10 us on an H200 for 100 masks in boxes of 16 to 500 pixels: one wave of blocks of
// 16 warps, so the largest box decides, four rounds of 128 columns. Noise, which changes more than four times in a
// quarter of a column, is walked again for each batch of changes. One launch. Deterministic; the CPU's strings,
// computed in the masks' dtype.
#include <cub/block/block_scan.cuh>

#include "fastmrcnn/coco_rle.h"
#include "fastmrcnn/dtype.h"
#include "fastmrcnn/ops/paste_masks.h"
#include "launch.cuh"
#include "paste_sources.cuh"

namespace fastmrcnn::cuda {
namespace {

using geometry::PixelSpan;

constexpr int kParts = 4;  // of a column, a thread each
// As many as the registers allow.
template <class T>
constexpr int kThreads = sizeof(T) == sizeof(float) ? 512 : 256;
constexpr int kKeptChanges = 4;  // of a thread, in shared memory
constexpr int kKeptRows = 256;   // of the padded mask, whose first pixel rows are known

template <class T>
struct Shared {
  TapTable<T> rows;
  std::int32_t
      row_begin[kKeptRows];  // the first pixel row, counted from the span's, with that tap index or a later one
  std::int32_t changes[kKeptChanges][kThreads<T>];
  std::uint32_t positions[3 + kThreads<T>];  // the last three of the batch before, then those of this one
  typename cub::BlockScan<std::uint32_t, kThreads<T>>::TempStorage scan;
};

template <class T>
struct RunsJob {
  Placement<T> placed;
  PaddedMask<T> mask;
  T threshold;
  std::int64_t height, width;

  __device__ std::int64_t rows() const { return placed.y.span.size(); }
  __device__ std::int64_t columns() const { return placed.x.span.size(); }
  // The column's pixels are followed by those of the next, with none between them that the mask cannot reach.
  __device__ bool is_gapless() const { return rows() == height; }

  __device__ std::int64_t position(std::int64_t column, std::int64_t row) const {
    return (placed.x.span.begin + column) * height + placed.y.span.begin + row;
  }
};

// Where the taps of the span's rows pass on to the next row of the mask.
template <class T>
__device__ void find_row_begins(const RunsJob<T>& job, Shared<T>& shared) {
  const auto index_of = [&](std::int64_t row) {
    return geometry::tap_of(job.placed.rule, job.placed.y, row, job.mask.size).index;
  };
  const auto rows = static_cast<std::int32_t>(job.rows());
  for (int r = threadIdx.x; r < kKeptRows; r += kThreads<T>) shared.row_begin[r] = rows;
  __syncthreads();
  for (std::int64_t row = threadIdx.x; row < rows; row += kThreads<T>) {
    const int index = geometry::min_of(index_of(row), kKeptRows - 1);
    for (int r = row == 0 ? 0 : index_of(row - 1) + 1; r <= index; ++r)
      shared.row_begin[r] = static_cast<std::int32_t>(row);
  }
}

// A walk down columns of the image.
template <class T>
class Walk {
 public:
  __device__ Walk(const RunsJob<T>& job, const Shared<T>& shared) : job_(job), shared_(shared) {}

  // Calls change(position) for each pixel of rows `part` of a column that differs from the one before; at the end of a
  // column the mask ends too, unless it goes on in the next.
  template <class Change>
  __device__ void operator()(std::int64_t column, const PixelSpan& part, const Change& change) const {
    const Tap<T> x = x_tap(column);
    bool state = state_before(column, part.begin);
    const auto set = [&](bool inside, std::int64_t row) {
      if (inside != state) change(row);
      state = inside;
    };
    for (std::int64_t row = part.begin; row < part.end;) {
      const std::int32_t index = y_tap(row).index;
      const geometry::Corners<T> corners = job_.mask.corners(index, x.index);
      const std::int64_t end = geometry::min_of(part.end, end_of(index, row));
      if (const int side = geometry::side_of(geometry::blend_corners(x, corners), corners, job_.threshold)) {
        set(side > 0, row);
        row = end;
      } else {
        for (; row < end; ++row) set(decide(row, x, corners), row);
      }
    }
    if (part.end == job_.rows() && closes(column)) set(false, part.end);
  }

 private:
  __device__ Tap<T> x_tap(std::int64_t column) const {
    return geometry::tap_of(job_.placed.rule, job_.placed.x, column, job_.mask.size);
  }

  __device__ Tap<T> y_tap(std::int64_t row) const {
    return shared_.rows.at(job_.placed.rule, job_.placed.y, row, job_.mask.size);
  }

  // The end of the rows that have the tap index of `row`; of a mask too large for the table, the next row.
  __device__ std::int64_t end_of(std::int32_t index, std::int64_t row) const {
    return index + 1 < kKeptRows ? shared_.row_begin[index + 1] : row + 1;
  }

  __device__ bool decide(std::int64_t row, const Tap<T>& x, const geometry::Corners<T>& corners) const {
    return geometry::is_inside(job_.placed.rule, y_tap(row), x, corners, job_.threshold);
  }

  __device__ bool pixel(std::int64_t column, std::int64_t row) const {
    const Tap<T> x = x_tap(column);
    return decide(row, x, job_.mask.corners(y_tap(row).index, x.index));
  }

  __device__ bool state_before(std::int64_t column, std::int64_t row) const {
    if (row > 0) return pixel(column, row - 1);
    return job_.is_gapless() && column > 0 && pixel(column - 1, job_.rows() - 1);
  }

  // A change at the very end of the image is none.
  __device__ bool closes(std::int64_t column) const {
    if (job_.is_gapless() && column + 1 < job_.columns()) return false;
    return job_.position(column, job_.rows()) < job_.height * job_.width;
  }

  const RunsJob<T>& job_;
  const Shared<T>& shared_;
};

// The string of one mask, written by the whole block. All threads hold the same state.
template <class T>
class StringWriter {
 public:
  __device__ StringWriter(Shared<T>& shared, std::uint8_t* characters, std::int64_t capacity)
      : shared_(shared), characters_(characters), capacity_(capacity) {
    if (threadIdx.x < 3) shared_.positions[threadIdx.x] = 0;
  }

  // Appends the runs that end at the first `count` of the batch's positions.
  __device__ void append(int count) {
    __syncthreads();
    const bool has_run = threadIdx.x < count;
    const std::int64_t number = has_run ? number_of_run() : 0;
    std::uint32_t characters = 0, begin, total;
    if (has_run) spell_number(number, [&](std::uint8_t) { ++characters; });
    cub::BlockScan<std::uint32_t, kThreads<T>>(shared_.scan).ExclusiveSum(characters, begin, total);
    if (has_run) {
      std::int64_t place = length_ + begin;
      spell_number(number, [&](std::uint8_t character) {
        if (place < capacity_) characters_[place] = character;
        ++place;
      });
    }
    length_ += total;
    runs_ += count;
    keep_last(count);
  }

  __device__ std::int64_t length() const { return length_; }

 private:
  // Positions wrap around at 2^32 pixels, which no image has.
  __device__ std::int64_t number_of_run() const {
    const std::uint32_t* const end = shared_.positions + 3 + threadIdx.x;
    const std::int64_t run = std::int64_t{end[0]} - end[-1];
    return runs_ + threadIdx.x > 2 ? run - (std::int64_t{end[-2]} - end[-3]) : run;
  }

  __device__ void keep_last(int count) {
    __syncthreads();
    if (threadIdx.x < warpSize) {
      const std::uint32_t kept = threadIdx.x < 3 ? shared_.positions[count + threadIdx.x] : 0;
      __syncwarp();
      if (threadIdx.x < 3) shared_.positions[threadIdx.x] = kept;
    }
    __syncthreads();
  }

  Shared<T>& shared_;
  std::uint8_t* characters_;
  std::int64_t capacity_;
  std::int64_t length_ = 0, runs_ = 0;
};

// What one thread walks: `column` is beyond the last one where it has nothing to do.
struct Item {
  std::int64_t column;
  PixelSpan part;
};

template <class T>
__device__ Item item_of(const RunsJob<T>& job, std::int64_t first) {
  const std::int64_t item = first + threadIdx.x, part = item % kParts, rows = job.rows();
  return {item / kParts, {part * rows / kParts, (part + 1) * rows / kParts}};
}

// Appends the changes of as many items as threads from `first` on, and the end of the image after the last of them.
template <class T>
__device__ void append_items(const RunsJob<T>& job, std::int64_t first, bool is_last, Shared<T>& shared,
                             StringWriter<T>& writer) {
  const Walk<T> walk(job, shared);
  const Item item = item_of(job, first);
  const bool works = item.column < job.columns();
  std::uint32_t count = 0, rank, total;  // an image has fewer than 2^32 pixels
  if (works) {
    walk(item.column, item.part, [&](std::int64_t row) {
      if (count < kKeptChanges) shared.changes[count][threadIdx.x] = static_cast<std::int32_t>(row);
      ++count;
    });
  }
  cub::BlockScan<std::uint32_t, kThreads<T>>(shared.scan).ExclusiveSum(count, rank, total);
  const std::int64_t positions = std::int64_t{total} + is_last;
  for (std::int64_t batch = 0; batch < positions; batch += kThreads<T>) {
    std::int64_t place = rank - batch;
    const auto put = [&](std::int64_t row) {
      if (place >= 0 && place < kThreads<T>) {
        shared.positions[3 + place] = static_cast<std::uint32_t>(job.position(item.column, row));
      }
      ++place;
    };
    if (count <= kKeptChanges) {
      for (std::uint32_t k = 0; k < count; ++k) put(shared.changes[k][threadIdx.x]);
    } else {
      walk(item.column, item.part, put);
    }
    const auto size = static_cast<int>(geometry::min_of(positions - batch, std::int64_t{kThreads<T>}));
    if (is_last && threadIdx.x == 0 && batch + size == positions) {
      shared.positions[3 + size - 1] = static_cast<std::uint32_t>(job.height * job.width);
    }
    writer.append(size);
  }
}

template <class T, class BoxT>
__global__ void __launch_bounds__(kThreads<T>, 1)
    paste_runs(PasteInputs<T, BoxT> inputs, std::int64_t capacity, std::uint8_t* __restrict__ strings,
               std::int64_t* __restrict__ lengths) {
  __shared__ Shared<T> shared;
  const std::int64_t n = blockIdx.x;
  RunsJob<T> job{inputs.place(n),
                 {inputs.masks + n * inputs.size * inputs.size, static_cast<std::uint32_t>(inputs.size)},
                 static_cast<T>(inputs.options.threshold),
                 inputs.height,
                 inputs.width};
  if (job.placed.empty()) job.placed.x.span = job.placed.y.span = {};
  shared.rows.fill(job.placed.rule, job.placed.y, inputs.size);
  find_row_begins(job, shared);
  StringWriter<T> writer(shared, strings + n * capacity, capacity);
  __syncthreads();
  const std::int64_t items = geometry::max_of(job.columns() * kParts, std::int64_t{1});
  for (std::int64_t first = 0; first < items; first += kThreads<T>) {
    append_items(job, first, first + kThreads<T> >= items, shared, writer);
  }
  if (threadIdx.x == 0) lengths[n] = writer.length();
}

}  // namespace

void paste_masks_rle(const Context& context, const TensorView& masks, const TensorView& boxes, std::int64_t height,
                     std::int64_t width, const std::string& method, bool fused_position, double threshold,
                     const TensorView& strings, const TensorView& lengths) {
  const PasteOptions options = paste_options("paste_masks_rle", method, fused_position, threshold);
  check_paste_inputs("paste_masks_rle", masks, boxes);
  check_paste_masks_rle(masks, height, width, strings, lengths);
  if (masks.shape[0] == 0) return;
  const unsigned blocks = all_blocks("paste_masks_rle", masks.shape[0]);
  dispatch_floating("paste_masks_rle", "masks", masks.dtype, [&](auto mask_tag) {
    using T = typename decltype(mask_tag)::type;
    dispatch_floating("paste_masks_rle", "boxes", boxes.dtype, [&](auto box_tag) {
      using BoxT = typename decltype(box_tag)::type;
      const PasteInputs<T, BoxT> inputs{
          masks.as<const T>(), boxes.as<const geometry::Box<BoxT>>(), masks.shape[1], height, width, options};
      launch("paste_masks_rle", context, paste_runs<T, BoxT>, {blocks, kThreads<T>}, inputs, strings.shape[1],
             strings.as<std::uint8_t>(), lengths.as<std::int64_t>());
    });
  });
}

}  // namespace fastmrcnn::cuda
