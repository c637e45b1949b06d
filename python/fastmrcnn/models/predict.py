"""What ``MaskRCNN.predict`` makes of its arguments: from whatever the user calls an image, or many."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from fastmrcnn.structures import ImagePage, ImageSource, PixelFormat, as_image_tensor


def is_single_image(images: ImageSource | Iterable[ImageSource]) -> bool:
    """One image, not a collection: a path, a page, a Pillow image, or an array or tensor without a batch dimension.

    What is neither is called one, to be refused by name.
    """
    if isinstance(images, np.ndarray | Tensor):
        return images.ndim <= 3
    return isinstance(images, str | os.PathLike | ImagePage | Image.Image) or not isinstance(images, Iterable)


def held(images: Iterable[ImageSource], pixel_format: PixelFormat) -> Iterable[ImageSource]:
    """Images that stay as they are when further ones are asked for, as those of a list do.

    An iterator may fill the same buffer again, or turn the pages of one Pillow image.
    """
    if isinstance(images, Sequence | np.ndarray | Tensor):
        return images
    return (_copied(image, pixel_format) for image in images)


def _copied(image: ImageSource, pixel_format: PixelFormat) -> ImageSource:
    if isinstance(image, str | os.PathLike | ImagePage):
        return image
    copied = as_image_tensor(image, pixel_format)
    return copied if isinstance(image, Image.Image) else copied.clone()
