// The gradient of RoIAlign, over one feature map or the levels of a pyramid, without atomics and without a zero fill: a
// block owns a tile of 8 x 8 pixels of some channels, sums what all RoIs add to it, and writes it once.
//
// Two launches. The first leaves the tiles that each RoI reaches into, a thread a RoI, and their union for each chunk
// of 256 RoIs. In the second a block skips the chunks that do not reach its tile, as those of other images do where
// RoIs come image by image, looks through the others, and lists the RoIs that do reach it. Its eight warps then
// tabulate the weights of eight RoIs on the tile at once, and all of them add these up. NHWC: a warp has a row of the
// tile, a lane a pack of channels at eight pixels, which share every pack of gradients that is read. NCHW: a thread has
// a pixel in 32 planes.
//
// Nothing is kept for a tile between launches, so the workspace is 16 bytes a RoI whatever the RoIs are, and any number
// of them may meet in a tile. The worst case is time: a block adds its RoIs one after the other, about a microsecond
// for two, so hundreds on one object take longer than as many spread out. To look through the RoIs of an image costs
// each block one load a thread for 256 of them.
//
// Memory, for the standard workload (roi_align.cu) in float32: the gradient is written once, 183 MB; the 100 MB of
// pooled gradients are read by 1.7 tiles on average, the second time mostly from L2. About 310 MB of DRAM traffic, 72
// us on an H200 (4.3 TB/s). A RoI reaches into 10.8 tiles, and in one a warp waits 1.1 times for up to three loads of
// 512 bytes: some 900 cycles, of three blocks of 128 channels on an SM at once, which makes 57 us; what a block takes
// besides, some 4000 cycles, adds 34 us. Predicted: 110 us in float32, 95 us in half types; NCHW, where a tile reads
// three sectors for eight bins of a plane and writes sectors of eight pixels, 200 us.
//
// Deterministic: a pixel's sum runs over RoIs in order, then over bins, in float32 (float64 for that type), and is
// rounded once.
#include "fastmrcnn/dtype.h"
#include "fastmrcnn/ops/multiscale_roi_align.h"
#include "launch.cuh"
#include "roi_align_gradient.cuh"
#include "workspace.cuh"

namespace fastmrcnn::cuda {
namespace {

// A block takes the channels of a TileSums on a tile, coarse levels first: theirs have the most RoIs.
template <class TileSums, class S>
__global__ void __launch_bounds__(kTileThreads, TileSums::kBlocksPerSm)
    roi_align_gradient(const __grid_constant__ RoiAlignCall<S> call, const __grid_constant__ TileGrid grid,
                       const TileRanges ranges, const unsigned groups) {
  constexpr int kWarps = kTileThreads / 32;
  __shared__ Tile tile;
  __shared__ ReachingRois::Memory list;
  __shared__ TileWeights<Accumulator<S>> weights[kWarps];
  __shared__ typename TileSums::Resting resting;
  __shared__ TileParts parts;
  const int warp = threadIdx.x / 32;
  if (threadIdx.x == 0) {
    const unsigned index = gridDim.x - 1 - blockIdx.x;
    tile = grid.tile(call, index / groups, std::int64_t{index % groups} * TileSums::kChannels);
    parts = TileParts::of(call);
  }
  resting.clear();
  __syncthreads();
  ReachingRois rois(ranges, call.roi_count, tile, list);
  for (int count = rois.next(); count >= 0; count = rois.next()) {
    for (int part = 0; part < parts.count(); ++part) {
      for (int begin = 0; begin < count; begin += kWarps) {
        if (begin + warp < count) weigh(call, tile, rois.roi(begin + warp), parts, part, weights[warp]);
        __syncthreads();
        TileSums sums(call, tile);
        sums.take(resting);
        for (int i = 0; i < min(kWarps, count - begin); ++i) sums.add(weights[i]);
        sums.leave(resting);
        __syncthreads();
      }
    }
  }
  TileSums(call, tile).write(resting);
}

struct WorkspaceParts {
  TileRange *rois, *chunks;

  WorkspaceParts(Workspace& workspace, std::int64_t roi_count)
      : rois(workspace.take<TileRange>(roi_count)), chunks(workspace.take<TileRange>(chunks_of(roi_count))) {}

