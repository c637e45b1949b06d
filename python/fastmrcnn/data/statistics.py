"""What the pixels of a data set are like."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from fastmrcnn.data.dataset import InstanceDataset
from fastmrcnn.data.transforms.base import white

_ROWS_AND_COLUMNS = 512  # at most of each image: neighbours say the same
_CONSTANT = 1e-6  # a deviation below says that a channel shows nothing


@dataclass(frozen=True)
class ChannelStatistics:
    """Mean and standard deviation of the pixels of each channel, in 0..1, where 1 is white."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    images: int  # that were looked at


def measure_channels(dataset: InstanceDataset, images: int = 200) -> ChannelStatistics:
    """Mean and deviation of each channel of the images of ``dataset``, each image counting the same.

    Measured on at most ``images``, evenly spaced: the same ones every time. A channel that shows the same everywhere
    has a deviation of 1.

    >>> from fastmrcnn.data import open_dataset
    >>> from fastmrcnn.data.scenes import write_dataset
    >>> measured = measure_channels(open_dataset(write_dataset("scenes", images=2, seed=0), "scenes/images"))
    >>> len(measured.mean), measured.images
    (3, 2)
    """
    count = min(images, len(dataset))
    means, squares = [], []
    for number in range(count):
        pixels = dataset.read_image(number * len(dataset) // count)
        rows, columns = (-(-side // _ROWS_AND_COLUMNS) for side in pixels.shape[1:])
        values = pixels[:, ::rows, ::columns].double().flatten(1) / white(pixels)  # [C, pixels]
        means.append(values.mean(dim=1))
        squares.append((values * values).mean(dim=1))
    mean = torch.stack(means).mean(dim=0)
    variance = torch.stack(squares).mean(dim=0) - mean * mean
    deviations = [math.sqrt(max(value, 0.0)) for value in variance.tolist()]
    std = tuple(1.0 if value < _CONSTANT else value for value in deviations)
    return ChannelStatistics(tuple(mean.tolist()), std, count)
