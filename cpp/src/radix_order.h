// Stable sorting of indices by unsigned keys: a byte a pass, passes that would move nothing skipped.
#pragma once

#include <array>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

namespace fastmrcnn::cpu {

// The indices of `keys` in ascending order of key, equal keys by index.
template <class Key>
std::vector<std::int64_t> radix_order(std::vector<Key> keys) {
  const std::size_t n = keys.size();
  std::vector<std::int64_t> order(n), next_order(n);
  std::vector<Key> next_keys(n);
  std::iota(order.begin(), order.end(), std::int64_t{0});
  for (unsigned shift = 0; shift < 8 * sizeof(Key); shift += 8) {
    std::array<std::size_t, 256> places{};
    for (const Key key : keys) ++places[(key >> shift) & 0xff];
    if (n == 0 || places[(keys[0] >> shift) & 0xff] == n) continue;
    std::exclusive_scan(places.begin(), places.end(), places.begin(), std::size_t{0});
    for (std::size_t k = 0; k < n; ++k) {
      const std::size_t place = places[(keys[k] >> shift) & 0xff]++;
      next_keys[place] = keys[k];
      next_order[place] = order[k];
    }
    std::swap(keys, next_keys);
    std::swap(order, next_order);
  }
  return order;
}

}  // namespace fastmrcnn::cpu
