"""Which ground-truth object does a box stand for?"""

from __future__ import annotations

import torch
from torch import Tensor

from fastmrcnn.ops._library import LIBRARY, as_native_float, context, is_plain_eager, native, register_kernel

__all__ = ["BACKGROUND", "IGNORED", "match_boxes"]

BACKGROUND = -1  # overlaps no object enough
IGNORED = -2  # neither object nor background: takes no part in a loss

LIBRARY.define(
    "match_boxes(Tensor objects, Tensor boxes, Tensor? ignore_regions, float foreground, float background, "
    "float ignore_overlap, bool every_object) -> Tensor"
)


def _match_boxes(
    objects: Tensor,
    boxes: Tensor,
    ignore_regions: Tensor | None,
    foreground: float,
    background: float,
    ignore_overlap: float,
    every_object: bool,
) -> Tensor:
    objects, boxes = as_native_float(objects.detach()), as_native_float(boxes.detach())
    dtype = torch.promote_types(objects.dtype, boxes.dtype)
    objects, boxes = objects.to(dtype).contiguous(), boxes.to(dtype).contiguous()
    if ignore_regions is not None:
        ignore_regions = ignore_regions.detach().to(dtype).contiguous()
    highest = objects.new_empty(objects.shape[:1])
    matches = torch.empty(boxes.shape[:1], dtype=torch.int64, device=boxes.device)
    native.match_boxes(
        context(boxes),
        objects,
        boxes,
        ignore_regions,
        foreground,
        background,
        ignore_overlap,
        every_object,
        highest,
        matches,
    )
    return matches


register_kernel("match_boxes", _match_boxes)


def _check_fake(argument: str, shape: str, boxes: Tensor) -> None:
    torch._check(
        boxes.dim() == 2 and boxes.shape[1] == 4,
        lambda: f"match_boxes: {argument} must be {shape}; got {list(boxes.shape)}",
    )


@torch.library.register_fake("fastmrcnn::match_boxes", lib=LIBRARY)
def _match_boxes_fake(
    objects: Tensor,
    boxes: Tensor,
    ignore_regions: Tensor | None,
    foreground: float,
    background: float,
    ignore_overlap: float,
    every_object: bool,
) -> Tensor:
    _check_fake("objects", "[M, 4]", objects)
    _check_fake("boxes", "[N, 4]", boxes)
    if ignore_regions is not None:
        _check_fake("ignore_regions", "[R, 4]", ignore_regions)
    return boxes.new_empty(boxes.shape[:1], dtype=torch.int64)


def match_boxes(
    objects: Tensor,
    boxes: Tensor,
    *,
    foreground: float,
    background: float,
    every_object: bool = False,
    ignore_regions: Tensor | None = None,
    ignore_overlap: float = 0.7,
) -> Tensor:
    """Matches every box (anchor, proposal) to the object that it overlaps best, or to none.

    Ren et al., "Faster R-CNN", 2015, section 3.1.2. Decides as torchvision's ``Matcher`` does on its ``box_iou``, bit
    for bit, without the M x N matrix: memory is O(M + N), and objects far from a stretch of boxes cost nothing.

    What to do about regions of many objects that nobody separated, COCO's crowds, is not in the paper. torchvision's
    recipes and detectron2 drop them and so teach them as background; Matterport's ``mrcnn`` takes all boxes that touch
    one (IoU 0.001) out of the background. Here a box must lie mostly inside: the measure is the intersection over the
    box's own area, that by which the COCO evaluation forgives detections in a crowd. The first Detectron
    takes proposals, even those with an object, out of training by the same measure and a share above 0.7
    (``TRAIN.CROWD_FILTER_THRESH``), but no anchors.

    Args:
        objects: `[M, 4]` floating point, the ground truth, corners x1, y1, x2, y2 in pixels.
        boxes: `[N, 4]` floating point.
        foreground: a box is matched to its best object at this IoU or above; of equally good ones to the first.
        background: below this IoU a box is background; between the two it is ignored. At most `foreground`.
        every_object: also match, whatever the thresholds, the boxes whose IoU with some object is that object's highest
            (ties included), each to the object that it overlaps best. Anchors need it, else a small or odd object is
            never learnt; proposals, to which the objects themselves are added, do not.
        ignore_regions: `[R, 4]` floating point; what would be background and lies mostly inside of one is ignored.
        ignore_overlap: the share of a box's area, in (0, 1], that must lie inside of one region for that.

    Returns:
        `[N]` int64: the index of the object, `BACKGROUND` (-1) or `IGNORED` (-2). Without objects nothing is matched.
        Computed in float64 where objects or boxes are, else in float32, half precision too; thresholds are rounded to
        that. Not differentiable; deterministic.

        An IoU that is NaN counts as zero (NaN or infinite coordinates, two boxes of zero area), and an object that no
        box overlaps claims none; torchvision matches every such box.

    Raises:
        ValueError: a shape or a threshold is not as stated.

    Example:
        >>> objects = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]])
        >>> boxes = torch.tensor([[0.0, 0, 10, 9], [0, 0, 10, 5], [30, 0, 40, 10], [53, 50, 70, 60]])
        >>> match_boxes(objects, boxes, foreground=0.7, background=0.3)
        tensor([ 0, -2, -1, -2])
        >>> match_boxes(objects, boxes, foreground=0.7, background=0.3, every_object=True)
        tensor([ 0, -2, -1,  1])
        >>> crowd = torch.tensor([[25.0, 0, 100, 40]])
        >>> match_boxes(objects, boxes, foreground=0.7, background=0.3, ignore_regions=crowd)
        tensor([ 0, -2, -2, -2])
    """
    tensors = (objects, boxes) if ignore_regions is None else (objects, boxes, ignore_regions)
    kernel = _match_boxes if is_plain_eager(*tensors) else torch.ops.fastmrcnn.match_boxes.default
    return kernel(objects, boxes, ignore_regions, foreground, background, ignore_overlap, every_object)
