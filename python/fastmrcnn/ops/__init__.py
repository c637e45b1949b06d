"""Mask R-CNN's operators under torchvision's names and signatures, and those that it lacks.

Needs torch and numpy only. Every function works on CPU and on CUDA tensors, all of a call on one device, takes part in
autograd where it is differentiable, and traces under `torch.compile` and `torch.export`. `python -m fastmrcnn` says
whether this build has the CUDA kernels, and for which GPUs.

CUDA kernels run on torch's current stream and give the CPU's results, the same in every run, gradients included. The
host waits for none of them, except where the length of a result depends on the values of its arguments: `nms`,
`batched_nms`, `soft_nms` and `paste_masks_rle` wait once, and so does `per_image()` of padded results. What the CPU
refuses after a look at values, such as a bad batch index, cannot be refused without waiting either: it gives NaN.
"""

from fastmrcnn.ops.anchors import generate_anchors
from fastmrcnn.ops.assign_levels import LevelRule, assign_levels
from fastmrcnn.ops.box_coding import decode_boxes, encode_boxes
from fastmrcnn.ops.boxes import box_area, box_convert, clip_boxes_to_image, masks_to_boxes, remove_small_boxes
from fastmrcnn.ops.crop_masks import crop_masks
from fastmrcnn.ops.decode_keypoints import decode_keypoints
from fastmrcnn.ops.detections import PaddedDetections, select_detections
from fastmrcnn.ops.feature_pyramid import ExtraFPNBlock, FeaturePyramidNetwork, LastLevelMaxPool
from fastmrcnn.ops.frozen_batch_norm import FrozenBatchNorm2d
from fastmrcnn.ops.instance_masks import InstanceMasks
from fastmrcnn.ops.iou import box_iou, complete_box_iou, distance_box_iou, generalized_box_iou
from fastmrcnn.ops.mask_overlaps import areas_within, first_of_equals, mask_intersections, mask_nms, overlapping_pairs
from fastmrcnn.ops.mask_polygons import MaskPolygon, join_rings, mask_polygons
from fastmrcnn.ops.mask_sets import (
    concatenate_masks,
    number_pixels,
    pad_masks,
    replace_masks,
    subtract_mask,
    unite_masks,
)
from fastmrcnn.ops.matching import BACKGROUND, IGNORED, match_boxes
from fastmrcnn.ops.multiscale_roi_align import multiscale_roi_align
from fastmrcnn.ops.nms import batched_nms, nms
from fastmrcnn.ops.paste import RLE, paste_masks, paste_masks_rle
from fastmrcnn.ops.poolers import MultiScaleRoIAlign
from fastmrcnn.ops.proposals import PaddedProposals, generate_proposals
from fastmrcnn.ops.ps_roi_align import PSRoIAlign, ps_roi_align
from fastmrcnn.ops.ps_roi_pool import PSRoIPool, ps_roi_pool
from fastmrcnn.ops.roi_align import RoIAlign, roi_align
from fastmrcnn.ops.roi_pool import RoIPool, roi_pool
from fastmrcnn.ops.soft_detections import select_detections_softly
from fastmrcnn.ops.soft_nms import SoftNMS, soft_nms

__all__ = [
    "BACKGROUND",
    "IGNORED",
    "RLE",
    "ExtraFPNBlock",
    "FeaturePyramidNetwork",
    "FrozenBatchNorm2d",
    "InstanceMasks",
    "LastLevelMaxPool",
    "LevelRule",
    "MaskPolygon",
    "MultiScaleRoIAlign",
    "PSRoIAlign",
    "PSRoIPool",
    "PaddedDetections",
    "PaddedProposals",
    "RoIAlign",
    "RoIPool",
    "SoftNMS",
    "areas_within",
    "assign_levels",
    "batched_nms",
    "box_area",
    "box_convert",
    "box_iou",
    "clip_boxes_to_image",
    "complete_box_iou",
    "concatenate_masks",
    "crop_masks",
    "decode_boxes",
    "decode_keypoints",
    "distance_box_iou",
    "encode_boxes",
    "first_of_equals",
    "generalized_box_iou",
    "generate_anchors",
    "generate_proposals",
    "join_rings",
    "mask_intersections",
    "mask_nms",
    "mask_polygons",
    "masks_to_boxes",
    "match_boxes",
    "multiscale_roi_align",
    "nms",
    "number_pixels",
    "overlapping_pairs",
    "pad_masks",
    "paste_masks",
    "paste_masks_rle",
    "ps_roi_align",
    "ps_roi_pool",
    "remove_small_boxes",
    "replace_masks",
    "roi_align",
    "roi_pool",
    "select_detections",
    "select_detections_softly",
    "soft_nms",
    "subtract_mask",
    "unite_masks",
]
