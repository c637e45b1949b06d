"""The standard workloads, frozen: what every figure in this project is measured on.

Shapes are those of Mask R-CNN with a ResNet-50-FPN on an 800 x 1344 image.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

IMAGE = (800, 1344)
CHANNELS = 256
STRIDES = (4, 8, 16, 32)
SEED = 0


def generator(seed: int = SEED) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def feature_map(stride: int, *, batch: int = 1, channels: int = CHANNELS) -> Tensor:
    """[batch, channels, 800 / stride, 1344 / stride] float32, NCHW."""
    height, width = IMAGE[0] // stride, IMAGE[1] // stride
    return torch.randn(batch, channels, height, width, generator=generator(stride))


def log_uniform_boxes(count: int, *, low: float = 16, high: float = 500, seed: int = SEED) -> Tensor:
    """[count, 4]: sides log-uniform in low..high px, centres uniform over the image, corners clipped to it."""
    g = generator(seed)
    sides = torch.exp(torch.rand(count, 2, generator=g) * math.log(high / low)) * low
    size = torch.tensor([float(IMAGE[1]), float(IMAGE[0])])
    centres = torch.rand(count, 2, generator=g) * size
    corners = torch.cat([centres - sides / 2, centres + sides / 2], dim=1)
    return torch.stack([corners[:, 0::2].clamp(0, IMAGE[1]), corners[:, 1::2].clamp(0, IMAGE[0])], dim=2).flatten(1)


def rois(count: int, *, batch: int = 1, seed: int = SEED) -> Tensor:
    """[count, 5]: image index and box."""
    image = torch.randint(batch, (count, 1), generator=generator(seed + 1)).float()
    return torch.cat([image, log_uniform_boxes(count, seed=seed)], dim=1)


def random_boxes(count: int, *, seed: int = SEED) -> tuple[Tensor, Tensor]:
    """Boxes that overlap little, and their scores."""
    return log_uniform_boxes(count, seed=seed), torch.rand(count, generator=generator(seed + 2))


def clustered_boxes(count: int, *, objects: int = 50, seed: int = SEED) -> tuple[Tensor, Tensor]:
    """Boxes as a detector proposes them, jittered around a few objects, and their scores."""
    g = generator(seed + 3)
    centres = log_uniform_boxes(objects, low=40, seed=seed)[torch.randint(objects, (count,), generator=g)]
    sides = (centres[:, 2:] - centres[:, :2]).repeat(1, 2)
    return centres + torch.randn(count, 4, generator=g) * 0.1 * sides, torch.rand(count, generator=g)


def mask_probabilities(count: int, size: int = 28, *, seed: int = SEED) -> Tensor:
    """[count, size, size]: smooth blobs, as a mask head draws them."""
    g = generator(seed + 4)
    axis = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    angle, radius = torch.rand(2, count, 1, 1, generator=g)
    distance = (x**2 + y**2).sqrt()
    lobes = 0.6 + 0.25 * radius + 0.15 * torch.sin(5 * torch.atan2(y, x) + 6.28 * angle)
    return ((lobes - distance) * 8).sigmoid()
