// RoIAlign, over one feature map or the levels of a pyramid: one launch for all RoIs, the level computed in the kernel.
//
// A block belongs to one RoI. It tabulates the RoI's taps along either axis in shared memory, samples of a bin that
// meet in a pixel merged, and uses them for all of its channels: a bin of 2 x 2 samples reads 4 to 16 pixels, with
// adaptive sampling about one for each pixel that it covers. RoIs are taken in the given order.
//
// NHWC (roi_align_pixels.cuh): a lane sums 16 bytes of channels over all taps of a bin in registers, four loads on
// their way at once; a warp moves 512 neighbouring bytes. NCHW (roi_align_planes.cuh): lanes along the columns of
// several planes average a bin's rows, a second step in shared memory averages columns; so planes are read in runs of
// pixels.
//
// Memory: for 2 x 1000 RoIs of 7 x 7 bins, 2 x 2 samples, 256 channels over P2 to P5 of an 800 x 1344 image (the
// standard workload), a RoI has 485 taps on 271 distinct pixels. In float32, NHWC, that is 992 MB from L1, 554 MB from
// L2 where L1 serves a pixel's later taps, at least 146 MB from DRAM, and 100 MB written past the caches. 28 warps of
// an SM with up to 4 loads of 512 bytes each have 57 KB on their way, which covers L2's latency at its bandwidth; about
// 22 instructions a pack are 25 us of issue. Predicted on an H200 (5.5 TB/s of L2, 4.3 TB/s of DRAM): 60 us in half
// types and 120 us in float32, or 90 and 170 us if nothing stayed in L2 from one RoI to the next. That keeps the goals
// without sorting RoIs by place. NCHW: runs of pixels fill 63% of the 54 sectors that they touch in each plane, 880 MB
// in float32: 180 us.
//
// Sums are in float32, in float64 for that type. Deterministic.
#include "fastmrcnn/ops/roi_align.h"

#include "fastmrcnn/dtype.h"
#include "fastmrcnn/ops/multiscale_roi_align.h"
#include "launch.cuh"
#include "roi_align_directly.cuh"
#include "roi_align_pixels.cuh"
#include "roi_align_planes.cuh"

namespace fastmrcnn::cuda {
namespace {

// Tables of more bytes, of maps with thousands of rows and columns or grids of hundreds of bins, find no room.
constexpr std::size_t kMostTableBytes = 32 << 10;

template <class S>
void forward_directly(const RoiAlignArguments& arguments, const RoiAlignCall<S>& call) {
  launch(arguments.op, arguments.context, roi_align_directly<S>,
         {blocks_for(arguments.pooled.numel(), kDirectThreads), kDirectThreads}, call, !arguments.contiguous());
}

template <int kWidth, class S>
void forward_pixels(const RoiAlignArguments& arguments, const RoiAlignCall<S>& call) {
  const PixelLaunch shape = pixel_launch<kWidth>(call);
  const std::size_t bytes = shape.tables.template bytes<Accumulator<S>>();
  if (bytes > kMostTableBytes) return forward_directly(arguments, call);
  launch(arguments.op, arguments.context, roi_align_pixels<S, kWidth>, {shape.grid, shape.block, bytes}, call,
         shape.tables);
}

template <class S>
void forward_planes(const RoiAlignArguments& arguments, const RoiAlignCall<S>& call) {
  const TableShape tables = TableShape::of(call, call.bins_y);
  const std::size_t bytes = tables.template bytes<Accumulator<S>>();
  const bool fits = bytes <= kMostTableBytes && tables.x_taps <= kBlended<Accumulator<S>>;
  if (!fits) return forward_directly(arguments, call);
  const std::int64_t groups = (call.channels + kPlanesPerBlock - 1) / kPlanesPerBlock;
  launch(arguments.op, arguments.context, roi_align_planes<S>,
         {blocks_for(call.roi_count * groups, 1), kPlaneThreads, bytes}, call, tables);
}

void forward(const RoiAlignArguments& arguments) {
  check_sampling_ratio(arguments.op, arguments.sampling_ratio);
  if (arguments.pooled.numel() == 0) return;
  dispatch_storage(arguments.op, "input", arguments.pooled.dtype, [&](auto tag) {
    using S = typename decltype(tag)::type;
    const RoiAlignCall<S> call = arguments.call<S>();
    constexpr int kWidth = 16 / sizeof(S);
    if (arguments.contiguous()) return forward_planes(arguments, call);
    return holds_packs<kWidth>(call) ? forward_pixels<kWidth>(arguments, call) : forward_pixels<1>(arguments, call);
  });
}

}  // namespace

void roi_align(const Context& context, const TensorView& input, const TensorView& rois, double spatial_scale,
               std::int64_t sampling_ratio, bool aligned, const TensorView& output) {
  check_roi_pooling("roi_align", {"input", input}, rois, {"output", output});
  check_writable("roi_align", "output", output);
  forward({"roi_align", context, {input}, {spatial_scale}, {}, rois, sampling_ratio, aligned, output});
}

void multiscale_roi_align(const Context& context, const std::vector<TensorView>& features, const TensorView& rois,
                          const std::vector<double>& spatial_scales, std::int64_t finest_level, double canonical_scale,
                          std::int64_t canonical_level, const std::string& level_rule, std::int64_t sampling_ratio,
                          bool aligned, const TensorView& output) {
  constexpr const char* op = "multiscale_roi_align";
  const auto assignment = check_multiscale_roi_align(op, "features", features, rois, spatial_scales, finest_level,
                                                     canonical_scale, canonical_level, level_rule, {"output", output});
  check_writable(op, "output", output);
  forward({op, context, features, spatial_scales, assignment, rois, sampling_ratio, aligned, output});
}

}  // namespace fastmrcnn::cuda
