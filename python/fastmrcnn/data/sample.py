"""One image with its annotated objects, and the target that the model trains on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from fastmrcnn.ops import InstanceMasks

Target = dict[str, Tensor | InstanceMasks]


@dataclass(frozen=True)
class Sample:
    """An image and its N objects; all tensors are on the CPU.

    Attributes:
        image: [C, H, W], RGB unless others are asked for: uint8, or float32 in 0..1 where the file is deeper than 8
            bits.
        image_id: the data set's id.
        path: the image file.
        boxes: float32 [N, 4], x1, y1, x2, y2 in pixels.
        labels: int64 [N], indices into the data set's ``class_names`` (0-based).
        masks: the N masks, as the polygons or run lengths that the file has; none is empty.
        iscrowd: bool [N]; true where the mask is a region of many objects.
        areas: float32 [N], pixels.
        keypoints: float32 [N, K, 3], x, y in pixels and the visibility, 0 where not labelled; None where none are read.
        keypoint_names: of the K keypoints.
    """

    image: Tensor
    image_id: int
    path: Path
    boxes: Tensor
    labels: Tensor
    masks: InstanceMasks
    iscrowd: Tensor
    areas: Tensor
    keypoints: Tensor | None = None
    keypoint_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of objects."""
        return self.labels.shape[0]

    def select(self, keep: Tensor) -> Sample:
        """The sample with those objects alone for which ``keep``, bool [N], is true."""
        return replace(
            self,
            boxes=self.boxes[keep],
            labels=self.labels[keep],
            masks=self.masks[keep],
            iscrowd=self.iscrowd[keep],
            areas=self.areas[keep],
            keypoints=None if self.keypoints is None else self.keypoints[keep],
        )


def to_target(sample: Sample) -> Target:
    """The training target of a sample, in torchvision's form: label 0 is the background.

    Crowds are no objects to learn, and what lies in them is no background: their boxes are regions to ignore.

    Returns:
        ``boxes`` float32 [N, 4], ``labels`` int64 [N] from 1, the ``masks`` of both, ``ignore`` float32 [crowds, 4];
        and, where they were read, ``keypoints`` float32 [N, K, 3].
    """
    ignore = sample.boxes[sample.iscrowd]
    if len(ignore) > 0:
        sample = sample.select(~sample.iscrowd)
    target: Target = {"boxes": sample.boxes, "labels": sample.labels + 1, "masks": sample.masks, "ignore": ignore}
    return target if sample.keypoints is None else target | {"keypoints": sample.keypoints}


def collate(samples: Sequence[Sample]) -> tuple[list[Tensor], list[Target], list[Sample]]:
    """Images, targets and samples of a batch, as lists: images may differ in size, the model pads them."""
    return [sample.image for sample in samples], [to_target(sample) for sample in samples], list(samples)
