// RoIAlign on the CPU, over one feature map or the levels of a pyramid. Forward, channels-last: threads share out
// groups of RoIs. Everything else: threads own planes, or ranges of rows of a map, and work through that map's RoIs in
// order, so that the backward pass needs no atomics and its sums do not depend on the number of threads.
#include "fastmrcnn/ops/roi_align.h"

#include <algorithm>
#include <vector>

#include "fastmrcnn/dtype.h"
#include "fastmrcnn/isa.h"
#include "fastmrcnn/ops/multiscale_roi_align.h"
#include "gradient_sums.h"
#include "kernels/roi_align_kernel.h"
#include "pooling_plan.h"
#include "task_size.h"

namespace fastmrcnn::cpu {
namespace {

constexpr IsaTable<const PerStorage<PlanesKernels>*> kPlanesKernels = FASTMRCNN_ISA_TABLE(roi_align_planes);
constexpr IsaTable<const PerStorage<PixelsKernels>*> kPixelsKernels = FASTMRCNN_ISA_TABLE(roi_align_pixels);

// The arguments of a call, of either direction, over the levels of a pyramid from fine to coarse.
struct Call {
  const char* op;
  const Context& context;
  std::vector<TensorView> maps;  // features, or their gradients
  std::vector<double> spatial_scales;
  geometry::LevelAssignment assignment;  // of RoIs to levels
  TensorView rois;
  TensorView pooled;
  std::int64_t sampling_ratio;
  bool aligned;

  // Whether planes are dense, else pixels are; the checks hold that it is the same for all tensors.
  bool contiguous() const {
    return pooled.is_contiguous() &&
           std::all_of(maps.begin(), maps.end(), [](const TensorView& map) { return map.is_contiguous(); });
  }
};

// One call on tensors that are stored as S: what forward and backward share.
template <class S>
class RoiAlign {
 public:
  using T = Accumulator<S>;

  explicit RoiAlign(const Call& call)
      : call_(call),
        plan_(call.op, limit_threads(call.context, call.pooled), call.maps[0].shape[0], levels_of(call),
              geometry::level_borders<T>(call.assignment), call.rois),
        channels_(call.pooled.shape[1]),
        bins_(call.pooled.shape[2] * call.pooled.shape[3]),
        task_size_{channels_, std::max(call.context.num_threads, 1)} {}

  void pool_pixels() const {
    plan_.over_groups([&](const MapIndex& map, const TapTables<T>& tables) {
      const PooledShape& shape = plan_.shape(map.level);
      const Pixels<const S, S> pixels{features_of(map), pooled<S>(), channels_, shape.width, 0, shape.height};
      kPixelsKernels.get()->of<S>().forward(pixels, tables.data(), tables.size());
    });
  }

  void pool_planes() const {
    over_planes([&](const Part& part, const auto& for_each_group) {
      const Planes<const S, S> planes = planes_of<const S, S>(part, features_of(part.map) + part.begin * part.unit);
      for_each_group([&](const TapTables<T>& tables, T* scratch) {
        kPlanesKernels.get()->of<S>().forward(planes, tables.data(), tables.size(), scratch);
      });
    });
  }

  void backward_planes() const {
    over_planes([&](const Part& part, const auto& for_each_group) {
      GradientSums<S> sums(features_of(part.map) + part.begin * part.unit, part.size());
      const Planes<T, const S> planes = planes_of<T, const S>(part, sums.data());
      for_each_group([&](const TapTables<T>& tables, T* scratch) {
        kPlanesKernels.get()->of<S>().backward(planes, tables.data(), tables.size(), scratch);
      });
      sums.store();
    });
  }

  void backward_pixels() const {
    plan_.over_maps(
        [&](std::int64_t level) { return parts_of(plan_.shape(level).height, task_size_.rows(plan_.shape(level))); },
        [&](const MapIndex& map, std::int64_t index, const auto& for_each_group) {
          const PooledShape& shape = plan_.shape(map.level);
          const Part part(map, index, task_size_.rows(shape), shape.height, shape.width * channels_);
          GradientSums<S> sums(features_of(map) + part.begin * part.unit, part.size());
          const Pixels<T, const S> pixels{sums.data(), pooled<const S>(), channels_, shape.width, part.begin, part.end};
          for_each_group([&](const TapTables<T>& tables) {
            kPixelsKernels.get()->of<S>().backward(pixels, tables.data(), tables.size());
          });
          sums.store();
        });
  }

 private:
  static std::vector<PooledLevel<geometry::Sampling<T>>> levels_of(const Call& call) {
    std::vector<PooledLevel<geometry::Sampling<T>>> levels;
    for (std::size_t level = 0; level < call.maps.size(); ++level) {
      levels.push_back({pooled_shape(call.maps[level], call.pooled),
                        {static_cast<T>(call.spatial_scales[level]), call.sampling_ratio, call.aligned}});
    }
    return levels;
  }

  // What one task owns of a map: units [begin, end), planes or rows of this many elements.
  struct Part {
    Part(const MapIndex& of, std::int64_t index, std::int64_t units, std::int64_t all_units, std::int64_t unit_size)
        : map(of), begin(index * units), end(std::min(begin + units, all_units)), unit(unit_size) {}

    std::int64_t size() const { return (end - begin) * unit; }

    MapIndex map;
    std::int64_t begin, end, unit;
  };

  static std::int64_t parts_of(std::int64_t whole, std::int64_t part) { return (whole + part - 1) / part; }

