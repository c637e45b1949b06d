"""What travels between the stages of the network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from fastmrcnn.models.random_numbers import RandomNumbers
from fastmrcnn.ops import InstanceMasks

Size = tuple[int, int]  # (height, width), px


@dataclass(frozen=True)
class ImageBatch:
    """Images of unequal size, resized, normalised and padded to one tensor."""

    pixels: Tensor  # [B, C, H, W] float32; where each image lies is told by models.transform.image_origin
    sizes: list[Size]  # of the resized images, without the padding
    original_sizes: list[Size]
    image_sizes: Tensor  # [B, 2] int64: ``sizes`` on the device of the pixels

    @property
    def padded_size(self) -> Size:
        """That of every image with its padding."""
        return self.pixels.shape[-2], self.pixels.shape[-1]


@dataclass(frozen=True)
class Targets:
    """The objects of one training image."""

    boxes: Tensor  # [M, 4] float32: x1, y1, x2, y2, px of the network's input
    labels: Tensor  # [M] int64, >= 1
    masks: Tensor | InstanceMasks | None  # [M, H, W] uint8 or bool, of the resized image; None without a mask head
    ignore: Tensor  # [R, 4] float32, like boxes: regions whose insides are not taught as background
    # [M, K, 3] float32: x, y like boxes, and the visibility, 0 where not labelled; None without a keypoint head
    keypoints: Tensor | None = None
    origin: Size = (0, 0)  # (top, left) of the image, and so of the masks, in the network's input
    random: RandomNumbers = field(default_factory=RandomNumbers)  # that the samples of its losses are drawn with


class PaddedInstances(NamedTuple):
    """Detected objects of a batch, whose shapes do not depend on how many there are.

    The objects of an image are its first ``counts`` slots, by descending score; the other slots hold zeros.
    """

    boxes: Tensor  # [B, D, 4] float32: x1, y1, x2, y2
    scores: Tensor  # [B, D] float32
    labels: Tensor  # [B, D] int64, >= 1
    counts: Tensor  # [B] int64
    mask_probs: Tensor | None = None  # [B, D, M, M] float32, probabilities within the boxes; None without a mask head
    keypoints: Tensor | None = None  # [B, D, K, 3] float32: x, y and the score; None without a keypoint head


@dataclass(frozen=True)
class SampledRoIs:
    """The RoIs of one training image that take part in the losses of the heads: those with an object come first."""

    boxes: Tensor  # [S, 4] float32, px of the network's input
    labels: Tensor  # [S] int64; 0 is background, -1 an empty slot
    matched: Tensor  # [S] int64: the object of each RoI; 0 where it has none
    deltas: Tensor  # [S, 4] float32: regression targets; zeros where there is no object
    positives: int  # RoIs with an object stand in the first so many slots, and nowhere else
