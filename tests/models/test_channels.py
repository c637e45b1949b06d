"""Networks for images of another number of channels than three."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image

from fastmrcnn.errors import UserError
from fastmrcnn.models import InputConfig, MaskRCNN
from fastmrcnn.models.config.input import Resampling
from fastmrcnn.models.transform import InputTransform
from fastmrcnn.structures import RGB, PixelFormat
from fastmrcnn.weights import load_model, save_model
from tests.models.small import small_config, target_of


def channels_config(channels: int, **changes: Any) -> InputConfig:
    mean = tuple(0.1 + 0.05 * channel for channel in range(channels))
    std = tuple(0.2 + 0.01 * channel for channel in range(channels))
    return InputConfig(min_size=64, max_size=128, mean=mean, std=std, **changes)


def model_for(channels: int, **changes: Any) -> MaskRCNN:
    torch.manual_seed(0)
    return MaskRCNN(small_config(input=channels_config(channels, **changes)))


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_training_and_detection(channels: int, tmp_path: Path) -> None:
    model = model_for(channels, white_level=4095)
    images = [torch.rand(channels, 64, 80), torch.randint(0, 256, (channels, 50, 70), dtype=torch.uint8)]
    targets = [target_of(image, [[10, 10, 40, 40]], [1]) for image in images]
    losses = model.train()(images, targets)
    torch.stack(list(losses.values())).sum().backward()
    gradient = model.backbone.stem.conv1.conv.weight.grad
    assert gradient.shape[1] == channels
    assert (gradient.flatten(2).abs().sum(dim=(0, 2)) > 0).all()
    save_model(model, tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    assert loaded.config == model.config
    assert loaded.config.input.pixel_format == PixelFormat(channels, 4095)
    expected, found = model.predict(images), loaded.predict(images)
    assert sum(map(len, expected)) > 0
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(one.boxes, other.boxes)
        assert torch.equal(one.scores, other.scores)
        assert other.plot().size == (one.image_size[1], one.image_size[0])


@pytest.mark.parametrize("frame", ["top_left", "centred_square"])
@pytest.mark.parametrize("resampling", get_args(Resampling))
def test_channels_are_resized_alike(resampling: Any, frame: Any) -> None:
    """Each of five channels as three equal ones."""
    config = channels_config(5, resampling=resampling, frame=frame)
    image = torch.randint(0, 256, (5, 90, 70), dtype=torch.uint8)
    found = InputTransform(config).eval()([image]).pixels
    for channel, (mean, std) in enumerate(zip(config.mean, config.std, strict=True)):
        alone = InputTransform(replace(config, mean=(mean,) * 3, std=(std,) * 3)).eval()
        expected = alone([image[channel].expand(3, -1, -1)]).pixels
        torch.testing.assert_close(found[:, channel], expected[:, 0], rtol=1e-6, atol=1e-6)


def test_files_are_read_as_the_network_wants_them(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 4096, (64, 80, 5), dtype=np.uint16)
    np.save(tmp_path / "field.npy", pixels)
    model = model_for(5, white_level=4095)
    expected = model.predict(torch.from_numpy(pixels.transpose(2, 0, 1) / np.float32(4095)))
    found = model.predict(tmp_path / "field.npy")
    assert torch.equal(found.boxes, expected.boxes)
    shown = np.asarray(found[:0].plot(), np.float64)
    assert np.abs(shown - pixels[:, :, :3] / 4095 * 255).max() <= 0.5
    rendering = Image.new("RGB", (80, 64), (9, 8, 7))  # of the same scene: detections are drawn on any picture
    assert np.array_equal(np.asarray(found[:0].plot(rendering)), np.asarray(rendering))
    with pytest.raises(UserError) as caught:
        model_for(3).predict(tmp_path / "field.npy")
    assert str(caught.value).startswith(f"{tmp_path / 'field.npy'}: expected an array [H, W], ")
    rendering.save(tmp_path / "photo.png")
    with pytest.raises(UserError) as caught:
        model.predict(tmp_path / "photo.png")
    assert str(caught.value) == f"{tmp_path / 'photo.png'}: expected an image with 5 channels; found 3"


def test_a_grey_image_for_one_channel_and_for_three() -> None:
    grey = torch.rand(1, 64, 80)
    assert model_for(1).predict(grey).image_size == (64, 80)
    three = model_for(3)
    assert torch.equal(three.predict(grey).boxes, three.predict(grey.expand(3, -1, -1)).boxes)


def test_tensors_with_other_channels() -> None:
    message = "MaskRCNN: images[1] must be [5, H, W]; got [3, 64, 80]"
    with pytest.raises(ValueError, match=re.escape(message)):
        model_for(5).eval()([torch.rand(5, 64, 80), torch.rand(3, 64, 80)])


def test_three_channels_are_the_default() -> None:
    assert InputConfig().pixel_format == RGB
    plain = small_config().to_dict()
    del plain["input"]["white_level"]  # files of before
    assert type(small_config()).from_dict(plain) == small_config()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean": ()}, "mean must have a number for each channel; got ()"),
        ({"mean": (0.5,)}, "std must have as many numbers as mean, 1; got (0.229, 0.224, 0.225)"),
        ({"mean": (0.5,), "std": (0.2,), "channel_order": "bgr"}, "channel_order bgr needs a mean of 3 numbers; got"),
        ({"white_level": 0}, "white_level must lie in 1..65535; got 0"),
    ],
)
def test_what_cannot_be_configured(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"InputConfig: {message}")):
        InputConfig(**changes)