  // Where the features of one image begin.
  S* features_of(const MapIndex& map) const {
    const PooledShape& shape = plan_.shape(map.level);
    return call_.maps[map.level].as<S>() + map.image * channels_ * shape.height * shape.width;
  }

  template <class Pooled>
  Pooled* pooled() const {
    return call_.pooled.as<Pooled>();
  }

  template <class Feature, class Pooled>
  Planes<Feature, Pooled> planes_of(const Part& part, Feature* features) const {
    const PooledShape& shape = plan_.shape(part.map.level);
    return {features,         pooled<Pooled>() + part.begin * bins_, part.end - part.begin, shape.height, shape.width,
            channels_ * bins_};
  }

  // Calls body(part, for_each_group) for parts of every map that consist of whole planes.
  template <class Body>
  void over_planes(const Body& body) const {
    plan_.over_maps([&](std::int64_t level) { return parts_of(channels_, task_size_.planes(plan_.shape(level))); },
                    [&](const MapIndex& map, std::int64_t index, const auto& for_each_group) {
                      const PooledShape& shape = plan_.shape(map.level);
                      const Part part(map, index, task_size_.planes(shape), channels_, shape.height * shape.width);
                      std::vector<T> scratch;
                      body(part, [&](const auto& work) {
                        for_each_group([&](const TapTables<T>& tables) {
                          scratch.resize(std::max(scratch.size(), scratch_of(map, tables)));
                          work(tables, scratch.data());
                        });
                      });
                    });
  }

  std::size_t scratch_of(const MapIndex& map, const TapTables<T>& tables) const {
    std::int64_t most_taps = 0;
    for (const RoiTaps<T>& roi : tables) most_taps = std::max<std::int64_t>(most_taps, roi.x.begin[roi.x.bins]);
    return static_cast<std::size_t>(plane_scratch(plan_.shape(map.level).width, most_taps));
  }

  const Call& call_;
  PoolingPlan<T, geometry::Sampling<T>> plan_;
  std::int64_t channels_;
  std::int64_t bins_;
  TaskSize task_size_;
};

void forward(const Call& call) {
  check_sampling_ratio(call.op, call.sampling_ratio);
  dispatch_storage(call.op, "input", call.maps[0].dtype, [&](auto tag) {
    const RoiAlign<typename decltype(tag)::type> align(call);
    return call.contiguous() ? align.pool_planes() : align.pool_pixels();
  });
}

void backward(const Call& call) {
  check_sampling_ratio(call.op, call.sampling_ratio);
  dispatch_storage(call.op, "grad_input", call.maps[0].dtype, [&](auto tag) {
    const RoiAlign<typename decltype(tag)::type> align(call);
    return call.contiguous() ? align.backward_planes() : align.backward_pixels();
  });
}

}  // namespace

void roi_align(const Context& context, const TensorView& input, const TensorView& rois, double spatial_scale,
               std::int64_t sampling_ratio, bool aligned, const TensorView& output) {
  check_roi_pooling("roi_align", {"input", input}, rois, {"output", output});
  check_writable("roi_align", "output", output);
  forward({"roi_align", context, {input}, {spatial_scale}, {}, rois, output, sampling_ratio, aligned});
}

void roi_align_backward(const Context& context, const TensorView& grad_output, const TensorView& rois,
                        double spatial_scale, std::int64_t sampling_ratio, bool aligned, const TensorView& grad_input,
                        const TensorView&) {
  constexpr const char* op = "roi_align_backward";
  check_roi_pooling(op, {"grad_input", grad_input}, rois, {"grad_output", grad_output});
  check_writable(op, "grad_input", grad_input);
  backward({op, context, {grad_input}, {spatial_scale}, {}, rois, grad_output, sampling_ratio, aligned});
}

void multiscale_roi_align(const Context& context, const std::vector<TensorView>& features, const TensorView& rois,
                          const std::vector<double>& spatial_scales, std::int64_t finest_level, double canonical_scale,
                          std::int64_t canonical_level, const std::string& level_rule, std::int64_t sampling_ratio,
                          bool aligned, const TensorView& output) {
  constexpr const char* op = "multiscale_roi_align";
  const auto assignment = check_multiscale_roi_align(op, "features", features, rois, spatial_scales, finest_level,
                                                     canonical_scale, canonical_level, level_rule, {"output", output});
  check_writable(op, "output", output);
  forward({op, context, features, spatial_scales, assignment, rois, output, sampling_ratio, aligned});
}

void multiscale_roi_align_backward(const Context& context, const TensorView& grad_output, const TensorView& rois,
                                   const std::vector<double>& spatial_scales, std::int64_t finest_level,
                                   double canonical_scale, std::int64_t canonical_level, const std::string& level_rule,
                                   std::int64_t sampling_ratio, bool aligned,
                                   const std::vector<TensorView>& grad_features, const TensorView&) {
  constexpr const char* op = "multiscale_roi_align_backward";
  const auto assignment =
      check_multiscale_roi_align(op, "grad_features", grad_features, rois, spatial_scales, finest_level,
                                 canonical_scale, canonical_level, level_rule, {"grad_output", grad_output});
  for (const TensorView& map : grad_features) check_writable(op, "grad_features", map);
  backward({op, context, grad_features, spatial_scales, assignment, rois, grad_output, sampling_ratio, aligned});
}

}  // namespace fastmrcnn::cpu
