// RoIAlign on contiguous NCHW maps, one plane at a time. Each row of bins first combines its few feature rows over the
// RoI's span of columns, which are neighbours in memory, and then picks the taps along x from that one row.
#include "kernels/columns.h"
#include "kernels/pack.h"
#include "kernels/register_picker.h"
#include "kernels/register_spreader.h"
#include "kernels/roi_align_kernel.h"

namespace fastmrcnn::FASTMRCNN_ISA {
namespace {

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

// Where in the combined row a tap of x finds its column.
template <class T>
FM_KERNEL_INLINE int64_t column_of(const AxisTaps<T>& x, const Columns& columns, int32_t tap) {
  return columns.sparse ? tap : x.index[tap] - columns.origin;
}

template <class T>
FM_KERNEL_INLINE void pick_columns(const AxisTaps<T>& x, const Columns& columns, const T* combined, T* pooled) {
  int32_t tap = 0;
  for (int32_t j = 0; j < x.bins; ++j) {
    T sum = 0;
    for (const int32_t end = x.begin[j + 1]; tap < end; ++tap) {
      sum += combined[column_of(x, columns, tap)] * x.weight[tap];
    }
    pooled[j] = sum;
  }
}

// The adjoint of pick_columns, from a cleared row.
template <class T>
FM_KERNEL_INLINE void spread_columns(const AxisTaps<T>& x, const Columns& columns, const T* pooled, T* combined) {
  for (int64_t column = 0; column < columns.width; ++column) combined[column] = 0;
  int32_t tap = 0;
  for (int32_t j = 0; j < x.bins; ++j) {
    for (const int32_t end = x.begin[j + 1]; tap < end; ++tap) {
      combined[column_of(x, columns, tap)] += pooled[j] * x.weight[tap];
    }
  }
}

template <class T>
FM_KERNEL_INLINE void gather_roi(const T* plane, int64_t map_width, const RoiTaps<T>& roi, const Columns& columns,
                                 T* pooled, T* combined) {
  for (int32_t i = 0; i < roi.y.bins; ++i, pooled += roi.x.bins) {
    combine_rows(plane, map_width, roi, columns, roi.y.begin[i], roi.y.begin[i + 1], combined);
    pick_columns(roi.x, columns, combined, pooled);
  }
}

template <class T>
FM_KERNEL_INLINE void scatter_roi(T* plane, int64_t map_width, const RoiTaps<T>& roi, const Columns& columns,
                                  const T* pooled, T* combined) {
  for (int32_t i = 0; i < roi.y.bins; ++i, pooled += roi.x.bins) {
    spread_columns(roi.x, columns, pooled, combined);
    spread_rows(plane, map_width, roi, columns, roi.y.begin[i], roi.y.begin[i + 1], combined);
  }
}

// Calls body(plane, pooled) for every plane of a RoI.
template <class T, class Body>
FM_KERNEL_INLINE void for_each_plane(const Planes<T>& planes, const RoiTaps<T>& roi, const Body& body) {
  const int64_t bins = int64_t{roi.y.bins} * roi.x.bins;
  for (int64_t c = 0; c < planes.channels; ++c) {
    body(planes.features + c * planes.height * planes.width, planes.pooled + roi.roi * planes.roi_stride + c * bins);
  }
}

template <class T>
void gather(const Planes<T>& planes, const RoiTaps<T>* rois, int64_t count, T* scratch) {
  for (int64_t k = 0; k < count; ++k) {
    const RoiTaps<T>& roi = rois[k];
    const Columns columns = columns_of(roi.x, planes.width);
    const RegisterPicker<T> picker(roi.x, columns);
    if (picker.usable()) {
      for_each_plane(planes, roi,
                     [&](const T* plane, T* pooled) { picker.gather(plane, planes.width, roi.y, pooled); });
    } else {
      for_each_plane(planes, roi, [&](const T* plane, T* pooled) {
        gather_roi(plane, planes.width, roi, columns, pooled, scratch);
      });
    }
  }
}

template <class T>
void scatter(const Planes<T>& planes, const RoiTaps<T>* rois, int64_t count, T* scratch) {
  for (int64_t k = 0; k < count; ++k) {
    const RoiTaps<T>& roi = rois[k];
    const Columns columns = columns_of(roi.x, planes.width);
    const RegisterSpreader<T> spreader(roi.x, columns);
    if (spreader.usable()) {
      for_each_plane(planes, roi,
                     [&](T* plane, const T* pooled) { spreader.scatter(pooled, planes.width, roi.y, plane); });
    } else {
      for_each_plane(planes, roi, [&](T* plane, const T* pooled) {
        scatter_roi(plane, planes.width, roi, columns, pooled, scratch);
      });
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
