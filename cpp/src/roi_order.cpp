#include "roi_order.h"

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

struct Place {
  MapIndex map;
  std::int64_t band, x, row;  // row of rois

  bool operator<(const Place& other) const { return key() < other.key(); }

 private:
  std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t> key() const {
    return {map.level, map.image, band, x, row};
  }
};

}  // namespace

template <class T>
RoiOrder order_rois(const char* op, const geometry::Roi<T>* rois, std::int64_t count, std::int64_t images,
                    const geometry::LevelBorders<T>& borders, const std::vector<double>& scales) {
  std::vector<Place> places(count);
  for (std::int64_t k = 0; k < count; ++k) {
    const geometry::Roi<T>& roi = rois[k];
    const std::int64_t image = geometry::image_of(roi, images);
    check(image >= 0, op, ": rois[", k, "] has batch index ", roi.batch, "; expected at least 0 and below ", images,
          ", the number of images");
    const std::int64_t level = geometry::level_of(borders, {roi.x1, roi.y1, roi.x2, roi.y2});
    const double y = (double{roi.y1} + double{roi.y2}) / 2 * scales[level];
    const double x = (double{roi.x1} + double{roi.x2}) / 2 * scales[level];
    places[k] = {{level, image}, sort_key(y / kBand), sort_key(x), k};
  }
  std::sort(places.begin(), places.end());

  RoiOrder order;
  order.rois.reserve(count);
  for (const Place& place : places) {
    const std::int64_t position = static_cast<std::int64_t>(order.rois.size());
    const bool fits = !order.groups.empty() && order.groups.back().map == place.map &&
                      position - order.groups.back().begin < kRoisPerGroup;
    if (!fits) order.groups.push_back({place.map, position, position});
    order.groups.back().end = position + 1;
    order.rois.push_back(place.row);
  }
  return order;
}

template RoiOrder order_rois(const char*, const geometry::Roi<float>*, std::int64_t, std::int64_t,
                             const geometry::LevelBorders<float>&, const std::vector<double>&);
template RoiOrder order_rois(const char*, const geometry::Roi<double>*, std::int64_t, std::int64_t,
                             const geometry::LevelBorders<double>&, const std::vector<double>&);

}  // namespace fastmrcnn
