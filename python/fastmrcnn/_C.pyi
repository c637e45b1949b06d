"""Native operators. Tensors are torch tensors or numpy arrays; a context is (CPU threads, CUDA stream address)."""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

Tensor = Any
Context = tuple[int, int]

cuda_kernels: list[str]
"""Operators that this build can run on a GPU."""

def isa() -> str: ...
def thread_backend() -> str: ...
def allow_direct_calls(allowed: bool) -> None: ...
def cuda_info() -> dict[str, Any]: ...
def assign_levels(
    context: Context,
    boxes: Tensor,
    finest_level: int,
    coarsest_level: int,
    canonical_scale: float,
    canonical_level: int,
    level_rule: str,
    levels: Tensor,
) -> None: ...
def crop_bitmaps(
    context: Context, bitmaps: Tensor, boxes: Tensor, matched: Tensor, aligned: bool, cropped: Tensor
) -> None: ...
def crop_encoded_masks(
    context: Context,
    points: Tensor,
    polygons: Tensor,
    object_polygons: Tensor,
    transitions: Tensor,
    object_transitions: Tensor,
    height: int,
    width: int,
    boxes: Tensor,
    matched: Tensor,
    aligned: bool,
    binary: bool,
    cropped: Tensor,
    workspace: Tensor | None,
) -> None: ...
def crop_encoded_masks_workspace(objects: int, height: int, width: int) -> int: ...
def decode_boxes(
    context: Context,
    deltas: Tensor,
    boxes: Tensor,
    weights: Sequence[float],
    max_log_size: float,
    image_size: Sequence[float] | None,
    decoded: Tensor,
) -> None: ...
def decode_keypoints(context: Context, heatmaps: Tensor, boxes: Tensor, keypoints: Tensor) -> None: ...
def format_rle(
    context: Context,
    transitions: Tensor,
    object_transitions: Tensor,
    pixels: int,
    strings: Tensor,
    lengths: Tensor,
) -> None: ...
def generate_anchors(
    context: Context,
    stride: Sequence[int],
    sizes: Sequence[float],
    aspect_ratios: Sequence[float],
    rounded: bool,
    sizes_first: bool,
    anchors: Tensor,
) -> None: ...
def generate_proposals(
    context: Context,
    logits: Sequence[Tensor],
    deltas: Sequence[Tensor],
    anchors: Sequence[Tensor],
    image_sizes: Tensor,
    pre_nms: int,
    nms_iou: float,
    min_size: float,
    score_threshold: float,
    weights: Sequence[float],
    max_log_size: float,
    boxes: Tensor,
    scores: Tensor,
    counts: Tensor,
    workspace: Tensor | None,
) -> None: ...
def generate_proposals_workspace(images: int, levels: int, most_candidates: int, logit_bytes: int) -> int: ...
def match_boxes(
    context: Context,
    objects: Tensor,
    boxes: Tensor,
    ignore_regions: Tensor | None,
    foreground: float,
    background: float,
    ignore_overlap: float,
    every_object: bool,
    highest: Tensor,
    matches: Tensor,
) -> None: ...
def multiscale_roi_align(
    context: Context,
    features: Sequence[Tensor],
    rois: Tensor,
    spatial_scales: Sequence[float],
    finest_level: int,
    canonical_scale: float,
    canonical_level: int,
    level_rule: str,
    sampling_ratio: int,
    aligned: bool,
    output: Tensor,
) -> None: ...
def multiscale_roi_align_backward(
    context: Context,
    grad_output: Tensor,
    rois: Tensor,
    spatial_scales: Sequence[float],
    finest_level: int,
    canonical_scale: float,
    canonical_level: int,
    level_rule: str,
    sampling_ratio: int,
    aligned: bool,
    grad_features: Sequence[Tensor],
    workspace: Tensor | None,
) -> None: ...
def mask_transitions(
    context: Context,
    points: Tensor,
    polygons: Tensor,
    object_polygons: Tensor,
    transitions: Tensor,
    object_transitions: Tensor,
    height: int,
    width: int,
    output: Tensor,
    lengths: Tensor,
) -> None: ...
def nms(
    context: Context,
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor | None,
    iou_threshold: float,
    keep: Tensor,
    count: Tensor,
    workspace: Tensor | None,
) -> None: ...
def nms_workspace(n: int, grouped: bool, float64: bool) -> int: ...
def parse_rle(
    context: Context,
    strings: Tensor,
    offsets: Tensor,
    pixels: int,
    transitions: Tensor,
    object_transitions: Tensor,
) -> None: ...
def paste_masks(
    context: Context, masks: Tensor, boxes: Tensor, method: str, fused_position: bool, threshold: float, pasted: Tensor
) -> None: ...
def paste_masks_rle(
    context: Context,
    masks: Tensor,
    boxes: Tensor,
    height: int,
    width: int,
    method: str,
    fused_position: bool,
    threshold: float,
    strings: Tensor,
    lengths: Tensor,
) -> None: ...
def ps_roi_align(
    context: Context,
    input: Tensor,
    rois: Tensor,
    spatial_scale: float,
    sampling_ratio: int,
    output: Tensor,
) -> None: ...
def ps_roi_align_backward(
    context: Context,
    grad_output: Tensor,
    rois: Tensor,
    spatial_scale: float,
    sampling_ratio: int,
    grad_input: Tensor,
) -> None: ...
def ps_roi_pool(
    context: Context,
    input: Tensor,
    rois: Tensor,
    spatial_scale: float,
    output: Tensor,
) -> None: ...
def ps_roi_pool_backward(
    context: Context,
    grad_output: Tensor,
    rois: Tensor,
    spatial_scale: float,
    grad_input: Tensor,
) -> None: ...
def roi_align(
    context: Context,
    input: Tensor,
    rois: Tensor,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    output: Tensor,
) -> None: ...
def roi_align_backward(
    context: Context,
    grad_output: Tensor,
    rois: Tensor,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    grad_input: Tensor,
    workspace: Tensor | None,
) -> None: ...
def roi_align_backward_workspace(rois: int) -> int: ...
def roi_pool(
    context: Context,
    input: Tensor,
    rois: Tensor,
    spatial_scale: float,
    output: Tensor,
    argmax: Tensor,
) -> None: ...
def roi_pool_backward(
    context: Context,
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    spatial_scale: float,
    grad_input: Tensor,
) -> None: ...
def select_detections(
    context: Context,
    logits: Tensor,
    deltas: Tensor,
    proposals: Tensor,
    counts: Tensor | None,
    image_sizes: Tensor,
    score_threshold: float,
    nms_iou: float,
    min_size: float,
    weights: Sequence[float],
    max_log_size: float,
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    rows: Tensor,
    found: Tensor,
    workspace: Tensor | None,
) -> None: ...
def select_detections_workspace(images: int, regions: int, columns: int, detections: int, score_bytes: int) -> int: ...
def soft_nms(
    context: Context,
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor | None,
    method: str,
    sigma: float,
    iou_threshold: float,
    score_threshold: float,
    keep: Tensor,
    decayed: Tensor,
    count: Tensor,
    workspace: Tensor | None,
) -> None: ...
def soft_nms_workspace(n: int, grouped: bool, float64: bool) -> int: ...

