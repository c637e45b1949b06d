"""What happens to the training images on their way to the network, from the options of a run."""

from __future__ import annotations

from fastmrcnn.data import InstanceDataset
from fastmrcnn.data.transforms import (
    ColorJitter,
    CopyPaste,
    HorizontalFlip,
    LargeScaleJitter,
    MultiScale,
    RandomCrop,
    Transform,
    VerticalFlip,
)
from fastmrcnn.errors import UserError
from fastmrcnn.models import InputConfig
from fastmrcnn.training.config import TrainConfig


def training_transforms(config: TrainConfig, network: InputConfig, dataset: InstanceDataset) -> list[Transform]:
    """The random transforms that ``config`` asks for, in order, for a network with that input.

    The images that copy-paste takes objects from come from ``dataset`` and move as all others do.
    """
    moves: list[Transform] = []
    if config.horizontal_flip:
        moves.append(HorizontalFlip(config.horizontal_flip))
    if config.vertical_flip:
        moves.append(VerticalFlip(config.vertical_flip))
    if config.random_crop:
        moves.append(RandomCrop(config.random_crop, *config.crop_sides))
    moves += _drawn_size(config, network)
    transforms = list(moves)
    if config.copy_paste:
        transforms.append(CopyPaste(dataset, config.copy_paste, moves))
    if config.color_jitter or config.hue_jitter:
        strength = config.color_jitter
        transforms.append(ColorJitter(strength, strength, strength, config.hue_jitter))
    return transforms


def brings_images_to_size(config: TrainConfig, network: InputConfig) -> bool:
    """Whether the transforms give images the size that the network sees; else it resizes them as in detection."""
    return bool(_drawn_size(config, network))


def _drawn_size(config: TrainConfig, network: InputConfig) -> list[Transform]:
    if config.large_scale_jitter:
        size = config.jitter_size or network.min_size
        if size > network.max_size:
            raise UserError(
                f"jitter_size must be at most max_size, {network.max_size} here; got {size}: raise max_size"
            )
        smallest, largest = config.large_scale_jitter
        if network.channels == 3:
            return [LargeScaleJitter(size, smallest, largest)]
        mean = tuple(min(max(value / network.pixel_max, 0.0), 1.0) for value in network.mean)  # 0.5 may lie far off
        return [LargeScaleJitter(size, smallest, largest, mean)]
    if network.train_min_sizes:
        return [MultiScale(network.train_min_sizes, network.max_size, network.enlarge)]
    return []
