"""Peers that torchvision does not have as one function: compositions of its functions, or plain torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image

from benchmarks.workloads import LEVELS
from fastmrcnn import ops

try:
    from pycocotools import mask as coco_mask

    ENCODER = "pycocotools"
except ModuleNotFoundError:  # a machine with a GPU has what it has, and its time is dear
    coco_mask = None
    ENCODER = "our CPU encoder"


def pool_level_by_level(
    maps: Sequence[Tensor], boxes: Sequence[Tensor], bins: int, sampling: int, *, aligned: bool
) -> Tensor:
    """torchvision's RoIAlign on the boxes of each level, put back in order; `boxes` holds those of each image."""
    rois = torch.cat([F.pad(one, (1, 0), value=image) for image, one in enumerate(boxes)])  # [K, 5]
    level_of = ops.assign_levels(rois[:, 1:].contiguous(), LEVELS[0], LEVELS[-1])
    pooled = maps[0].new_empty(len(rois), maps[0].shape[1], bins, bins)
    for level, feature in zip(LEVELS, maps, strict=True):
        chosen = torch.where(level_of == level)[0]
        pooled[chosen] = torchvision.ops.roi_align(feature, rois[chosen], bins, 2.0**-level, sampling, aligned)
    return pooled


def paste_to_bool(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """[N, M, M] and [N, 4] -> bool [N, height, width]: torchvision's soft paste, and its threshold."""
    return paste_masks_in_image(masks[:, None], boxes, size)[:, 0] > 0.5


def encode_bitmaps(bitmaps: Tensor) -> list[str]:
    """The run-length encodings of bool [N, H, W] by ENCODER, as the next two are."""
    if coco_mask is None:
        return [entry["counts"] for entry in _runs_of(bitmaps.cpu().numpy()).to_rle()]
    columns_first = np.asfortranarray(bitmaps.to(torch.uint8).permute(1, 2, 0).cpu().numpy())
    return [entry["counts"].decode() for entry in coco_mask.encode(columns_first)]


def _runs_of(bitmaps: np.ndarray) -> ops.InstanceMasks:
    runs = []
    for bitmap in bitmaps:
        pixels = np.concatenate([[False], bitmap.T.ravel(), [not bitmap[-1, -1]]])  # down the columns
        counts = np.diff(np.flatnonzero(pixels[1:] != pixels[:-1]), prepend=0)
        runs.append({"size": list(bitmap.shape), "counts": counts.tolist()})
    return ops.InstanceMasks.from_coco(runs, *bitmaps.shape[1:])


def decode_rle(encoded: Sequence[ops.RLE], size: tuple[int, int]) -> Tensor:
    """Bitmaps, uint8 [N, height, width]."""
    if coco_mask is None:
        return ops.InstanceMasks.from_coco(encoded, *size).to_bitmaps().to(torch.uint8)
    return torch.from_numpy(coco_mask.decode(encoded)).permute(2, 0, 1)


def draw(polygons: Sequence[Sequence[Sequence[float]]], size: tuple[int, int]) -> Tensor:
    """Bitmaps, uint8 [N, height, width], of objects in COCO's polygon form."""
    if coco_mask is None:
        return ops.InstanceMasks.from_coco(polygons, *size).to_bitmaps().to(torch.uint8)
    encoded = [coco_mask.merge(coco_mask.frPyObjects(list(shapes), *size)) for shapes in polygons]
    return decode_rle(encoded, size)


def sample_on_grid(mask: Tensor, box: Tensor, size: tuple[int, int]) -> Tensor:
    """The values of one mask, stretched over its box without rounding, at the centres of all pixels of an image."""
    x1, y1, x2, y2 = box.tolist()
    x = (torch.arange(size[1], device=mask.device) + 0.5 - x1) / (x2 - x1) * 2 - 1
    y = (torch.arange(size[0], device=mask.device) + 0.5 - y1) / (y2 - y1) * 2 - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=2)[None]  # [1, H, W, 2]
    return F.grid_sample(mask[None, None], grid, align_corners=False)[0, 0]


def soft_nms_loop(
    boxes: Tensor, scores: Tensor, sigma: float, iou_threshold: float, score_threshold: float, method: str
) -> tuple[Tensor, Tensor]:
    """Soft-NMS (Bodla et al. 2017, figure 2) with torch's vectorised operators: one pass over the rest per kept box."""
    scores = scores.clone()
    left = torch.arange(len(boxes), device=boxes.device)
    kept, final = [], []
    while len(left):
        best = scores[left].argmax()
        index = left[best]
        if scores[index] <= score_threshold:
            break
        kept.append(index)
        final.append(scores[index].clone())
        left = torch.cat((left[:best], left[best + 1 :]))
        iou = torchvision.ops.box_iou(boxes[index][None], boxes[left])[0]
        if method == "gaussian":
            decay = torch.exp(-iou.square() / sigma)
        else:
            decay = torch.where(iou > iou_threshold, 1 - iou, 1.0)
        scores[left] *= decay
    return torch.stack(kept), torch.stack(final)
