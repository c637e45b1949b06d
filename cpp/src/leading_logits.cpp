// Of a few hundred thousand logits a thousand are wanted, so nearly all are passed over by comparison with a limit that
// a sample suggests. The limit need not be right: too high a one is found out by the count, and what a low one lets
// through is thinned as it collects.
#include "leading_logits.h"

#include <algorithm>
#include <cmath>

#include "fastmrcnn/isa.h"
#include "kernels/leading_kernel.h"

namespace fastmrcnn::cpu {
namespace {

constexpr std::int64_t kChunk = 4096;  // values that a kernel is called on
constexpr std::int64_t kSamples = 1024;

auto kernel_for(const geometry::FloatOrder<std::uint16_t>&) {
  static constexpr IsaTable<decltype(&baseline::find_leading_u16)> table = FASTMRCNN_ISA_TABLE(find_leading_u16);
  return table.get();
}

auto kernel_for(const geometry::FloatOrder<std::uint32_t>&) {
  static constexpr IsaTable<decltype(&baseline::find_leading_u32)> table = FASTMRCNN_ISA_TABLE(find_leading_u32);
  return table.get();
}

auto kernel_for(const geometry::FloatOrder<std::uint64_t>&) {
  static constexpr IsaTable<decltype(&baseline::find_leading_u64)> table = FASTMRCNN_ISA_TABLE(find_leading_u64);
  return table.get();
}

template <class Bits>
Ranked<Bits> ranked(Bits key, std::uint32_t index) {
  if constexpr (std::is_same_v<Ranked<Bits>, Keyed>) {
    return keyed(key, index);
  } else {
    return {key, index};
  }
}

// Collects candidates and forgets those that k better ones exclude.
template <class Bits>
class Collector {
 public:
  Collector(std::int64_t k, std::int64_t capacity, Bits limit) : k_(k), items_(capacity), worst_(ranked(limit, ~0u)) {}

  // Keys above it need not be offered.
  Bits limit() const { return static_cast<Bits>(key_of(worst_)); }
  std::int64_t count() const { return count_; }

  void offer(const Ranked<Bits>& item) {
    if (!(item < worst_)) return;
    items_[count_++] = item;
    if (count_ == static_cast<std::int64_t>(items_.size())) thin();
  }

  std::vector<Ranked<Bits>> sorted() && {
    sort_items();
    items_.resize(std::min(k_, count_));
    return std::move(items_);
  }

 private:
  void thin() {
    std::nth_element(items_.begin(), items_.begin() + (k_ - 1), items_.end());
    count_ = k_;
    worst_ = items_[k_ - 1];
  }

  void sort_items() {
    const auto begin = items_.begin(), end = begin + count_;
    if constexpr (std::is_same_v<Ranked<Bits>, Keyed>) {
      std::vector<Keyed> spare(count_);
      sort_by_key(items_.data(), spare.data(), count_);
      for (auto same = begin; same != end;) {  // equal keys came in the order of memory
        const auto other = std::find_if(same, end, [&](Keyed item) { return key_of(item) != key_of(*same); });
        if (other - same > 1) std::sort(same, other);
        same = other;
      }
    } else {
      std::sort(begin, end);
    }
  }

  std::int64_t k_;
  std::vector<Ranked<Bits>> items_;
  std::int64_t count_ = 0;
  Ranked<Bits> worst_;  // candidates from here on are not among the best k
};

// A key that a few more than k logits reach, if the sample does not mislead.
template <class Bits>
Bits suggest_limit(const LogitMap<Bits>& logits, const geometry::FloatOrder<Bits>& order, std::int64_t k) {
  const std::int64_t step = logits.size() / kSamples;
  std::vector<Bits> sample(kSamples);
  std::uint32_t random = 1;
  for (std::int64_t n = 0; n < kSamples; ++n) {
    random = random * 1664525u + 1013904223u;  // steps without jitter might meet one anchor of the cells only
    sample[n] = order.key(logits.at(n * step + (random >> 8) % step));
  }
  const double expected = static_cast<double>(k) * kSamples / static_cast<double>(logits.size());
  const auto rank = static_cast<std::int64_t>(expected + 3 * std::sqrt(expected) + 2);
  if (rank >= kSamples) return Bits(~Bits(0));
  std::nth_element(sample.begin(), sample.begin() + rank, sample.end());
  return sample[rank];
}

template <class Bits>
Collector<Bits> collect(const LogitMap<Bits>& logits, const geometry::FloatOrder<Bits>& order, std::int64_t k,
                        std::int64_t capacity, Bits limit) {
  Collector<Bits> best(k, capacity, limit);
  Bits buffer[kChunk];
  std::int32_t hits[kChunk];
  const auto find_leading = kernel_for(order);
  for (std::int64_t begin = 0; begin < logits.size(); begin += kChunk) {
    const std::int64_t count = std::min(kChunk, logits.size() - begin);
    const Bits* values = logits.read(begin, count, buffer);
    const std::int64_t found = find_leading(values, count, order, best.limit(), hits);
    for (std::int64_t n = 0; n < found; ++n) {
      best.offer(ranked(order.key(values[hits[n]]), logits.anchor_at(begin + hits[n])));
    }
  }
  return best;
}

}  // namespace

template <class Bits>
std::vector<Ranked<Bits>> leading_logits(const LogitMap<Bits>& logits, const geometry::FloatOrder<Bits>& order,
                                         std::int64_t k) {
  k = std::min(k, logits.size());
  if (k == 0) return {};
  const Bits no_limit = Bits(~Bits(0));
  const std::int64_t capacity = std::min(std::max(4 * k, kChunk), logits.size() + 1);  // never full where all fit
  const Bits limit = logits.size() > capacity ? suggest_limit(logits, order, k) : no_limit;
  Collector<Bits> best = collect(logits, order, k, capacity, limit);
  if (best.count() < k) best = collect(logits, order, k, capacity, no_limit);
  return std::move(best).sorted();
}

template std::vector<Ranked<std::uint16_t>> leading_logits(const LogitMap<std::uint16_t>&,
                                                           const geometry::FloatOrder<std::uint16_t>&, std::int64_t);
template std::vector<Ranked<std::uint32_t>> leading_logits(const LogitMap<std::uint32_t>&,
                                                           const geometry::FloatOrder<std::uint32_t>&, std::int64_t);
template std::vector<Ranked<std::uint64_t>> leading_logits(const LogitMap<std::uint64_t>&,
                                                           const geometry::FloatOrder<std::uint64_t>&, std::int64_t);

}  // namespace fastmrcnn::cpu
