// The k greatest logits of a level, in one pass over all of them.
#pragma once

#include <cstdint>
#include <tuple>
#include <type_traits>
#include <vector>

#include "fastmrcnn/geometry/float_order.h"
#include "fastmrcnn/head_maps.h"
#include "score_order.h"

namespace fastmrcnn::cpu {

// Keyed for keys of 64 bits.
struct WideKeyed {
  std::uint64_t key;
  std::uint32_t index;

  bool operator<(const WideKeyed& other) const { return std::tie(key, index) < std::tie(other.key, other.index); }
};

// A logit's key in geometry::FloatOrder and the index of its anchor. `<` compares the keys, then the indices.
template <class Bits>
using Ranked = std::conditional_t<sizeof(Bits) <= sizeof(std::uint32_t), Keyed, WideKeyed>;

inline std::uint32_t key_of(Keyed item) {
  return static_cast<std::uint32_t>(item >> 32);
}

inline std::uint64_t key_of(const WideKeyed& item) {
  return item.key;
}

inline std::uint32_t index_of(const WideKeyed& item) {
  return item.index;
}

// The first min(k, logits.size()) in ascending order, which is that of descending logits, equal ones by anchor. For
// Bits uint16_t, uint32_t and uint64_t.
template <class Bits>
std::vector<Ranked<Bits>> leading_logits(const LogitMap<Bits>& logits, const geometry::FloatOrder<Bits>& order,
                                         std::int64_t k);

}  // namespace fastmrcnn::cpu
