#include "box_groups.h"

#include <algorithm>
#include <numeric>

#include "score_order.h"

namespace fastmrcnn::cpu {
namespace {

std::vector<std::uint32_t> ranks_by_group(const std::uint32_t* order, const std::int64_t* groups, std::int64_t n) {
  const auto [least, greatest] = std::minmax_element(groups, groups + n);
  const auto above_least = [least = static_cast<std::uint64_t>(*least)](std::int64_t group) {
    return static_cast<std::uint64_t>(group) - least;
  };
  std::vector<Keyed> items(n), spare(n);
  for (std::int64_t k = 0; k < n; ++k) items[k] = keyed(above_least(groups[order[k]]), k);
  sort_by_key(items.data(), spare.data(), n);
  if (above_least(*greatest) >> 32 != 0) {
    for (Keyed& item : items) item = keyed(above_least(groups[order[index_of(item)]]) >> 32, index_of(item));
    sort_by_key(items.data(), spare.data(), n);
  }
  std::vector<std::uint32_t> ranks(n);
  std::transform(items.begin(), items.end(), ranks.begin(), index_of);
  return ranks;
}

}  // namespace

std::int64_t BoxGroups::pairs() const {
  std::int64_t sum = 0;
  for (std::int64_t g = 0; g < count(); ++g) sum += (bounds[g + 1] - bounds[g]) * (bounds[g + 1] - bounds[g]);
  return sum;
}

BoxGroups group_boxes(const std::uint32_t* order, const std::int64_t* groups, std::int64_t n) {
  if (n == 0) return {{}, {0}};
  if (groups == nullptr) {
    BoxGroups all{std::vector<std::uint32_t>(n), {0, n}};
    std::iota(all.ranks.begin(), all.ranks.end(), 0u);
    return all;
  }
  BoxGroups grouped{ranks_by_group(order, groups, n), {0}};
  for (std::int64_t k = 1; k < n; ++k) {
    if (groups[order[grouped.ranks[k]]] != groups[order[grouped.ranks[k - 1]]]) grouped.bounds.push_back(k);
  }
  grouped.bounds.push_back(n);
  return grouped;
}

}  // namespace fastmrcnn::cpu
