"""From options to transforms, and to the size that the network sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fastmrcnn.data import CocoDataset
from fastmrcnn.data.transforms import (
    ColorJitter,
    CopyPaste,
    HorizontalFlip,
    LargeScaleJitter,
    MultiScale,
    RandomCrop,
    VerticalFlip,
)
from fastmrcnn.errors import UserError
from fastmrcnn.models import InputConfig
from fastmrcnn.models.transform import InputTransform
from fastmrcnn.training import TrainConfig, train
from fastmrcnn.training.augmentation import brings_images_to_size, training_transforms

MakeConfig = Callable[..., TrainConfig]
NETWORK = InputConfig(min_size=80, max_size=120)


@pytest.fixture
def dataset(scenes: Path) -> CocoDataset:
    return CocoDataset(scenes / "annotations.json", scenes / "images")


def test_every_option_is_a_transform(dataset: CocoDataset, make_config: MakeConfig) -> None:
    assert training_transforms(make_config(), NETWORK, dataset) == [HorizontalFlip(0.5)]
    assert training_transforms(make_config(horizontal_flip=0.0), NETWORK, dataset) == []
    options = {
        "vertical_flip": 0.25,
        "random_crop": 0.5,
        "crop_sides": (0.25, 0.75),
        "large_scale_jitter": (0.1, 2.0),
        "copy_paste": 0.125,
        "color_jitter": 0.3,
        "hue_jitter": 0.1,
    }
    moves = [HorizontalFlip(0.5), VerticalFlip(0.25), RandomCrop(0.5, 0.25, 0.75), LargeScaleJitter(80, 0.1, 2.0)]
    expected = [*moves, CopyPaste(dataset, 0.125, moves), ColorJitter(0.3, 0.3, 0.3, 0.1)]
    assert training_transforms(make_config(**options), NETWORK, dataset) == expected
    larger = training_transforms(make_config(large_scale_jitter=(1.0, 1.0), jitter_size=96), NETWORK, dataset)
    assert larger[1:] == [LargeScaleJitter(96, 1.0, 1.0)]


def test_the_sizes_of_the_network_are_drawn(dataset: CocoDataset, make_config: MakeConfig) -> None:
    drawn = replace(NETWORK, train_min_sizes=(64, 80))
    assert training_transforms(make_config(), drawn, dataset)[1:] == [MultiScale((64, 80), 120)]
    small = replace(drawn, enlarge=False)  # as in detection, or it would be trained at sizes that it never sees
    assert training_transforms(make_config(), small, dataset)[1:] == [MultiScale((64, 80), 120, enlarge=False)]
    assert brings_images_to_size(make_config(), drawn)
    assert not brings_images_to_size(make_config(), NETWORK)
    jitter = make_config(large_scale_jitter=(0.1, 2.0))
    assert training_transforms(jitter, drawn, dataset)[1:] == [LargeScaleJitter(80, 0.1, 2.0)]


def test_padding_has_the_mean_of_channels_that_are_no_colours(dataset: CocoDataset, make_config: MakeConfig) -> None:
    jitter = make_config(large_scale_jitter=(0.1, 2.0))
    bands = replace(NETWORK, pixel_max=255.0, mean=(51.0, 127.5), std=(25.0, 1.0))
    assert training_transforms(jitter, bands, dataset)[1:] == [LargeScaleJitter(80, 0.1, 2.0, (0.2, 0.5))]


def test_a_square_beyond_the_network_is_refused(make_config: MakeConfig) -> None:
    with pytest.raises(UserError, match=r"^jitter_size must be at most max_size, 120 here; got 128: raise max_size$"):
        brings_images_to_size(make_config(large_scale_jitter=(0.1, 2.0), jitter_size=128), NETWORK)


def test_the_network_leaves_images_that_come_at_their_size_as_they_are() -> None:
    transform = InputTransform(NETWORK)
    transform.keeps_training_sizes = True
    image = torch.zeros((3, 40, 50))
    assert transform([image]).sizes == [(40, 50)]
    assert transform.eval()([image]).sizes == [(80, 100)]  # in detection they are resized as ever


@pytest.mark.parametrize(
    "options",
    [
        {"large_scale_jitter": (0.5, 2.0), "jitter_size": 64},
        {"train_min_sizes": (64,), "min_size": 80, "max_size": 120},
    ],
    ids=["jitter", "multi-scale"],
)
def test_a_run_trains_at_the_drawn_size(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    seen = []
    pad = InputTransform._pad

    def watch(self: InputTransform, images: list[torch.Tensor]) -> torch.Tensor:
        seen.extend(tuple(image.shape[1:]) for image in images)
        return pad(self, images)

    monkeypatch.setattr(InputTransform, "_pad", watch)
    train(make_config(steps=2, copy_paste=1.0, random_crop=0.5, **options), progress=False)
    assert len(seen) == 4
    assert all(min(size) == 64 or max(size) == 120 for size in seen)
