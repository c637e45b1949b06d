"""Images to try a model on where the user names none."""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor

from fastmrcnn.structures import PixelFormat, read_image

_PATCH = 15  # px, about, of the noise


def photograph_file() -> AbstractContextManager[Path]:
    """The photograph that comes with the package."""
    return resources.as_file(resources.files("fastmrcnn") / "assets" / "coins.png")


def sample_image(channels: int) -> Tensor:
    """That photograph, [C, H, W] uint8; noise of its size where it has another number of channels than three or one."""
    with photograph_file() as path:
        photograph = read_image(path, PixelFormat(1 if channels == 1 else 3))
    if channels in (1, 3):
        return photograph
    return noise(channels, (photograph.shape[1], photograph.shape[2]))


def sample_images(channels: int) -> list[Tensor]:
    """:func:`sample_image` in three sizes, and one image in which there is nothing."""
    image = sample_image(channels)
    height, width = image.shape[1:]
    parts = [image, image[:, :, : width // 2], image[:, height // 2 :, width // 4 :]]
    return [*parts, torch.zeros_like(image[:, : height // 3])]


def noise(channels: int, size: tuple[int, int]) -> Tensor:
    """Soft patches, [channels, *size] float32 in 0..1, the same at every call."""
    generator = torch.Generator("cpu").manual_seed(0)
    height, width = (max(side // _PATCH, 2) for side in size)
    coarse = torch.rand(1, channels, height, width, generator=generator, dtype=torch.float32, device="cpu")
    return torch.nn.functional.interpolate(coarse, size=size, mode="bicubic")[0].clamp(0, 1)
