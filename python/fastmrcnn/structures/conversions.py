"""Detections in the forms of COCO, torchvision and supervision, and the fields of `Detections` from the latter two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from fastmrcnn.errors import UserError
from fastmrcnn.ops import InstanceMasks
from fastmrcnn.structures.soft_paste import paste_soft_masks

if TYPE_CHECKING:
    from fastmrcnn.structures.detections import Detections

_BACKGROUND = "__background__"  # the first of torchvision's categories
_THRESHOLD = 0.5  # of a probability that is mask


def to_coco(found: Detections, image_id: int) -> list[dict[str, Any]]:
    """See :meth:`Detections.to_coco`."""
    corners = found.boxes.detach().double()
    xywh = torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], dim=1).tolist()
    results = [
        {"image_id": image_id, "category_id": found.category_ids[label], "bbox": bbox, "score": score}
        for label, bbox, score in zip(found.labels.tolist(), xywh, found.scores.tolist(), strict=True)
    ]
    if found.has_masks:
        for result, encoding in zip(results, found.rle, strict=True):
            result["segmentation"] = encoding
    if found.keypoints is not None:
        points = found.keypoints.detach().double()
        flags = torch.cat([points[..., :2] - found.keypoint_offset, torch.ones_like(points[..., 2:])], dim=2)
        for result, flat, certain in zip(results, flags.flatten(1).tolist(), points[..., 2].tolist(), strict=True):
            result.update(keypoints=flat, keypoint_scores=certain)
    return results


def to_torchvision(found: Detections) -> dict[str, Tensor]:
    """See :meth:`Detections.to_torchvision`."""
    result = {"boxes": found.boxes, "labels": found.labels + 1, "scores": found.scores}
    if found.mask_probs is not None:
        result["masks"] = paste_soft_masks(found.mask_probs, found.boxes, found.image_size)[:, None]
    elif found.mask_runs is not None:
        result["masks"] = found.masks.to(found.scores.dtype)[:, None]
    if found.keypoints is not None:
        places, scores = found.keypoints[..., :2], found.keypoints[..., 2]
        result["keypoints"] = torch.cat([places, torch.ones_like(scores)[..., None]], dim=2)
        result["keypoints_scores"] = scores
    return result


def of_torchvision(
    result: Mapping[str, Tensor],
    class_names: Sequence[str],
    category_ids: Sequence[int] | None,
    image_size: tuple[int, int] | None,
    keypoint_names: Sequence[str] | None,
) -> dict[str, Any]:
    """See :meth:`Detections.from_torchvision`."""
    caller = "from_torchvision"
    missing = [name for name in ("boxes", "labels", "scores") if name not in result]
    if missing:
        raise ValueError(f"{caller}: expected boxes, labels and scores; {missing[0]} is missing")
    names = tuple(class_names)
    names = names[1:] if names[:1] == (_BACKGROUND,) else names
    fields = _named(caller, result["labels"].long() - 1, names, category_ids, first=1)
    fields |= {"boxes": result["boxes"].float(), "scores": result["scores"].float()}
    masks = result.get("masks")
    if masks is not None:
        if masks.ndim != 4 or masks.shape[1] != 1:
            raise ValueError(f"{caller}: masks must be [N, 1, height, width]; got {list(masks.shape)}")
        image_size = image_size or (masks.shape[2], masks.shape[3])
        bitmaps = (mask[0] >= _THRESHOLD for mask in masks)
        fields["mask_runs"] = InstanceMasks.from_bitmaps(bitmaps, masks.shape[2], masks.shape[3])
    keypoints = result.get("keypoints")
    if keypoints is not None:
        scores = result.get("keypoints_scores", torch.ones_like(keypoints[..., 2]))
        fields["keypoints"] = torch.cat([keypoints[..., :2], scores[..., None]], dim=2).float()
        fields["keypoint_names"] = tuple(keypoint_names or map(str, range(1, keypoints.shape[1] + 1)))
    return fields | {"image_size": _required(caller, image_size)}


def to_supervision(found: Detections, compact: bool) -> Any:
    """See :meth:`Detections.to_supervision`."""
    try:
        import supervision
    except ImportError:
        raise UserError("to_supervision: expected the package supervision: pip install supervision") from None
    here = found.to("cpu")
    masks: Any = None
    if found.has_masks:
        masks = _compact_masks(here) if compact else here.masks.numpy()
    return supervision.Detections(
        xyxy=here.boxes.detach().numpy(),
        mask=masks,
        confidence=here.scores.detach().numpy(),
        class_id=here.labels.numpy(),
        data={"class_name": np.array(found.names, dtype=np.str_)},
    )


def of_supervision(
    detections: Any,
    class_names: Sequence[str] | None,
    category_ids: Sequence[int] | None,
    image_size: tuple[int, int] | None,
) -> dict[str, Any]:
    """See :meth:`Detections.from_supervision`."""
    caller, count = "from_supervision", len(detections.xyxy)
    numbers = np.zeros(count) if detections.class_id is None else detections.class_id
    labels = torch.from_numpy(np.array(numbers, dtype=np.int64))
    names = _known_names(labels.tolist(), detections.data) if class_names is None else tuple(class_names)
    fields = _named(caller, labels, names, category_ids, first=0)
    scores = np.ones(count) if detections.confidence is None else detections.confidence
    fields |= {
        "boxes": torch.from_numpy(np.array(detections.xyxy, dtype=np.float32)).reshape(count, 4),
        "scores": torch.from_numpy(np.array(scores, dtype=np.float32)),
    }
    if detections.mask is not None:
        height, width = detections.mask.shape[1:]
        image_size = image_size or (int(height), int(width))
        fields["mask_runs"] = InstanceMasks.from_bitmaps(detections.mask, int(height), int(width))
    return fields | {"image_size": _required(caller, image_size)}


def _compact_masks(found: Detections) -> Any:
    """supervision's run lengths within boxes, made without bitmaps."""
    try:
        from supervision.detection.compact_mask import CompactMask
    except ImportError:
        raise UserError(
            "to_supervision: expected a newer supervision, with CompactMask: pip install -U supervision"
        ) from None
    inclusive = found.run_lengths.boxes() - torch.tensor([0.0, 0.0, 1.0, 1.0], device="cpu")
    return CompactMask.from_coco_rle(found.rle, inclusive.clamp(min=0).numpy(), found.image_size)


def _known_names(labels: Sequence[int], data: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the classes 0 and up to the largest label; one that no instance has is called by its number."""
    known = dict(zip(labels, map(str, data.get("class_name", ())), strict=False))
    return tuple(known.get(label, str(label)) for label in range(max(labels, default=-1) + 1))


def _named(
    caller: str, labels: Tensor, names: tuple[str, ...], category_ids: Sequence[int] | None, first: int
) -> dict[str, Any]:
    """The labels, with names and ids of the classes; ``first`` is what the other library calls our label 0."""
    if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < len(names)):
        found = f"{int(labels.min()) + first}..{int(labels.max()) + first}"
        expected = f"{first}..{len(names) - 1 + first}"
        raise ValueError(f"{caller}: labels must be within {expected}, those of class_names; got {found}")
    ids = tuple(range(1, len(names) + 1)) if category_ids is None else tuple(category_ids)
    return {"labels": labels, "class_names": names, "category_ids": ids, "mask_probs": None}


def _required(caller: str, image_size: tuple[int, int] | None) -> tuple[int, int]:
    if image_size is None:
        raise ValueError(f"{caller}: image_size must be given where there are no masks; got None")
    return image_size
