// Boxes sorted into their groups (classes, levels, images), each of which is suppressed on its own.
#pragma once

#include <cstdint>
#include <vector>

namespace fastmrcnn::cpu {

struct BoxGroups {
  std::vector<std::uint32_t> ranks;  // positions in the given order: one group after the other, ascending within each
  std::vector<std::int64_t> bounds;  // where each group begins in `ranks`, and at last where the last one ends

  std::int64_t count() const { return static_cast<std::int64_t>(bounds.size()) - 1; }

  // Pairs of boxes within a group, each counted twice.
  std::int64_t pairs() const;
};

// `order` names the n boxes in the order that each group shall keep, `groups` holds the group of each box; without
// `groups` all belong to one.
BoxGroups group_boxes(const std::uint32_t* order, const std::int64_t* groups, std::int64_t n);

}  // namespace fastmrcnn::cpu
