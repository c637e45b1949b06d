// RoIAlign on contiguous NCHW maps, one plane at a time. Each row of bins first combines its few feature rows over the
// RoI's span of columns, which are neighbours in memory, and then picks the taps along x from that one row.
#include "kernels/pack.h"
#include "kernels/roi_align_kernel.h"

namespace fastmrcnn::FASTMRCNN_ISA {
namespace {

// The columns that are combined: all from `origin` on, `width` of them, or only those with a tap, when the taps lie so
// far apart that reading whole packs would waste more than it saves.
struct Columns {
  int64_t origin, width;
  bool sparse;
};

template <class T>
FM_KERNEL_INLINE Columns columns_of(const AxisTaps<T>& x, int64_t map_width) {
  const int64_t taps = x.begin[x.bins];
  const int64_t span = x.last - x.first + 1;
  if (span > kLanes<T> * taps) return {0, taps, true};
  // Whole packs where the map is wide enough: the additional columns are combined and never picked.
  const int64_t padded = (span + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
  if (padded > map_width) return {x.first, span, false};
  return {x.first + padded <= map_width ? x.first : map_width - padded, padded, false};
}

// combined[column] = sum over the taps [begin, end) of y.
template <class T>
FM_KERNEL_INLINE void combine_rows(const T* plane, int64_t map_width, const RoiTaps<T>& roi, const Columns& columns,
                                   int32_t begin, int32_t end, T* combined) {
  int64_t column = 0;
  if (!columns.sparse) {
    const T* left = plane + columns.origin;
    for (; column + kLanes<T> <= columns.width; column += kLanes<T>) {
      Pack<T> sum = {};
      for (int32_t a = begin; a < end; ++a) {
        sum += load(left + roi.y.index[a] * map_width + column) * roi.y.weight[a];
      }
      store(combined + column, sum);
    }
  }
  for (; column < columns.width; ++column) {
    const int64_t x = columns.sparse ? roi.x.index[column] : columns.origin + column;
    T sum = 0;
    for (int32_t a = begin; a < end; ++a) sum += plane[roi.y.index[a] * map_width + x] * roi.y.weight[a];
    combined[column] = sum;
  }
}

// The adjoint of combine_rows: adds to the plane.
template <class T>
FM_KERNEL_INLINE void spread_rows(T* plane, int64_t map_width, const RoiTaps<T>& roi, const Columns& columns,
                                  int32_t begin, int32_t end, const T* combined) {
  for (int32_t a = begin; a < end; ++a) {
    T* row = plane + roi.y.index[a] * map_width;
    const T weight = roi.y.weight[a];
    int64_t column = 0;
    if (!columns.sparse) {
      T* left = row + columns.origin;
      for (; column + kLanes<T> <= columns.width; column += kLanes<T>) {
        store(left + column, load(left + column) + load(combined + column) * weight);
      }
    }
    for (; column < columns.width; ++column) {
      row[columns.sparse ? roi.x.index[column] : columns.origin + column] += combined[column] * weight;
    }
  }
}

template <class T>
void gather_roi(const Planes<T>& planes, const T* plane, const RoiTaps<T>& roi, T* pooled, T* combined) {
  const Columns columns = columns_of(roi.x, planes.width);
  for (int32_t i = 0; i < roi.y.bins; ++i) {
    combine_rows(plane, planes.width, roi, columns, roi.y.begin[i], roi.y.begin[i + 1], combined);
    for (int32_t j = 0; j < roi.x.bins; ++j) {
      T sum = 0;
      for (int32_t t = roi.x.begin[j]; t < roi.x.begin[j + 1]; ++t) {
        sum += combined[columns.sparse ? t : roi.x.index[t] - columns.origin] * roi.x.weight[t];
      }
      *pooled++ = sum;
    }
  }
}

template <class T>
void scatter_roi(const Planes<T>& planes, T* plane, const RoiTaps<T>& roi, const T* pooled, T* combined) {
  const Columns columns = columns_of(roi.x, planes.width);
  for (int32_t i = 0; i < roi.y.bins; ++i, pooled += roi.x.bins) {
    for (int64_t column = 0; column < columns.width; ++column) combined[column] = 0;
    for (int32_t j = 0; j < roi.x.bins; ++j) {
      for (int32_t t = roi.x.begin[j]; t < roi.x.begin[j + 1]; ++t) {
        combined[columns.sparse ? t : roi.x.index[t] - columns.origin] += pooled[j] * roi.x.weight[t];
      }
    }
    spread_rows(plane, planes.width, roi, columns, roi.y.begin[i], roi.y.begin[i + 1], combined);
  }
}

template <class T>
void gather(const Planes<T>& planes, const RoiTaps<T>* rois, int64_t count, T* scratch) {
  const int64_t bins = count > 0 ? int64_t{rois[0].y.bins} * rois[0].x.bins : 0;
  for (int64_t k = 0; k < count; ++k) {
    T* pooled = planes.pooled + rois[k].roi * planes.roi_stride;
    for (int64_t c = 0; c < planes.channels; ++c) {
      gather_roi(planes, planes.features + c * planes.height * planes.width, rois[k], pooled + c * bins, scratch);
    }
  }
}

template <class T>
void scatter(const Planes<T>& planes, const RoiTaps<T>* rois, int64_t count, T* scratch) {
  const int64_t bins = count > 0 ? int64_t{rois[0].y.bins} * rois[0].x.bins : 0;
  for (int64_t k = 0; k < count; ++k) {
    const T* pooled = planes.pooled + rois[k].roi * planes.roi_stride;
    for (int64_t c = 0; c < planes.channels; ++c) {
      scatter_roi(planes, planes.features + c * planes.height * planes.width, rois[k], pooled + c * bins, scratch);
    }
  }
}

}  // namespace

void roi_align_planes_f32(const Planes<float>& planes, const RoiTaps<float>* rois, int64_t count, float* scratch) {
  gather(planes, rois, count, scratch);
}

void roi_align_planes_f64(const Planes<double>& planes, const RoiTaps<double>* rois, int64_t count, double* scratch) {
  gather(planes, rois, count, scratch);
}

void roi_align_planes_backward_f32(const Planes<float>& planes, const RoiTaps<float>* rois, int64_t count,
                                   float* scratch) {
  scatter(planes, rois, count, scratch);
}

void roi_align_planes_backward_f64(const Planes<double>& planes, const RoiTaps<double>* rois, int64_t count,
                                   double* scratch) {
  scatter(planes, rois, count, scratch);
}

}  // namespace fastmrcnn::FASTMRCNN_ISA
