// The extension module: one line per operator. Python allocates outputs and workspaces (direct.h has the exception);
// the GIL is released while a kernel runs.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "direct.h"
#include "fastmrcnn/cuda_runtime_info.h"
#include "fastmrcnn/isa.h"
#include "fastmrcnn/ops/assign_levels.h"
#include "fastmrcnn/ops/crop_masks.h"
#include "fastmrcnn/ops/decode_boxes.h"
#include "fastmrcnn/ops/encoded_masks.h"
#include "fastmrcnn/ops/generate_anchors.h"
#include "fastmrcnn/ops/generate_proposals.h"
#include "fastmrcnn/ops/match_boxes.h"
#include "fastmrcnn/ops/multiscale_roi_align.h"
#include "fastmrcnn/ops/nms.h"
#include "fastmrcnn/ops/paste_masks.h"
#include "fastmrcnn/ops/position_sensitive.h"
#include "fastmrcnn/ops/roi_align.h"
#include "fastmrcnn/ops/roi_pool.h"
#include "fastmrcnn/ops/soft_nms.h"
#include "fastmrcnn/parallel.h"
#include "tensor_caster.h"
#include "torch_state.h"

namespace py = pybind11;
using namespace fastmrcnn;

namespace {

void require_cpu(const char* name, const TensorView& tensor) {
  check(!tensor.defined() || tensor.device.type == DeviceType::cpu, name,
        ": no CUDA kernel in this build; move the tensors to the CPU");
}

void require_cpu(const char* name, const std::vector<TensorView>& tensors) {
  for (const TensorView& tensor : tensors) require_cpu(name, tensor);
}

template <class Argument>
void require_cpu(const char*, const Argument&) {}

// Binds an operator; its arguments after the context are tensors and plain values, in the order of its declaration.
template <class... Arguments>
void bind(py::module_& module, const char* name, void (*kernel)(const Context&, Arguments...)) {
  module.def(name, [name, kernel](const Context& context, std::decay_t<Arguments>... arguments) {
    (require_cpu(name, arguments), ...);
    py::gil_scoped_release unlocked;
    kernel(context, arguments...);
  });
}

py::dict cuda_info() {
  const cuda::RuntimeInfo info = cuda::runtime_info();
  using namespace py::literals;
  return py::dict("built"_a = info.built, "toolkit_version"_a = info.toolkit_version,
                  "driver_version"_a = info.driver_version, "device_count"_a = info.device_count,
                  "problem"_a = info.problem, "architectures"_a = info.architectures);
}

}  // namespace

PYBIND11_MODULE(_C, module) {
  module.doc() = "Native operators of fastmrcnn; use them through fastmrcnn.ops.";
  module.def("isa", [] { return name_of(active_isa()); });
  module.def("thread_backend", &thread_backend);
  module.def("cuda_info", &cuda_info);

  bind(module, "assign_levels", &cpu::assign_levels);
  bind(module, "crop_bitmaps", &cpu::crop_bitmaps);
  bind(module, "crop_encoded_masks", &cpu::crop_encoded_masks);
  bind(module, "decode_boxes", &cpu::decode_boxes);
  bind(module, "format_rle", &cpu::format_rle);
  bind(module, "generate_anchors", &cpu::generate_anchors);
  bind(module, "generate_proposals", &cpu::generate_proposals);
  bind(module, "mask_transitions", &cpu::mask_transitions);
  bind(module, "match_boxes", &cpu::match_boxes);
  bind(module, "multiscale_roi_align", &cpu::multiscale_roi_align);
  bind(module, "multiscale_roi_align_backward", &cpu::multiscale_roi_align_backward);
  bind(module, "nms", &cpu::nms);
  bind(module, "paste_masks", &cpu::paste_masks);
  bind(module, "paste_masks_rle", &cpu::paste_masks_rle);
  bind(module, "parse_rle", &cpu::parse_rle);
  bind(module, "ps_roi_align", &cpu::ps_roi_align);
  bind(module, "ps_roi_align_backward", &cpu::ps_roi_align_backward);
  bind(module, "ps_roi_pool", &cpu::ps_roi_pool);
  bind(module, "ps_roi_pool_backward", &cpu::ps_roi_pool_backward);
  bind(module, "roi_align", &cpu::roi_align);
  bind(module, "roi_align_backward", &cpu::roi_align_backward);
  bind(module, "roi_pool", &cpu::roi_pool);
  bind(module, "roi_pool_backward", &cpu::roi_pool_backward);
  bind(module, "soft_nms", &cpu::soft_nms);

  bindings::register_torch_state(module);
  bindings::register_direct(module);
}
