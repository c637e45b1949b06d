// Matching without an M x N matrix: one pass finds the best object of every box and the highest IoU of every object; a
// second looks again at the few boxes where an object attains it.
#include "fastmrcnn/ops/match_boxes.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "fastmrcnn/dtype.h"
#include "fastmrcnn/isa.h"
#include "fastmrcnn/parallel.h"
#include "kernels/match_kernel.h"

namespace fastmrcnn::cpu {
namespace {

template <class T>
using MatchKernel = void (*)(const MatchJob<T>&, const MatchRange<T>&);
template <class T>
using ClaimKernel = void (*)(const MatchJob<T>&, const MatchRange<T>&, const T*);

template <class T>
struct Kernels {
  MatchKernel<T> match;
  ClaimKernel<T> claim;
};

Kernels<float> kernels_for(TypeTag<float>) {
  static constexpr IsaTable<MatchKernel<float>> match = FASTMRCNN_ISA_TABLE(match_range_f32);
  static constexpr IsaTable<ClaimKernel<float>> claim = FASTMRCNN_ISA_TABLE(claim_best_f32);
  return {match.get(), claim.get()};
}

Kernels<double> kernels_for(TypeTag<double>) {
  static constexpr IsaTable<MatchKernel<double>> match = FASTMRCNN_ISA_TABLE(match_range_f64);
  static constexpr IsaTable<ClaimKernel<double>> claim = FASTMRCNN_ISA_TABLE(claim_best_f64);
  return {match.get(), claim.get()};
}

constexpr std::int64_t kTasksPerThread = 4;

// The boxes in runs of whole stretches, one for each task: few, for each keeps the peaks of all objects.
struct Tasks {
  std::int64_t boxes, each, count;

  Tasks(std::int64_t box_count, int threads) : boxes(box_count) {
    const std::int64_t most = threads > 1 ? kTasksPerThread * threads : 1;
    const std::int64_t stretches = (boxes + kMatchStretch - 1) / kMatchStretch;
    each = std::max<std::int64_t>((stretches + most - 1) / most, 1) * kMatchStretch;
    count = (boxes + each - 1) / each;
  }
};

template <class T>
std::vector<MatchCandidate<T>> candidates_of(const TensorView& tensor) {
  const std::int64_t count = tensor.defined() ? tensor.shape[0] : 0;
  const auto* box = tensor.as<const geometry::Box<T>>();
  std::vector<MatchCandidate<T>> candidates(count);
  for (std::int64_t k = 0; k < count; ++k) {
    candidates[k] = {box[k], geometry::area(box[k]), static_cast<std::int32_t>(k)};
  }
  return candidates;
}

template <class T>
void run(const Context& given, const MatchJob<T>& job, const Kernels<T>& kernels, const TensorView& boxes,
         bool every_object, T* highest, std::int64_t* matches) {
  const std::int64_t objects = job.object_count, longest = std::max(objects, job.region_count);
  // Two nanoseconds a box, and one for every sixteen objects: most are far away.
  const Context context = limit_threads(given, boxes.shape[0] * (2 + longest / 16));
  const Tasks tasks(boxes.shape[0], context.num_threads);
  const std::unique_ptr<std::int32_t[]> best_objects(new std::int32_t[tasks.boxes]);
  std::vector<MatchPeak<T>> peaks(tasks.count * objects);
  std::vector<MatchCandidate<T>> near(2 * tasks.count * longest);
  const auto range = [&](std::int64_t task) {
    const std::int64_t begin = task * tasks.each;
    MatchCandidate<T>* workspace = near.data() + 2 * task * longest;
    return MatchRange<T>{boxes.as<const geometry::Box<T>>() + begin,
                         std::min(tasks.each, tasks.boxes - begin),
                         matches + begin,
                         best_objects.get() + begin,
                         peaks.data() + task * objects,
                         workspace,
                         workspace + longest};
  };
  parallel_for(context, tasks.count, [&](std::int64_t task) { kernels.match(job, range(task)); });

  std::fill_n(highest, objects, T(0));
  for (std::size_t k = 0; k < peaks.size(); ++k) highest[k % objects] = std::max(highest[k % objects], peaks[k].iou);
  if (!every_object) return;
  parallel_for(context, tasks.count, [&](std::int64_t task) { kernels.claim(job, range(task), highest); });
}

}  // namespace

void match_boxes(const Context& context, const TensorView& objects, const TensorView& boxes,
                 const TensorView& ignore_regions, double foreground, double background, double ignore_overlap,
                 bool every_object, const TensorView& highest, const TensorView& matches) {
  const MatchThresholds thresholds{foreground, background, ignore_overlap};
  check_match_boxes(objects, boxes, ignore_regions, thresholds, highest, matches);
  dispatch_floating("match_boxes", "boxes", boxes.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const std::vector<MatchCandidate<T>> candidates = candidates_of<T>(objects),
                                         regions = candidates_of<T>(ignore_regions);
    const auto object_count = static_cast<std::int64_t>(candidates.size());
    const MatchJob<T> job{candidates.data(), object_count, regions.data(), static_cast<std::int64_t>(regions.size()),
                          match_rule<T>(thresholds, object_count)};
    run(context, job, kernels_for(tag), boxes, every_object, highest.as<T>(), matches.as<std::int64_t>());
  });
}

}  // namespace fastmrcnn::cpu
