"""The mask head's training targets: each RoI's object, cropped to the RoI and resampled to a small square."""

from __future__ import annotations

import torch
from torch import Tensor

from fastmrcnn.ops._library import LIBRARY, context, is_plain_eager, native, register_kernel, workspace
from fastmrcnn.ops.instance_masks import InstanceMasks

__all__ = ["crop_masks"]

_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)

LIBRARY.define("crop_bitmaps(Tensor masks, Tensor boxes, Tensor matched, SymInt size, bool aligned) -> Tensor")
LIBRARY.define(
    "crop_encoded_masks(Tensor points, Tensor polygons, Tensor object_polygons, Tensor transitions, "
    "Tensor object_transitions, SymInt height, SymInt width, Tensor boxes, Tensor matched, SymInt size, bool aligned, "
    "bool binary) -> Tensor"
)


def _crop_bitmaps(masks: Tensor, boxes: Tensor, matched: Tensor, size: int, aligned: bool) -> Tensor:
    boxes, matched, cropped = _prepare(boxes, matched, size)
    native.crop_bitmaps(context(masks), masks.contiguous(), boxes, matched, aligned, cropped)
    return cropped


def _crop_encoded_masks(
    points: Tensor,
    polygons: Tensor,
    object_polygons: Tensor,
    transitions: Tensor,
    object_transitions: Tensor,
    height: int,
    width: int,
    boxes: Tensor,
    matched: Tensor,
    size: int,
    aligned: bool,
    binary: bool,
) -> Tensor:
    boxes, matched, cropped = _prepare(boxes, matched, size)
    native.crop_encoded_masks(
        context(points),
        points.contiguous(),
        polygons.contiguous(),
        object_polygons.contiguous(),
        transitions.contiguous(),
        object_transitions.contiguous(),
        height,
        width,
        boxes,
        matched,
        aligned,
        binary,
        cropped,
        workspace("crop_encoded_masks", points, object_polygons.shape[0] - 1, height, width),
    )
    return cropped


def _prepare(boxes: Tensor, matched: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    cropped = boxes.new_empty((boxes.shape[0], size, size), dtype=torch.float32)
    return boxes.detach().resolve_neg().float().contiguous(), matched.to(torch.int64).contiguous(), cropped


register_kernel("crop_bitmaps", _crop_bitmaps)
register_kernel("crop_encoded_masks", _crop_encoded_masks)


@torch.library.register_fake("fastmrcnn::crop_bitmaps", lib=LIBRARY)
def _crop_bitmaps_fake(masks: Tensor, boxes: Tensor, matched: Tensor, size: int, aligned: bool) -> Tensor:
    return boxes.new_empty((boxes.shape[0], size, size), dtype=torch.float32)


@torch.library.register_fake("fastmrcnn::crop_encoded_masks", lib=LIBRARY)
def _crop_encoded_masks_fake(
    points: Tensor,
    polygons: Tensor,
    object_polygons: Tensor,
    transitions: Tensor,
    object_transitions: Tensor,
    height: int,
    width: int,
    boxes: Tensor,
    matched: Tensor,
    size: int,
    aligned: bool,
    binary: bool,
) -> Tensor:
    return boxes.new_empty((boxes.shape[0], size, size), dtype=torch.float32)


def crop_masks(
    masks: Tensor | InstanceMasks,
    boxes: Tensor,
    matched: Tensor,
    size: int,
    *,
    aligned: bool = False,
    binary: bool = False,
) -> Tensor:
    """What the mask head should draw in each RoI (He et al. 2017, section 3: "mask targets").

    The target is the object's mask under RoIAlign with adaptive sampling, as in torchvision: the share of each cell
    that the object covers. It has the bits of `roi_align(masks[:, None].float(), ...)`, but no full-frame float copy is
    made. Polygons and run lengths give the bits of the bitmap that they stand for, and it is not made either (on a GPU
    they are drawn as one bit a pixel).

    Args:
        masks: the objects of one image, `[G, H, W]` bool or uint8, or `InstanceMasks`. Those on the host are copied to
            the device of the boxes, without waiting.
        boxes: `[P, 4]` floating point, x1, y1, x2, y2 in image pixels. Computed in float32.
        matched: `[P]` integers: the object of each box.
        size: cells on a side of the result.
        aligned: RoIAlign's half-pixel shift.
        binary: detectron2's targets of zeros and ones instead: polygons are scaled from the box to the
            `size` x `size` frame and drawn there; run lengths and bitmaps are 1 where the share is at least a half
            (detectron2 has `aligned=True` then).

    Returns:
        `[P, size, size]` float32, 0..1 (uint8 masks with other values than 0 and 1 count as what they are). A box with
        a NaN or an infinity gives zeros. Not differentiable; deterministic.

    Raises:
        ValueError: a shape or dtype is not as stated, or an index of `matched` is none of the masks. On a GPU, where
            nobody waits for the indices, such a target is NaN instead.

    Example:
        >>> mask = torch.tensor([[[True, False], [True, True]]])
        >>> crop_masks(mask, torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([0]), 2, aligned=True)
        tensor([[[1., 0.],
                 [1., 1.]]])
    """
    if size <= 0:
        raise ValueError(f"crop_masks: size must be positive; got {size}")
    if boxes.dim() != 2 or boxes.shape[1] != 4:
        raise ValueError(f"crop_masks: boxes must be [P, 4]; got {list(boxes.shape)}")
    if not boxes.is_floating_point():
        raise ValueError(f"crop_masks: boxes must be floating point; got {boxes.dtype}")
    if matched.dtype not in _INTEGERS:
        raise ValueError(f"crop_masks: matched must be integers; got {matched.dtype}")
    if isinstance(masks, InstanceMasks):
        return _crop_instance_masks(masks, boxes, matched, size, aligned, binary)
    kernel = _crop_bitmaps if is_plain_eager(masks, boxes, matched) else torch.ops.fastmrcnn.crop_bitmaps.default
    cropped: Tensor = kernel(masks, boxes, matched, size, aligned)
    # Zero times NaN keeps the NaN by which CUDA tells of a bad index.
    return (cropped >= 0.5).float() + 0 * cropped if binary else cropped


def _crop_instance_masks(
    masks: InstanceMasks, boxes: Tensor, matched: Tensor, size: int, aligned: bool, binary: bool
) -> Tensor:
    if masks.points.device != boxes.device:
        masks = masks.to(boxes.device)
    outlines = (masks.points, masks.polygons, masks.object_polygons, masks.transitions, masks.object_transitions)
    plain = is_plain_eager(*outlines, boxes, matched)
    kernel = _crop_encoded_masks if plain else torch.ops.fastmrcnn.crop_encoded_masks.default
    return kernel(*outlines, masks.height, masks.width, boxes, matched, size, aligned, binary)
