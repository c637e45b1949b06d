"""Checks of what the caller hands to the model: one clear line instead of an index error deep in a kernel.

Shapes and dtypes are always checked; values only where they lie on the host, for a look at a GPU's would wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fastmrcnn.models.config import MaskRCNNConfig
from fastmrcnn.models.padding import reading_is_free
from fastmrcnn.ops import InstanceMasks


def check_images(images: Sequence[Tensor], channels: int = 3) -> None:
    """ValueError unless there is at least one image, each [channels, H, W] with pixels, float or uint8."""
    if len(images) == 0:
        raise ValueError("MaskRCNN: images must hold at least one image; got none")
    for index, image in enumerate(images):
        if image.ndim != 3 or image.shape[0] != channels or image.numel() == 0:
            raise ValueError(f"MaskRCNN: images[{index}] must be [{channels}, H, W]; got {list(image.shape)}")
        if not (image.is_floating_point() or image.dtype == torch.uint8):
            raise ValueError(f"MaskRCNN: images[{index}] must be float in 0..1 or uint8; got {image.dtype}")


def check_targets(
    targets: Sequence[Mapping[str, Any]] | None, images: Sequence[Tensor], config: MaskRCNNConfig
) -> None:
    """ValueError unless each image has boxes, labels and masks that fit together, the image and the classes.

    ``ignore`` may be left out, and masks and keypoints where no head reads them. Of targets on a GPU only shapes and
    dtypes are checked.
    """
    if targets is None:
        raise ValueError("MaskRCNN: targets are needed in training mode (call .eval() to detect); got None")
    if len(targets) != len(images):
        raise ValueError(f"MaskRCNN: targets must match the {len(images)} images; got {len(targets)}")
    heads = {"masks": config.mask_head, "keypoints": config.keypoint_head}
    needed = ["boxes", "labels", *(key for key, head in heads.items() if head is not None)]
    for index, (target, image) in enumerate(zip(targets, images, strict=True)):
        if not target.keys() >= set(needed):
            expected = f"{', '.join(needed[:-1])} and {needed[-1]}"
            raise ValueError(f"MaskRCNN: targets[{index}] must hold {expected}; got {sorted(target)}")
        where = f"MaskRCNN: targets[{index}]"
        _check_target(where, target, (image.shape[-2], image.shape[-1]), config.num_classes)
        if config.keypoint_head is not None:
            _check_keypoints(
                where, target["keypoints"], (len(target["boxes"]), len(config.keypoint_head.keypoint_names))
            )


def _check_target(where: str, target: Mapping[str, Any], size: tuple[int, int], num_classes: int) -> None:
    boxes, labels = target["boxes"], target["labels"]
    _check_boxes(where, "boxes", "[M, 4]", boxes)
    if "ignore" in target:
        _check_boxes(where, "ignore", "[R, 4]", target["ignore"])
    count = boxes.shape[0]
    if labels.shape != (count,) or labels.dtype != torch.int64:
        raise ValueError(f"{where}: labels must be [{count}] int64; got {list(labels.shape)} {labels.dtype}")
    if "masks" in target:
        _check_masks(where, target["masks"], (count, *size))
    if count == 0 or not reading_is_free(labels):
        return
    low, high = labels.aminmax()
    if low < 1 or high > num_classes:
        raise ValueError(f"{where}: labels must lie in 1..{num_classes}; got {int(low)}..{int(high)}")


def _check_masks(where: str, masks: Tensor | InstanceMasks, shape: tuple[int, int, int]) -> None:
    if masks.shape != shape or (isinstance(masks, Tensor) and masks.dtype not in (torch.uint8, torch.bool)):
        found = f" {masks.dtype}" if isinstance(masks, Tensor) else ""
        raise ValueError(f"{where}: masks must be {list(shape)} uint8 or bool; got {list(masks.shape)}{found}")


def _check_keypoints(where: str, keypoints: Tensor, shape: tuple[int, int]) -> None:
    if keypoints.shape != (*shape, 3) or not keypoints.is_floating_point():
        found = f"{list(keypoints.shape)} {keypoints.dtype}"
        raise ValueError(f"{where}: keypoints must be {[*shape, 3]} float; got {found}")


def _check_boxes(where: str, key: str, shape: str, boxes: Tensor) -> None:
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not boxes.is_floating_point():
        raise ValueError(f"{where}: {key} must be {shape} float; got {list(boxes.shape)} {boxes.dtype}")
    if not reading_is_free(boxes):
        return
    usable = (boxes[:, 2:] >= boxes[:, :2]).all(dim=1) & boxes.isfinite().all(dim=1)
    if not usable.all():
        first = boxes[~usable][0].tolist()
        raise ValueError(f"{where}: {key} must be finite with x1 <= x2 and y1 <= y2; got {first}")
