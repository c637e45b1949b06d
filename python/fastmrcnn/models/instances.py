"""What travels between the stages of the network."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fastmrcnn.ops import InstanceMasks

Size = tuple[int, int]  # (height, width), px


@dataclass(frozen=True)
class ImageBatch:
    """Images of unequal size, resized, normalised and padded to one tensor."""

    pixels: Tensor  # [B, 3, H, W] float32; each image lies at the top left, zeros follow
    sizes: list[Size]  # of the resized images, without the padding
    original_sizes: list[Size]


@dataclass(frozen=True)
class Targets:
    """The objects of one training image."""

    boxes: Tensor  # [M, 4] float32: x1, y1, x2, y2, px of the network's input
    labels: Tensor  # [M] int64, >= 1
    masks: Tensor | InstanceMasks  # [M, H, W] uint8 or bool, of the resized image
    ignore: Tensor  # [R, 4] float32, like boxes: regions whose insides are not taught as background


@dataclass(frozen=True)
class Proposals:
    """The regions of one image that the RPN takes for objects, by descending score."""

    boxes: Tensor  # [P, 4] float32: x1, y1, x2, y2, px of the network's input
    scores: Tensor  # [P] float32, probability of being an object


@dataclass(frozen=True)
class Instances:
    """Detected objects of one image, by descending score, still in pixels of the network's input."""

    boxes: Tensor  # [N, 4] float32: x1, y1, x2, y2
    scores: Tensor  # [N] float32
    labels: Tensor  # [N] int64, >= 1


@dataclass(frozen=True)
class SampledRoIs:
    """The RoIs of one training image that take part in the losses of the heads."""

    boxes: Tensor  # [S, 4] float32, px of the network's input
    labels: Tensor  # [S] int64; 0 is background
    matched: Tensor  # [S] int64: the object of each RoI; 0 where it has none
    deltas: Tensor  # [S, 4] float32: regression targets; of no meaning for background
