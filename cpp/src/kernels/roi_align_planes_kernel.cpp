// RoIAlign on contiguous NCHW maps, one plane at a time. Forward, each row of bins first combines its few feature rows
// over the RoI's span of columns, which are neighbours in memory, and then picks the taps along x from that one row.
// Backward, each row of bins is first spread along x, and then each feature row adds those that read it, so that it is
// read and written once. The loops here are those that registers do not serve; they define the order of the sums.
#include "kernels/columns.h"
#include "kernels/pack.h"
#include "kernels/register_picker.h"
#include "kernels/register_spreader.h"
#include "kernels/roi_align_kernel.h"

namespace fastmrcnn::FASTMRCNN_ISA {
namespace {

// combined[column] = sum over the taps [begin, end) of y.
template <class S, class T>
FM_KERNEL_INLINE void combine_rows(const S* plane, int64_t map_width, const RoiTaps<T>& roi, const Columns& columns,
                                   int32_t begin, int32_t end, T* combined) {
  int64_t column = 0;
  if (!columns.sparse) {
    const S* left = plane + columns.origin;
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
    for (int32_t a = begin; a < end; ++a) sum += value_of(plane[roi.y.index[a] * map_width + x]) * roi.y.weight[a];
    combined[column] = sum;
  }
}

// Where in the combined row a tap of x finds its column.
template <class T>
FM_KERNEL_INLINE int64_t column_of(const AxisTaps<T>& x, const Columns& columns, int32_t tap) {
  return columns.sparse ? tap : x.index[tap] - columns.origin;
}

template <class S, class T>
FM_KERNEL_INLINE void pick_columns(const AxisTaps<T>& x, const Columns& columns, const T* combined, S* pooled) {
  int32_t tap = 0;
  for (int32_t j = 0; j < x.bins; ++j) {
    T sum = 0;
    for (const int32_t end = x.begin[j + 1]; tap < end; ++tap) {
      sum += combined[column_of(x, columns, tap)] * x.weight[tap];
    }
    assign(pooled[j], sum);
  }
}

// The adjoint of pick_columns, from a cleared row.
template <class S, class T>
FM_KERNEL_INLINE void spread_columns(const AxisTaps<T>& x, const Columns& columns, const S* pooled, T* spread) {
  for (int64_t column = 0; column < columns.width; ++column) spread[column] = 0;
  int32_t tap = 0;
  for (int32_t j = 0; j < x.bins; ++j) {
    const T gradient = value_of(pooled[j]);
    for (const int32_t end = x.begin[j + 1]; tap < end; ++tap) {
      spread[column_of(x, columns, tap)] += gradient * x.weight[tap];
    }
  }
}

// row += sum, each at its column.
template <class T>
FM_KERNEL_INLINE void add_to_row(const AxisTaps<T>& x, const Columns& columns, const T* sum, T* row) {
  for (int64_t column = 0; column < columns.width; ++column) {
    row[columns.sparse ? x.index[column] : columns.origin + column] += sum[column];
  }
}

template <class S, class T>
FM_KERNEL_INLINE void gather_roi(const S* plane, int64_t map_width, const RoiTaps<T>& roi, const Columns& columns,
                                 S* pooled, T* combined) {
  for (int32_t i = 0; i < roi.y.bins; ++i, pooled += roi.x.bins) {
    combine_rows(plane, map_width, roi, columns, roi.y.begin[i], roi.y.begin[i + 1], combined);
    pick_columns(roi.x, columns, combined, pooled);
  }
}

// Rows of bins are spread once, or, where they are too many for the scratch, anew for each feature row.
template <class S, class T>
FM_KERNEL_INLINE void scatter_roi(T* plane, int64_t map_width, const RoiTaps<T>& roi, const Columns& columns,
                                  const S* pooled, T* scratch) {
  const bool keep = roi.y.bins <= kMostBinRows;
  T *sum = scratch, *spread = scratch + columns.width;
  for (int32_t i = 0; keep && i < roi.y.bins; ++i) {
    spread_columns(roi.x, columns, pooled + i * roi.x.bins, spread + i * columns.width);
  }
  for (int32_t r = 0; r < roi.rows.bins; ++r) {
    const int32_t begin = roi.rows.begin[r], end = roi.rows.begin[r + 1];
    if (begin == end) continue;
    for (int64_t column = 0; column < columns.width; ++column) sum[column] = 0;
    for (int32_t a = begin; a < end; ++a) {
      const int64_t i = roi.rows.index[a];
      if (!keep) spread_columns(roi.x, columns, pooled + i * roi.x.bins, spread);
      const T* row = keep ? spread + i * columns.width : spread;
      for (int64_t column = 0; column < columns.width; ++column) sum[column] += row[column] * roi.rows.weight[a];
    }
    add_to_row(roi.x, columns, sum, plane + (roi.y.first + r) * map_width);
  }
}

// Calls body(plane, pooled) for every plane of a RoI.
template <class Feature, class Pooled, class T, class Body>
FM_KERNEL_INLINE void for_each_plane(const Planes<Feature, Pooled>& planes, const RoiTaps<T>& roi, const Body& body) {
  const int64_t bins = int64_t{roi.y.bins} * roi.x.bins;
  for (int64_t c = 0; c < planes.channels; ++c) {
    body(planes.features + c * planes.height * planes.width, planes.pooled + roi.roi * planes.roi_stride + c * bins);
  }
}

template <class S, class T>
void gather(const Planes<const S, S>& planes, const RoiTaps<T>* rois, int64_t count, T* scratch) {
  for (int64_t k = 0; k < count; ++k) {
    const RoiTaps<T>& roi = rois[k];
    const Columns columns = columns_of(roi.x, planes.width);
    const RegisterPicker<S> picker(roi.x, columns);
    if (picker.usable()) {
      picker.gather(planes, roi);
    } else {
      for_each_plane(planes, roi, [&](const S* plane, S* pooled) {
        gather_roi(plane, planes.width, roi, columns, pooled, scratch);
      });
    }
  }
}

template <class S, class T>
void scatter(const Planes<T, const S>& planes, const RoiTaps<T>* rois, int64_t count, T* scratch) {
  for (int64_t k = 0; k < count; ++k) {
    const RoiTaps<T>& roi = rois[k];
    const Columns columns = columns_of(roi.x, planes.width);
    const RegisterSpreader<S> spreader(roi, columns);
    if (spreader.usable()) {
      const int64_t next = k + 1 < count ? k + 1 : k;
      spreader.scatter(planes, roi, rois[next].roi);
    } else {
      for_each_plane(planes, roi, [&](T* plane, const S* pooled) {
        scatter_roi(plane, planes.width, roi, columns, pooled, scratch);
      });
    }
  }
}

template <class S>
constexpr PlanesKernels<S> kKernels{gather<S, Accumulator<S>>, scatter<S, Accumulator<S>>};

}  // namespace

extern const PerStorage<PlanesKernels> roi_align_planes{kKernels<float>, kKernels<double>, kKernels<Half>,
                                                        kKernels<BFloat16>};

}  // namespace fastmrcnn::FASTMRCNN_ISA
