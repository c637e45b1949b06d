#include "tap_tables.h"

#include <algorithm>
#include <tuple>

#include "fastmrcnn/check.h"

namespace fastmrcnn {
namespace {

// Rows of RoIs whose centres lie within one band of this many feature-map pixels are worked through from left to right.
constexpr double kBand = 16;

// A coordinate as an integer that sorts; NaN and what does not fit sort last.
std::int64_t sort_key(double position) {
  return position > -1e15 && position < 1e15 ? static_cast<std::int64_t>(position) : std::int64_t{1} << 60;
}

}  // namespace

template <class T>
RoiOrder order_rois(const char* op, const geometry::Roi<T>* rois, std::int64_t count, const PooledShape& shape,
                    double spatial_scale) {
  using Key = std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t>;  // image, band, x, row of rois
  std::vector<Key> keys(count);
  for (std::int64_t k = 0; k < count; ++k) {
    const geometry::Roi<T>& roi = rois[k];
    check(roi.batch >= T(0) && roi.batch < static_cast<T>(shape.images), op, ": rois[", k, "] has batch index ",
          roi.batch, "; expected at least 0 and below ", shape.images, ", the number of images");
    const double y = (double{roi.y1} + double{roi.y2}) / 2 * spatial_scale;
    const double x = (double{roi.x1} + double{roi.x2}) / 2 * spatial_scale;
    keys[k] = {static_cast<std::int64_t>(roi.batch), sort_key(y / kBand), sort_key(x), k};
  }
  std::sort(keys.begin(), keys.end());

  RoiOrder order;
  order.rois.reserve(count);
  for (const Key& key : keys) {
    const std::int64_t image = std::get<0>(key), position = static_cast<std::int64_t>(order.rois.size());
    const bool fits = !order.groups.empty() && order.groups.back().image == image &&
                      position - order.groups.back().begin < kRoisPerGroup;
    if (!fits) order.groups.push_back({image, position, position});
    order.groups.back().end = position + 1;
    order.rois.push_back(std::get<3>(key));
  }
  return order;
}

template <class T>
TapTables<T>::TapTables(const geometry::Roi<T>* rois, const std::int64_t* order, std::int64_t count,
                        const PooledShape& shape, const geometry::Sampling<T>& sampling) {
  rois_.reserve(count);
  begin_.reserve(count * (shape.bins_y + shape.bins_x + 2));
  for (std::int64_t k = 0; k < count; ++k) {
    const geometry::Roi<T>& roi = rois[order[k]];
    auto y = geometry::axis_bins(roi.y1, roi.y2, shape.bins_y, sampling);
    auto x = geometry::axis_bins(roi.x1, roi.x2, shape.bins_x, sampling);
    if (y.samples == 0 || x.samples == 0) y = x = {};
    const AxisTaps<T> y_taps = append_axis(y, shape.bins_y, shape.height);
    const AxisTaps<T> x_taps = append_axis(x, shape.bins_x, shape.width);
    rois_.push_back({order[k], y_taps, x_taps});
  }
  std::size_t begin = 0, tap = 0;
  for (RoiTaps<T>& roi : rois_) {
    resolve(roi.y, begin, tap);
    resolve(roi.x, begin, tap);
  }
}

// The pointers of the result stay null until the vectors have stopped growing.
template <class T>
AxisTaps<T> TapTables<T>::append_axis(const geometry::AxisBins<T>& axis, std::int64_t bins, std::int64_t size) {
  const std::size_t axis_begin = index_.size();
  AxisTaps<T> taps{nullptr, nullptr, nullptr, static_cast<std::int32_t>(bins), 0, -1};
  begin_.push_back(0);
  for (std::int64_t bin = 0; bin < bins; ++bin) {
    const std::size_t bin_begin = index_.size();
    const geometry::SampleRange range = geometry::samples_on_map(axis, bin, size);
    for (std::int64_t k = range.begin; k < range.end; ++k) {
      // Ascending positions, also where a reversed RoI has negative bins.
      const std::int64_t sample = axis.bin < T(0) ? range.begin + range.end - 1 - k : k;
      const auto pixels = geometry::linear_taps(geometry::sample_position(axis, bin, sample), size);
      append_tap(bin_begin, pixels.low, pixels.weight_low);
      append_tap(bin_begin, pixels.high, pixels.weight_high);
    }
    for (std::size_t t = bin_begin; t < index_.size(); ++t) weight_[t] /= static_cast<T>(axis.samples);
    begin_.push_back(static_cast<std::int32_t>(index_.size() - axis_begin));
  }
  if (index_.size() > axis_begin) {
    const auto [first, last] = std::minmax_element(index_.begin() + axis_begin, index_.end());
    taps.first = *first;
    taps.last = *last;
  }
  return taps;
}

// Positions ascend, so a pixel that the bin has already is one of its last two.
template <class T>
void TapTables<T>::append_tap(std::size_t bin_begin, std::int32_t index, T weight) {
  if (weight == T(0)) return;
  const std::size_t size = index_.size();
  for (std::size_t t = size; t > bin_begin && t + 2 > size; --t) {
    if (index_[t - 1] != index) continue;
    weight_[t - 1] += weight;
    return;
  }
  index_.push_back(index);
  weight_.push_back(weight);
}

template <class T>
void TapTables<T>::resolve(AxisTaps<T>& axis, std::size_t& begin, std::size_t& tap) const {
  axis.begin = begin_.data() + begin;
  axis.index = index_.data() + tap;
  axis.weight = weight_.data() + tap;
  begin += axis.bins + 1;
  tap += axis.begin[axis.bins];
}

template RoiOrder order_rois(const char*, const geometry::Roi<float>*, std::int64_t, const PooledShape&, double);
template RoiOrder order_rois(const char*, const geometry::Roi<double>*, std::int64_t, const PooledShape&, double);
template class TapTables<float>;
template class TapTables<double>;

}  // namespace fastmrcnn
