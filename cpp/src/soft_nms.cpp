// Soft-NMS: each group on its own, in parallel, then all that they kept in order of the decayed scores.
#include "fastmrcnn/ops/soft_nms.h"

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "box_groups.h"
#include "fastmrcnn/dtype.h"
#include "fastmrcnn/isa.h"
#include "fastmrcnn/parallel.h"
#include "fastmrcnn/round_down.h"
#include "kernels/soft_nms_kernel.h"
#include "score_order.h"
#include "scratch.h"

namespace fastmrcnn::cpu {
namespace {

auto kernel_for(TypeTag<float>) {
  static constexpr IsaTable<decltype(&baseline::soft_nms_f32)> table = FASTMRCNN_ISA_TABLE(soft_nms_f32);
  return table.get();
}

auto kernel_for(TypeTag<double>) {
  static constexpr IsaTable<decltype(&baseline::soft_nms_f64)> table = FASTMRCNN_ISA_TABLE(soft_nms_f64);
  return table.get();
}

template <class T>
SoftNmsRule<T> rule_for(const SoftNmsOptions& options) {
  const bool linear = options.method == SoftNmsMethod::linear;
  return {linear, linear ? round_down<T>(options.iou_threshold) : T(0), static_cast<T>(-1 / options.sigma),
          options.score_threshold};
}

template <class T>
struct Boxes {
  const geometry::Box<T>* box;
  const T* score;
};

// Selects among the boxes that `members` names and puts the scores of those selected where their indices say.
template <class T>
void select(const Boxes<T>& boxes, const std::uint32_t* members, std::int64_t n, const SoftNmsRule<T>& rule,
            T* score_of) {
  constexpr std::int64_t kFew = 64;
  const std::int64_t rows = soft_nms_rows(n);
  Scratch<T, 6 * kFew> storage(6 * rows);
  Scratch<std::uint32_t, kFew> index(rows), kept(n);
  Scratch<T, kFew> decayed(n);
  T* column = storage.get();
  const SoftNmsColumns<T> columns{
      column, column + rows, column + 2 * rows, column + 3 * rows, column + 4 * rows, column + 5 * rows, index.get()};
  for (std::int64_t k = 0; k < n; ++k) {
    const geometry::Box<T>& box = boxes.box[members[k]];
    columns.x1[k] = box.x1;
    columns.y1[k] = box.y1;
    columns.x2[k] = box.x2;
    columns.y2[k] = box.y2;
    columns.area[k] = geometry::area(box);
    columns.score[k] = boxes.score[members[k]];
    columns.index[k] = members[k];
  }
  const std::int64_t count = kernel_for(TypeTag<T>{})(columns, n, rule, kept.get(), decayed.get());
  for (std::int64_t k = 0; k < count; ++k) score_of[kept[k]] = decayed[k];
}

template <class T>
std::int64_t run(const Context& context, const Boxes<T>& boxes, const std::int64_t* groups, std::int64_t n,
                 const SoftNmsRule<T>& rule, std::int64_t* keep, T* decayed) {
  std::vector<std::uint32_t> indices(n);
  std::iota(indices.begin(), indices.end(), 0u);
  const BoxGroups in_groups = group_boxes(indices.data(), groups, n);
  std::vector<T> score_of(n, std::numeric_limits<T>::quiet_NaN());  // which no selected box has
  parallel_for(limit_threads(context, in_groups.pairs()), in_groups.count(), [&](std::int64_t group) {
    const std::int64_t begin = in_groups.bounds[group], size = in_groups.bounds[group + 1] - begin;
    select(boxes, &in_groups.ranks[begin], size, rule, score_of.data());
  });

  std::int64_t count = 0;
  for (std::int64_t index = 0; index < n; ++index) {
    if (std::isnan(score_of[index])) continue;
    indices[count] = static_cast<std::uint32_t>(index);
    score_of[count++] = score_of[index];
  }
  std::vector<std::uint32_t> order(count);
  descending_order(score_of.data(), count, order.data());
  for (std::int64_t k = 0; k < count; ++k) {
    keep[k] = indices[order[k]];
    decayed[k] = score_of[order[k]];
  }
  return count;
}

}  // namespace

void soft_nms(const Context& context, const TensorView& boxes, const TensorView& scores, const TensorView& groups,
              const std::string& method, double sigma, double iou_threshold, double score_threshold,
              const TensorView& keep, const TensorView& decayed, const TensorView& count, const TensorView&) {
  check_soft_nms(boxes, scores, groups, keep, decayed, count);
  const SoftNmsOptions options = soft_nms_options(method, sigma, iou_threshold, score_threshold);
  const auto* group = groups.defined() ? groups.as<const std::int64_t>() : nullptr;
  *count.as<std::int64_t>() = dispatch_floating("soft_nms", "boxes", boxes.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Boxes<T> all{boxes.as<const geometry::Box<T>>(), scores.as<const T>()};
    return run<T>(context, all, group, boxes.shape[0], rule_for<T>(options), keep.as<std::int64_t>(), decayed.as<T>());
  });
}

}  // namespace fastmrcnn::cpu
