#include "direct.h"

#include <array>
#include <memory>
#include <optional>

#include "fastmrcnn/ops/decode_boxes.h"
#include "fastmrcnn/ops/nms.h"
#include "fastmrcnn/ops/position_sensitive.h"
#include "fastmrcnn/ops/roi_align.h"
#include "fastmrcnn/ops/roi_pool.h"

namespace py = pybind11;

namespace fastmrcnn::bindings {

bool read(const TorchState& torch, PyObject* object, TensorView& value) {
  if (object == Py_None) return true;
  if (!torch.is_own(object) || torch.is_negated_view(object)) return false;
  DLTensor tensor{};
  if (torch.exchange_api()->dltensor_from_py_object_no_sync(object, &tensor) != 0) {
    PyErr_Clear();  // a sparse tensor, or one of a device that DLPack does not know
    return false;
  }
  const std::optional<TensorView> view = view_of(tensor);
  if (!view) return false;
  value = *view;
  return value.data != nullptr || value.numel() == 0;
}

bool read(const TorchState&, PyObject* object, double& value) {
  if (!PyFloat_CheckExact(object) && !PyLong_CheckExact(object)) return false;
  value = PyFloat_AsDouble(object);
  if (PyErr_Occurred() == nullptr) return true;
  PyErr_Clear();  // an integer beyond all doubles
  return false;
}

bool read(const TorchState&, PyObject* object, std::int64_t& value) {
  if (!PyLong_CheckExact(object)) return false;
  int overflow = 0;
  value = PyLong_AsLongLongAndOverflow(object, &overflow);
  return overflow == 0;
}

bool read(const TorchState&, PyObject* object, bool& value) {
  value = object == Py_True;
  return PyBool_Check(object);
}

std::optional<Context> context_on(const TorchState& torch, Device device) {
  if (device.type == DeviceType::cpu) return Context{nullptr, torch.num_threads()};
  const std::optional<void*> stream = current_stream(*torch.exchange_api(), device);
  return stream ? std::optional<Context>(Context{*stream, 1}) : std::nullopt;
}

namespace {

// The CPU's, which needs no workspace; on CUDA Python allocates one.
void roi_align_backward(const Context& context, const TensorView& grad_output, const TensorView& rois,
                        double spatial_scale, std::int64_t sampling_ratio, bool aligned, const TensorView& grad_input) {
  cpu::roi_align_backward(context, grad_output, rois, spatial_scale, sampling_ratio, aligned, grad_input, {});
}

constexpr auto kDecodeBoxes = direct_kernels("decode_boxes", &cpu::decode_boxes, CUDA_KERNEL(decode_boxes));
constexpr auto kNms = direct_kernels("nms", &cpu::nms, nullptr);  // the host waits for the number of boxes
constexpr auto kPsRoiAlign = direct_kernels("ps_roi_align", &cpu::ps_roi_align, CUDA_KERNEL(ps_roi_align));
constexpr auto kPsRoiAlignBackward =
    direct_kernels("ps_roi_align_backward", &cpu::ps_roi_align_backward, CUDA_KERNEL(ps_roi_align_backward));
constexpr auto kPsRoiPool = direct_kernels("ps_roi_pool", &cpu::ps_roi_pool, CUDA_KERNEL(ps_roi_pool));
constexpr auto kPsRoiPoolBackward =
    direct_kernels("ps_roi_pool_backward", &cpu::ps_roi_pool_backward, CUDA_KERNEL(ps_roi_pool_backward));
constexpr auto kRoiAlign = direct_kernels("roi_align", &cpu::roi_align, CUDA_KERNEL(roi_align));
constexpr auto kRoiAlignBackward = direct_kernels("roi_align_backward", &roi_align_backward, nullptr);
constexpr auto kRoiPool = direct_kernels("roi_pool", &cpu::roi_pool, CUDA_KERNEL(roi_pool));
constexpr auto kRoiPoolBackward =
    direct_kernels("roi_pool_backward", &cpu::roi_pool_backward, CUDA_KERNEL(roi_pool_backward));

TensorView vector_of(std::int64_t* values, std::int64_t count) {
  TensorView view;
  view.data = values;
  view.ndim = 1;
  view.shape[0] = count;
  view.strides[0] = 1;
  view.dtype = DType::i64;
  return view;
}

bool computes(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f64;
}

bool is_dense(const TensorView& tensor, DType dtype) {
  return tensor.dtype == dtype && tensor.is_contiguous();
}

py::object nms(const DirectCall& call, const TensorView& boxes, const TensorView& scores, const TensorView& groups,
               double iou_threshold) {
  const bool ready = call.serves(kNms) && boxes.ndim == 2 && computes(boxes.dtype) && boxes.is_contiguous() &&
                     is_dense(scores, boxes.dtype) && (!groups.defined() || is_dense(groups, DType::i64));
  if (!ready) return py::none();
  // How many are kept is known afterwards: their indices wait here, so that the tensor has room for no more.
  constexpr std::int64_t kFew = 64;
  std::int64_t few[kFew], count = 0;
  const std::unique_ptr<std::int64_t[]> many(boxes.shape[0] > kFew ? new std::int64_t[boxes.shape[0]] : nullptr);
  std::int64_t* indices = many ? many.get() : few;
  call.run(kNms, boxes, scores, groups, iou_threshold, vector_of(indices, boxes.shape[0]), vector_of(&count, 1),
           TensorView{});
  NewTensor keep = call.empty(DType::i64, {count});
  std::copy(indices, indices + count, keep.view().as<std::int64_t>());
  return std::move(keep).hand_over();
}

py::object decode_boxes(const DirectCall& call, const TensorView& deltas, const TensorView& boxes,
                        const std::array<double, 4>& weights, double max_log_size,
                        const std::optional<std::array<double, 2>>& image_size) {
  const bool ready = call.serves(kDecodeBoxes) && deltas.ndim == 2 && computes(deltas.dtype) &&
                     deltas.is_contiguous() && is_dense(boxes, deltas.dtype) && deltas.shape[1] % 4 == 0 &&
                     boxes.ndim == 2 && boxes.shape[0] == deltas.shape[0] && boxes.shape[1] == 4;
  if (!ready) return py::none();
  NewTensor decoded = call.empty(deltas.dtype, {deltas.shape[0], deltas.shape[1] / 4, 4});
  call.run(kDecodeBoxes, deltas, boxes, weights, max_log_size, image_size, decoded.view());
  return std::move(decoded).hand_over();
}

// The order in which a pooling kernel reads features and writes what it pools from them: channels-last or not.
// Nothing where it reads no such tensor; some read half types.
std::optional<bool> channels_last_of(const TensorView& features, const TensorView& rois, bool half) {
  const DType computed = accumulator_of(features.dtype);
  const bool reads = computes(half ? computed : features.dtype);
  if (features.ndim != 4 || !reads || rois.ndim != 2 || !is_dense(rois, computed)) return {};
  if (features.is_contiguous()) return false;
  if (features.is_channels_last()) return true;
  return {};
}

bool has_order(const TensorView& tensor, bool channels_last) {
  return channels_last ? tensor.is_channels_last() : tensor.is_contiguous();
}

// What the linear pooling operators have in common; `Options` follow the pooled size.
template <const auto& kernels, bool position_sensitive, class... Options>
py::object pool(const DirectCall& call, const TensorView& input, const TensorView& rois, double spatial_scale,
                std::int64_t height, std::int64_t width, Options... options) {
  const std::optional<bool> channels_last = channels_last_of(input, rois, !position_sensitive);
  if (!channels_last || height <= 0 || width <= 0 || !call.serves(kernels)) return py::none();
  const std::int64_t channels = input.shape[1] / (position_sensitive ? height * width : 1);
  NewTensor output = call.empty(input.dtype, {rois.shape[0], channels, height, width}, *channels_last);
  call.run(kernels, input, rois, spatial_scale, options..., output.view());
  return std::move(output).hand_over();
}

template <const auto& kernels, bool position_sensitive, class... Options>
py::object pool_backward(const DirectCall& call, const TensorView& grad_output, const TensorView& rois,
                         double spatial_scale, const std::array<std::int64_t, 4>& input_shape, bool channels_last,
                         Options... options) {
  const bool ready = call.serves(kernels) && channels_last_of(grad_output, rois, !position_sensitive) &&
                     has_order(grad_output, channels_last);
  if (!ready) return py::none();
  const auto [images, channels, height, width] = input_shape;
  NewTensor grad_input = call.empty(grad_output.dtype, {images, channels, height, width}, channels_last);
  call.run(kernels, grad_output, rois, spatial_scale, options..., grad_input.view());
  return std::move(grad_input).hand_over();
}

py::object roi_pool(const DirectCall& call, const TensorView& input, const TensorView& rois, double spatial_scale,
                    std::int64_t height, std::int64_t width) {
  const std::optional<bool> channels_last = channels_last_of(input, rois, true);
  if (!channels_last || !call.serves(kRoiPool)) return py::none();
  NewTensor output = call.empty(input.dtype, {rois.shape[0], input.shape[1], height, width}, *channels_last);
  NewTensor argmax = call.empty(DType::i32, {rois.shape[0], input.shape[1], height, width}, *channels_last);
  call.run(kRoiPool, input, rois, spatial_scale, output.view(), argmax.view());
  return py::make_tuple(std::move(output).hand_over(), std::move(argmax).hand_over());
}

py::object roi_pool_backward(const DirectCall& call, const TensorView& grad_output, const TensorView& rois,
                             const TensorView& argmax, double spatial_scale,
                             const std::array<std::int64_t, 4>& input_shape, bool channels_last) {
  const bool ready = call.serves(kRoiPoolBackward) && channels_last_of(grad_output, rois, true) &&
                     has_order(grad_output, channels_last) && argmax.dtype == DType::i32 &&
                     has_order(argmax, channels_last);
  if (!ready) return py::none();
  const auto [images, channels, height, width] = input_shape;
  NewTensor grad_input = call.empty(grad_output.dtype, {images, channels, height, width}, channels_last);
  call.run(kRoiPoolBackward, grad_output, rois, argmax, spatial_scale, grad_input.view());
  return std::move(grad_input).hand_over();
}

}  // namespace

void register_direct(py::module_& module) {
  module.def("allow_direct_calls", [](bool allowed) { direct_calls_allowed = allowed; });
  // The kernels' own types of sampling_ratio and aligned follow the pooled size.
  using Ratio = std::int64_t;
  using Aligned = bool;
  bind_direct<decode_boxes, 2>(module, "direct_decode_boxes");
  bind_direct<nms, 0>(module, "direct_nms");
  bind_direct<pool<kPsRoiAlign, true, Ratio>, 1>(module, "direct_ps_roi_align");
  bind_direct<pool_backward<kPsRoiAlignBackward, true, Ratio>, 1>(module, "direct_ps_roi_align_backward");
  bind_direct<pool<kPsRoiPool, true>, 1>(module, "direct_ps_roi_pool");
  bind_direct<pool_backward<kPsRoiPoolBackward, true>, 1>(module, "direct_ps_roi_pool_backward");
  bind_direct<pool<kRoiAlign, false, Ratio, Aligned>, 1>(module, "direct_roi_align");
  bind_direct<pool_backward<kRoiAlignBackward, false, Ratio, Aligned>, 1>(module, "direct_roi_align_backward");
  bind_direct<roi_pool, 1>(module, "direct_roi_pool");
  bind_direct<roi_pool_backward, 1>(module, "direct_roi_pool_backward");
}

}  // namespace fastmrcnn::bindings
