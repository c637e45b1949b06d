"""The standard workloads, frozen: what every figure in this project is measured on.

Shapes are those of Mask R-CNN with a ResNet-50-FPN on an 800 x 1344 image (800 x 1333 and its padding). All values come
from seeds, drawn on the CPU, so that every device gets the same ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = (2, 3, 4, 5)  # that RoIs are pooled from; the RPN has a sixth
STRIDES = tuple(2**level for level in LEVELS)
SEED = 0
LAYOUTS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}


@dataclass(frozen=True)
class Workload:
    """Sizes, and the tensors made from them; `STANDARD` is what is measured, `QUICK` checks that the program works."""

    image: tuple[int, int] = (800, 1344)  # the network's input, (height, width) in px, padded to multiples of 32
    photograph: tuple[int, int] = (800, 1333)  # that masks are pasted into
    channels: int = 256
    box_rois: int = 1000  # an image, of the box head over P2..P5
    mask_rois: int = 100  # of the mask head
    level_rois: int = 512  # of the operators on P3 alone
    nms_boxes: tuple[int, ...] = (1000, 4000, 12000)
    classes: int = 80
    candidates: int = 1000  # anchors a level that the RPN decodes, and proposals an image that it keeps
    objects: tuple[int, ...] = (20, 200)  # ground truth of one image
    training_images: tuple[tuple[int, int], ...] = ((512, 512), (800, 1333))  # two of one size make a step
    positives: int = 128  # RoIs of one image that get a mask target
    instances: int = 100  # detections of one image: masks that are pasted
    samples: int = 512  # RoIs of one training image
    images: int = 1  # that the operators over a pyramid see at once
    device: str = "cpu"

    def feature_map(
        self, stride: int, dtype: torch.dtype = torch.float32, layout: str = "NCHW", images: int = 1
    ) -> Tensor:
        """[images, channels, height / stride, width / stride], normally distributed."""
        height, width = self.image[0] // stride, self.image[1] // stride
        values = torch.randn(images, self.channels, height, width, generator=generator(stride))
        return values.to(self.device, dtype, memory_format=LAYOUTS[layout])

    def pyramid(self, dtype: torch.dtype = torch.float32, layout: str = "NCHW") -> list[Tensor]:
        """P2..P5 of all images."""
        return [self.feature_map(stride, dtype, layout, self.images) for stride in STRIDES]

    def log_uniform_boxes(self, count: int, *, low: float = 16, high: float = 500, seed: int = SEED) -> Tensor:
        """[count, 4]: sides log-uniform in low..high px, centres uniform over the image, corners clipped to it."""
        g = generator(seed)
        height, width = self.image
        sides = torch.exp(torch.rand(count, 2, generator=g) * math.log(high / low)) * low
        centres = torch.rand(count, 2, generator=g) * torch.tensor([float(width), float(height)])
        corners = torch.cat([centres - sides / 2, centres + sides / 2], dim=1)
        clipped = torch.stack([corners[:, 0::2].clamp(0, width), corners[:, 1::2].clamp(0, height)], dim=2)
        return clipped.flatten(1).to(self.device)

    def rois(self, count: int) -> Tensor:
        """[count, 5]: image index, always 0, and box."""
        return F.pad(self.log_uniform_boxes(count), (1, 0))

    def random_boxes(self, count: int) -> tuple[Tensor, Tensor]:
        """Boxes that overlap little, and their scores."""
        return self.log_uniform_boxes(count), torch.rand(count, generator=generator(SEED + 2)).to(self.device)

    def clustered_boxes(self, count: int, *, objects: int = 50) -> tuple[Tensor, Tensor]:
        """Boxes as a detector proposes them, jittered around a few objects, and their scores."""
        g = generator(SEED + 3)
        around = self.log_uniform_boxes(objects, low=40)[torch.randint(objects, (count,), generator=g).to(self.device)]
        jitter = torch.randn(count, 4, generator=g).to(self.device)
        sides = (around[:, 2:] - around[:, :2]).repeat(1, 2)
        return around + jitter * 0.1 * sides, torch.rand(count, generator=g).to(self.device)

    def mask_probabilities(self, count: int, size: int = 28) -> Tensor:
        """[count, size, size]: smooth blobs, as a mask head draws them."""
        g = generator(SEED + 4)
        axis = torch.linspace(-1, 1, size)
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        angle, radius = torch.rand(2, count, 1, 1, generator=g)
        distance = (x**2 + y**2).sqrt()
        lobes = 0.6 + 0.25 * radius + 0.15 * torch.sin(5 * torch.atan2(y, x) + 6.28 * angle)
        return ((lobes - distance) * 8).sigmoid().to(self.device)


def generator(seed: int = SEED) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


STANDARD = Workload()
QUICK = Workload(
    image=(64, 96),
    photograph=(60, 90),
    channels=8,
    box_rois=24,
    mask_rois=8,
    level_rois=16,
    nms_boxes=(50, 80, 120),
    classes=4,
    candidates=40,
    objects=(3, 9),
    training_images=((64, 64),),
    positives=6,
    instances=5,
    samples=8,
)
