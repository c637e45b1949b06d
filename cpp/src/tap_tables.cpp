#include "tap_tables.h"

#include <algorithm>
#include <numeric>

namespace fastmrcnn {

template <class T>
template <class Rule>
TapTables<T>::TapTables(const geometry::Roi<T>* rois, const std::int64_t* order, std::int64_t count,
                        const PooledShape& shape, const Rule& rule) {
  rois_.reserve(count);
  begin_.reserve(count * (shape.bins_y + shape.bins_x + 2));
  for (std::int64_t k = 0; k < count; ++k) append_roi(order[k], rois[order[k]], shape, rule);
  std::size_t begin = 0, tap = 0;
  for (RoiTaps<T>& roi : rois_) {
    resolve(roi.y, begin, tap);
    resolve(roi.x, begin, tap);
    if (roi.rows.bins > 0) resolve(roi.rows, begin, tap);
  }
}

template <class T>
void TapTables<T>::append_roi(std::int64_t row, const geometry::Roi<T>& roi, const PooledShape& shape,
                              const geometry::Sampling<T>& sampling) {
  auto y = geometry::axis_bins(roi.y1, roi.y2, shape.bins_y, sampling);
  auto x = geometry::axis_bins(roi.x1, roi.x2, shape.bins_x, sampling);
  if (y.samples == 0 || x.samples == 0) y = x = {};
  const std::size_t begin = begin_.size(), tap = index_.size();
  const auto y_taps = append_axis(shape.bins_y, [&](std::int64_t bin) { append_samples(y, bin, shape.height); });
  const auto x_taps = append_axis(shape.bins_x, [&](std::int64_t bin) { append_samples(x, bin, shape.width); });
  rois_.push_back({row, y_taps, x_taps, append_transpose(y_taps, begin, tap)});
}

template <class T>
void TapTables<T>::append_roi(std::int64_t row, const geometry::Roi<T>& roi, const PooledShape& shape,
                              const geometry::Quantised<T>& rule) {
  const auto y = geometry::pixel_bins(roi.y1, roi.y2, shape.bins_y, rule);
  const auto x = geometry::pixel_bins(roi.x1, roi.x2, shape.bins_x, rule);
  const auto y_taps = append_axis(
      shape.bins_y, [&](std::int64_t bin) { append_range(geometry::pixels_of_bin(y, bin, shape.height, rule)); });
  const auto x_taps = append_axis(
      shape.bins_x, [&](std::int64_t bin) { append_range(geometry::pixels_of_bin(x, bin, shape.width, rule)); });
  rois_.push_back({row, y_taps, x_taps, {}});
}

// The pointers of the result stay null until the vectors have stopped growing.
template <class T>
template <class AppendBin>
AxisTaps<T> TapTables<T>::append_axis(std::int64_t bins, const AppendBin& append_bin) {
  const std::size_t axis_begin = index_.size();
  AxisTaps<T> taps{nullptr, nullptr, nullptr, static_cast<std::int32_t>(bins), 0, -1};
  begin_.push_back(0);
  for (std::int64_t bin = 0; bin < bins; ++bin) {
    append_bin(bin);
    begin_.push_back(static_cast<std::int32_t>(index_.size() - axis_begin));
  }
  if (index_.size() > axis_begin) {
    const auto [first, last] = std::minmax_element(index_.begin() + axis_begin, index_.end());
    taps.first = *first;
    taps.last = *last;
  }
  return taps;
}

// Of an axis whose table begins at begin_[begin] and index_[tap]. Each pixel's bins ascend.
template <class T>
AxisTaps<T> TapTables<T>::append_transpose(const AxisTaps<T>& axis, std::size_t begin, std::size_t tap) {
  const std::int32_t pixels = axis.last - axis.first + 1;
  if (pixels == 0) return {};
  const std::size_t taps = begin_[begin + axis.bins], pixel_begin = begin_.size(), entry = index_.size();
  begin_.resize(pixel_begin + pixels + 1, 0);
  index_.resize(entry + taps);
  weight_.resize(entry + taps);
  std::int32_t* const next = begin_.data() + pixel_begin;  // where the next entry of each pixel goes
  for (std::size_t t = 0; t < taps; ++t) ++next[index_[tap + t] - axis.first + 1];
  std::partial_sum(next, next + pixels + 1, next);
  for (std::int32_t bin = 0, t = 0; bin < axis.bins; ++bin) {
    for (; t < begin_[begin + bin + 1]; ++t) {
      const std::size_t place = entry + next[index_[tap + t] - axis.first]++;
      index_[place] = bin;
      weight_[place] = weight_[tap + t];
    }
  }
  std::copy_backward(next, next + pixels, next + pixels + 1);
  next[0] = 0;
  return {nullptr, nullptr, nullptr, pixels, 0, axis.bins - 1};
}

template <class T>
void TapTables<T>::append_samples(const geometry::AxisBins<T>& axis, std::int64_t bin, std::int64_t size) {
  geometry::for_each_tap(axis, bin, size, {0, size}, [&](std::int32_t pixel, T weight) {
    index_.push_back(pixel);
    weight_.push_back(weight);
  });
}

template <class T>
void TapTables<T>::append_range(const geometry::PixelRange& range) {
  for (std::int64_t pixel = range.begin; pixel < range.end; ++pixel) {
    index_.push_back(static_cast<std::int32_t>(pixel));
    weight_.push_back(T(1) / static_cast<T>(range.end - range.begin));
  }
}

template <class T>
void TapTables<T>::resolve(AxisTaps<T>& axis, std::size_t& begin, std::size_t& tap) const {
  axis.begin = begin_.data() + begin;
  axis.index = index_.data() + tap;
  axis.weight = weight_.data() + tap;
  begin += axis.bins + 1;
  tap += axis.begin[axis.bins];
}

template class TapTables<float>;
template class TapTables<double>;
template TapTables<float>::TapTables(const geometry::Roi<float>*, const std::int64_t*, std::int64_t, const PooledShape&,
                                     const geometry::Sampling<float>&);
template TapTables<double>::TapTables(const geometry::Roi<double>*, const std::int64_t*, std::int64_t,
                                      const PooledShape&, const geometry::Sampling<double>&);
template TapTables<float>::TapTables(const geometry::Roi<float>*, const std::int64_t*, std::int64_t, const PooledShape&,
                                     const geometry::Quantised<float>&);
template TapTables<double>::TapTables(const geometry::Roi<double>*, const std::int64_t*, std::int64_t,
                                      const PooledShape&, const geometry::Quantised<double>&);

}  // namespace fastmrcnn
