"""``MaskRCNN.predict``: from whatever the user calls an image to detections."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from fastmrcnn.structures import Detections, ImageSource, PixelFormat, as_image_tensor


def is_single_image(images: ImageSource | Iterable[ImageSource]) -> bool:
    """One image, not a collection: a path, a Pillow image, or an array or tensor without a batch dimension."""
    if isinstance(images, np.ndarray | Tensor):
        return images.ndim <= 3
    return isinstance(images, str | os.PathLike | Image.Image)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put every module of ``model`` in evaluation mode, and back into the mode that each had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def in_batches(sources: Iterable[ImageSource], size: int) -> Iterator[list[ImageSource]]:
    """Lists of ``size`` sources, the last one shorter."""
    remaining = iter(sources)
    while batch := list(islice(remaining, size)):
        yield batch


def detect_sources(
    model: nn.Module,
    sources: Iterable[ImageSource],
    pixel_format: PixelFormat,
    score_threshold: float | None,
    batch_size: int,
) -> Iterator[Detections]:
    """Read, detect and bring to the CPU, batch by batch: only one batch of images is in memory."""
    for batch in in_batches(sources, batch_size):
        with evaluation_mode(model), torch.inference_mode():
            found: list[Detections] = model([as_image_tensor(source, pixel_format) for source in batch])
        for source, detections in zip(batch, found, strict=True):
            here = detections.to("cpu")  # before the choice by score, which would wait for a GPU at each tensor
            kept = here if score_threshold is None else here.filter(score=score_threshold)
            yield replace(kept, source=source)
