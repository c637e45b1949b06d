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
#include "fastmrcnn/ops/decode_keypoints.h"
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
#include "fastmrcnn/ops/select_detections.h"
#include "fastmrcnn/ops/soft_nms.h"
#include "fastmrcnn/ops/winograd.h"
#include "fastmrcnn/parallel.h"
#include "op.h"
#include "torch_state.h"

namespace py = pybind11;
using namespace fastmrcnn;
using bindings::def_op;

namespace {

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
  module.attr("cuda_kernels") = py::list();

  def_op(module, "assign_levels", &cpu::assign_levels, CUDA_KERNEL(assign_levels));
  def_op(module, "crop_bitmaps", &cpu::crop_bitmaps, CUDA_KERNEL(crop_bitmaps));
  def_op(module, "crop_encoded_masks", &cpu::crop_encoded_masks, CUDA_KERNEL(crop_encoded_masks));
  def_op(module, "decode_boxes", &cpu::decode_boxes, CUDA_KERNEL(decode_boxes));
  def_op(module, "decode_keypoints", &cpu::decode_keypoints, CUDA_KERNEL(decode_keypoints));
  def_op(module, "format_rle", &cpu::format_rle, nullptr);
  def_op(module, "generate_anchors", &cpu::generate_anchors, CUDA_KERNEL(generate_anchors));
  def_op(module, "generate_proposals", &cpu::generate_proposals, CUDA_KERNEL(generate_proposals));
  def_op(module, "mask_transitions", &cpu::mask_transitions, nullptr);
  def_op(module, "match_boxes", &cpu::match_boxes, CUDA_KERNEL(match_boxes));
  def_op(module, "multiscale_roi_align", &cpu::multiscale_roi_align, CUDA_KERNEL(multiscale_roi_align));
  def_op(module, "multiscale_roi_align_backward", &cpu::multiscale_roi_align_backward,
         CUDA_KERNEL(multiscale_roi_align_backward));
  def_op(module, "nms", &cpu::nms, CUDA_KERNEL(nms));
  def_op(module, "paste_masks", &cpu::paste_masks, CUDA_KERNEL(paste_masks));
  def_op(module, "paste_masks_rle", &cpu::paste_masks_rle, CUDA_KERNEL(paste_masks_rle));
  def_op(module, "parse_rle", &cpu::parse_rle, nullptr);
  def_op(module, "ps_roi_align", &cpu::ps_roi_align, CUDA_KERNEL(ps_roi_align));
  def_op(module, "ps_roi_align_backward", &cpu::ps_roi_align_backward, CUDA_KERNEL(ps_roi_align_backward));
  def_op(module, "ps_roi_pool", &cpu::ps_roi_pool, CUDA_KERNEL(ps_roi_pool));
  def_op(module, "ps_roi_pool_backward", &cpu::ps_roi_pool_backward, CUDA_KERNEL(ps_roi_pool_backward));
  def_op(module, "roi_align", &cpu::roi_align, CUDA_KERNEL(roi_align));
  def_op(module, "roi_align_backward", &cpu::roi_align_backward, CUDA_KERNEL(roi_align_backward));
  def_op(module, "roi_pool", &cpu::roi_pool, CUDA_KERNEL(roi_pool));
  def_op(module, "roi_pool_backward", &cpu::roi_pool_backward, CUDA_KERNEL(roi_pool_backward));
  def_op(module, "select_detections", &cpu::select_detections, CUDA_KERNEL(select_detections));
  def_op(module, "soft_nms", &cpu::soft_nms, CUDA_KERNEL(soft_nms));
  def_op(module, "winograd_convolution", &cpu::winograd_convolution, nullptr);
  def_op(module, "winograd_gradient", &cpu::winograd_gradient, nullptr);
  def_op(module, "winograd_input", &cpu::winograd_input, nullptr);
  def_op(module, "winograd_output", &cpu::winograd_output, nullptr);

#if defined(FASTMRCNN_WITH_CUDA)  // bytes of workspace, which only CUDA needs
  module.def("crop_encoded_masks_workspace", &cuda::crop_encoded_masks_workspace);
  module.def("generate_proposals_workspace", &cuda::generate_proposals_workspace);
  module.def("nms_workspace", &cuda::nms_workspace);
  module.def("roi_align_backward_workspace", &cuda::roi_align_backward_workspace);
  module.def("select_detections_workspace", &cuda::select_detections_workspace);
  module.def("soft_nms_workspace", &cuda::soft_nms_workspace);
#endif

  bindings::register_torch_state(module);
  bindings::register_direct(module);
}