# Direct calls: on plain torch tensors only, None where a call has to go the ordinary way.
def introduce_torch(
    torch: ModuleType, watchers: tuple[Callable[[], object], ...], forward_mode: dict[str, Any]
) -> None: ...
def is_plain(*arguments: object) -> bool: ...
def direct_decode_boxes(
    deltas: Tensor,
    boxes: Tensor,
    weights: Sequence[float],
    max_log_size: float,
    image_size: Sequence[float] | None,
) -> Any: ...
def direct_nms(boxes: Tensor, scores: Tensor, groups: Tensor | None, iou_threshold: float) -> Any: ...
def direct_ps_roi_align(
    input: Tensor, rois: Tensor, spatial_scale: float, height: int, width: int, sampling_ratio: int
) -> Any: ...
def direct_ps_roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    spatial_scale: float,
    input_shape: Sequence[int],
    channels_last: bool,
    sampling_ratio: int,
) -> Any: ...
def direct_ps_roi_pool(input: Tensor, rois: Tensor, spatial_scale: float, height: int, width: int) -> Any: ...
def direct_ps_roi_pool_backward(
    grad_output: Tensor, rois: Tensor, spatial_scale: float, input_shape: Sequence[int], channels_last: bool
) -> Any: ...
def direct_roi_align(
    input: Tensor, rois: Tensor, spatial_scale: float, height: int, width: int, sampling_ratio: int, aligned: bool
) -> Any: ...
def direct_roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    spatial_scale: float,
    input_shape: Sequence[int],
    channels_last: bool,
    sampling_ratio: int,
    aligned: bool,
) -> Any: ...
def direct_roi_pool(input: Tensor, rois: Tensor, spatial_scale: float, height: int, width: int) -> Any: ...
def direct_roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    spatial_scale: float,
    input_shape: Sequence[int],
    channels_last: bool,
) -> Any: ...
def winograd_convolution(
    context: Context,
    input: Tensor,
    weights: Tensor,
    bias: Tensor | None,
    rectified: bool,
    workspace: Tensor,
    output: Tensor,
) -> None: ...
def winograd_gradient(context: Context, grad_output: Tensor, first_tile: int, tiles: Tensor) -> None: ...
def winograd_input(context: Context, input: Tensor, first_tile: int, tiles: Tensor) -> None: ...
def winograd_output(context: Context, tiles: Tensor, bias: Tensor | None, first_tile: int, output: Tensor) -> None: ...