  static std::int64_t chunks_of(std::int64_t roi_count) {
    return (roi_count + TileRanges::kChunk - 1) / TileRanges::kChunk;
  }
};

template <class TileSums, class S>
void sum_tiles(const RoiAlignArguments& arguments, const RoiAlignCall<S>& call, const TileGrid& grid,
               const TileRanges& ranges) {
  const std::int64_t groups = (call.channels + TileSums::kChannels - 1) / TileSums::kChannels;
  const std::int64_t blocks = grid.size() * groups;
  check(blocks <= INT_MAX, arguments.op, ": maps must have fewer than 2^31 tiles of ", kTileSide, " x ", kTileSide,
        " pixels by ", TileSums::kChannels, " channels; got ", blocks);
  launch(arguments.op, arguments.context, roi_align_gradient<TileSums, S>,
         {static_cast<unsigned>(blocks), kTileThreads}, call, grid, ranges, static_cast<unsigned>(groups));
}

template <class S>
void run(const RoiAlignArguments& arguments, const TensorView& memory) {
  const RoiAlignCall<S> call = arguments.call<S>();
  const TileGrid grid(call);
  if (grid.size() == 0 || call.channels == 0) return;
  check(grid.fits(), arguments.op, ": maps must have fewer than 2^31 rows of tiles; got ", grid.images, " images of ",
        grid.image_rows);
  Workspace workspace(arguments.op, memory, roi_align_backward_workspace(call.roi_count));
  const WorkspaceParts parts(workspace, call.roi_count);
  const TileRanges ranges{parts.rois, parts.chunks, static_cast<std::int32_t>(parts.chunks_of(call.roi_count))};
  if (call.roi_count > 0) {
    launch(arguments.op, arguments.context, roi_align_ranges<S>,
           {static_cast<unsigned>(ranges.chunk_count), kTileThreads}, call, grid, ranges);
  }
  constexpr int kWidth = sizeof(S) == 8 ? 1 : 4;
  if (arguments.contiguous()) return sum_tiles<PlaneSums<S>>(arguments, call, grid, ranges);
  if (holds_packs<kWidth>(call)) return sum_tiles<PixelSums<S, kWidth>>(arguments, call, grid, ranges);
  sum_tiles<PixelSums<S, 1>>(arguments, call, grid, ranges);
}

void backward(const RoiAlignArguments& arguments, const TensorView& workspace) {
  check_sampling_ratio(arguments.op, arguments.sampling_ratio);
  dispatch_storage(arguments.op, "grad_input", arguments.pooled.dtype,
                   [&](auto tag) { run<typename decltype(tag)::type>(arguments, workspace); });
}

}  // namespace

std::size_t roi_align_backward_workspace(std::int64_t rois) {
  Workspace workspace;
  WorkspaceParts(workspace, rois);
  return workspace.bytes();
}

void roi_align_backward(const Context& context, const TensorView& grad_output, const TensorView& rois,
                        double spatial_scale, std::int64_t sampling_ratio, bool aligned, const TensorView& grad_input,
                        const TensorView& workspace) {
  constexpr const char* op = "roi_align_backward";
  check_roi_pooling(op, {"grad_input", grad_input}, rois, {"grad_output", grad_output});
  check_writable(op, "grad_input", grad_input);
  backward({op, context, {grad_input}, {spatial_scale}, {}, rois, sampling_ratio, aligned, grad_output}, workspace);
}

void multiscale_roi_align_backward(const Context& context, const TensorView& grad_output, const TensorView& rois,
                                   const std::vector<double>& spatial_scales, std::int64_t finest_level,
                                   double canonical_scale, std::int64_t canonical_level, const std::string& level_rule,
                                   std::int64_t sampling_ratio, bool aligned,
                                   const std::vector<TensorView>& grad_features, const TensorView& workspace) {
  constexpr const char* op = "multiscale_roi_align_backward";
  const auto assignment =
      check_multiscale_roi_align(op, "grad_features", grad_features, rois, spatial_scales, finest_level,
                                 canonical_scale, canonical_level, level_rule, {"grad_output", grad_output});
  for (const TensorView& map : grad_features) check_writable(op, "grad_features", map);
  backward({op, context, grad_features, spatial_scales, assignment, rois, sampling_ratio, aligned, grad_output},
           workspace);
}

}  // namespace fastmrcnn::cuda
