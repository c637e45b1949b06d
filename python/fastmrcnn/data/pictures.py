"""Samples as pictures: what the annotations, and what augmentation makes of them, look like."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fastmrcnn.data.sample import Sample
from fastmrcnn.visualisation import as_picture, draw_instances


def draw_sample(sample: Sample, class_names: Sequence[str], *, colour_by: str = "class", zoom: int = 1) -> Image.Image:
    """The image with the boxes, masks and classes of its objects over it; crowds are named so.

    Args:
        sample: as a data set gives it, transformed or not.
        class_names: of the data set.
        colour_by, zoom: see :func:`~fastmrcnn.visualisation.draw_instances`.

    >>> from fastmrcnn.data import CocoDataset
    >>> from fastmrcnn.data.scenes import write_dataset
    >>> dataset = CocoDataset(write_dataset("scenes", images=1, seed=0), "scenes/images")
    >>> draw_sample(dataset[0], dataset.class_names).size == tuple(dataset[0].image.shape[:0:-1])
    True
    """
    names = [class_names[label] for label in sample.labels.tolist()]
    return draw_instances(
        displayable(sample.image),
        sample.boxes.numpy(),
        masks=_mask_crops(sample),
        labels=sample.labels.tolist(),
        names=[f"{name} crowd" if crowd else name for name, crowd in zip(names, sample.iscrowd.tolist(), strict=True)],
        colour_by=colour_by,
        zoom=zoom,
    )


def displayable(image: Tensor) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] of an image [C, H, W], as :func:`~fastmrcnn.visualisation.as_picture` shows it."""
    return as_picture(image.permute(1, 2, 0).numpy())


def _mask_crops(sample: Sample) -> list[tuple[NDArray[np.bool_], tuple[int, int]]]:
    """Each mask within its own box, with the box's corner: a bitmap of the whole image for each would be large."""
    runs = sample.masks.to_runs()
    crops = []
    for number, (left, top, right, bottom) in enumerate(runs.boxes().int().tolist()):
        crop = runs[number : number + 1].crop(top, left, bottom - top, right - left)
        crops.append((crop.to_bitmaps()[0].numpy(), (left, top)))
    return crops
