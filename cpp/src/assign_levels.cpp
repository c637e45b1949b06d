// A few comparisons for each box; bound by the loads and stores.
#include "fastmrcnn/ops/assign_levels.h"

#include <algorithm>

#include "fastmrcnn/dtype.h"
#include "fastmrcnn/parallel.h"

namespace fastmrcnn::cpu {

void assign_levels(const Context& context, const TensorView& boxes, std::int64_t finest_level,
                   std::int64_t coarsest_level, double canonical_scale, std::int64_t canonical_level,
                   const std::string& level_rule, const TensorView& levels) {
  const auto assignment = check_level_assignment("assign_levels", finest_level, coarsest_level, canonical_scale,
                                                 canonical_level, level_rule);
  check_assign_levels(boxes, levels);
  dispatch_floating("assign_levels", "boxes", boxes.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto borders = geometry::level_borders<T>(assignment);
    const auto* box = boxes.as<const geometry::Box<T>>();
    auto* level = levels.as<std::int64_t>();
    constexpr std::int64_t kBlock = std::int64_t{1} << 14;
    const std::int64_t count = boxes.shape[0];
    parallel_for(limit_threads(context, 2 * count), (count + kBlock - 1) / kBlock, [&](std::int64_t block) {
      const std::int64_t end = std::min(count, (block + 1) * kBlock);
      for (std::int64_t k = block * kBlock; k < end; ++k) level[k] = finest_level + level_of(borders, box[k]);
    });
  });
}

}  // namespace fastmrcnn::cpu
