// Radix sorting of (key, index) pairs packed into 64 bits: a byte a pass, bytes that all keys share skipped.
#include "score_order.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "scratch.h"

namespace fastmrcnn::cpu {
namespace {

constexpr std::int64_t kFew = 64;  // up to here sorting by insertion is faster and needs no memory
constexpr int kDigits = 4;         // bytes of a key

// Unsigned keys that ascend where scores descend.
std::uint32_t descending_key(float score) {
  const float positive_zero = score + 0.0f;
  std::uint32_t bits;
  std::memcpy(&bits, &positive_zero, sizeof bits);
  return std::isnan(score) ? 0 : bits >> 31 ? bits : ~bits & 0x7fffffffu;
}

std::uint64_t descending_key(double score) {
  const double positive_zero = score + 0.0;
  std::uint64_t bits;
  std::memcpy(&bits, &positive_zero, sizeof bits);
  return std::isnan(score) ? 0 : bits >> 63 ? bits : ~bits & 0x7fffffffffffffffu;
}

void insertion_sort(Keyed* items, std::int64_t n) {
  for (std::int64_t k = 1; k < n; ++k) {
    const Keyed item = items[k];
    std::int64_t place = k;
    for (; place > 0 && items[place - 1] >> 32 > item >> 32; --place) items[place] = items[place - 1];
    items[place] = item;
  }
}

unsigned digit(Keyed item, int d) {
  return item >> (32 + 8 * d) & 0xff;
}

void radix_sort(Keyed* items, Keyed* spare, std::int64_t n) {
  std::uint32_t places[kDigits][256] = {};
  for (std::int64_t k = 0; k < n; ++k) {
    for (int d = 0; d < kDigits; ++d) ++places[d][digit(items[k], d)];
  }
  Keyed* from = items;
  Keyed* to = spare;
  for (int d = 0; d < kDigits; ++d) {
    std::uint32_t* place = places[d];
    if (place[digit(items[0], d)] == n) continue;
    std::uint32_t begin = 0;
    for (int value = 0; value < 256; ++value) {
      const std::uint32_t count = place[value];
      place[value] = begin;
      begin += count;
    }
    for (std::int64_t k = 0; k < n; ++k) to[place[digit(from[k], d)]++] = from[k];
    std::swap(from, to);
  }
  if (from != items) std::copy(from, from + n, items);
}

}  // namespace

void sort_by_key(Keyed* items, Keyed* spare, std::int64_t n) {
  if (n <= kFew) {
    insertion_sort(items, n);
  } else {
    radix_sort(items, spare, n);
  }
}

void descending_order(const float* scores, std::int64_t n, std::uint32_t* order) {
  Scratch<Keyed, kFew> items(n), spare(n);
  for (std::int64_t k = 0; k < n; ++k) items[k] = keyed(descending_key(scores[k]), k);
  sort_by_key(items.get(), spare.get(), n);
  for (std::int64_t k = 0; k < n; ++k) order[k] = index_of(items[k]);
}

// By the upper halves of the keys, which leaves few scores to tell apart by their lower halves.
void descending_order(const double* scores, std::int64_t n, std::uint32_t* order) {
  Scratch<Keyed, kFew> items(n), spare(n);
  for (std::int64_t k = 0; k < n; ++k) items[k] = keyed(descending_key(scores[k]) >> 32, k);
  sort_by_key(items.get(), spare.get(), n);
  for (std::int64_t k = 0; k < n; ++k) order[k] = index_of(items[k]);
  for (std::int64_t begin = 0, end = 0; begin < n; begin = end) {
    while (end < n && items[end] >> 32 == items[begin] >> 32) ++end;
    if (end - begin > 1) {
      std::stable_sort(order + begin, order + end, [scores](std::uint32_t a, std::uint32_t b) {
        return descending_key(scores[a]) < descending_key(scores[b]);
      });
    }
  }
}

}  // namespace fastmrcnn::cpu
