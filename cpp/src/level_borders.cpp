#include <cmath>
#include <cstring>
#include <limits>

#include "fastmrcnn/geometry/level.h"

namespace fastmrcnn::geometry {
namespace {

template <class T>
struct BitsOf;
template <>
struct BitsOf<float> {
  using type = std::uint32_t;
};
template <>
struct BitsOf<double> {
  using type = std::uint64_t;
};

// Correctly rounded for float, but for exceedingly rare cases that no border is near.
template <class T>
T log2_of(T value) {
  return static_cast<T>(std::log2(static_cast<double>(value)));
}

// Whether a box of this area is on `level` or a coarser one. Every operation rounds to T, as in the implementations
// that the rules are named after: in single precision their epsilons are a few ulps of a level.
template <class T>
bool reaches(T box_area, std::int64_t level, const LevelAssignment& assignment) {
  const T ratio = std::sqrt(box_area) / static_cast<T>(assignment.canonical_scale);
  const T canonical = static_cast<T>(assignment.canonical_level);
  const T position = assignment.rule == LevelRule::torchvision ? canonical + log2_of(ratio) + T(1e-6)
                                                               : canonical + log2_of(ratio + T(1e-8));
  return position >= static_cast<T>(level);
}

}  // namespace

template <class T>
LevelBorders<T> level_borders(const LevelAssignment& assignment) {
  using Bits = typename BitsOf<T>::type;
  const auto value_of = [](Bits bits) {
    T value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  };
  const T infinity = std::numeric_limits<T>::infinity();
  LevelBorders<T> borders;
  for (std::int64_t level = assignment.finest + 1; level <= assignment.coarsest; ++level) {
    // Bisection over all areas: the bits of floating-point numbers that are not negative ascend with their values.
    Bits low = 0, high;
    std::memcpy(&high, &infinity, sizeof high);
    while (low < high) {
      const Bits middle = low + (high - low) / 2;
      if (reaches(value_of(middle), level, assignment)) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    borders.area[borders.count++] = value_of(low);
  }
  return borders;
}

template LevelBorders<float> level_borders(const LevelAssignment&);
template LevelBorders<double> level_borders(const LevelAssignment&);

}  // namespace fastmrcnn::geometry
