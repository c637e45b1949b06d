"""Networks for other channels that start from weights for three."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fastmrcnn.errors import UserError
from fastmrcnn.models import InputConfig, MaskRCNN, detectron2_rcnn
from fastmrcnn.weights import load_backbone, load_model, save_model, with_channels
from fastmrcnn.weights.channels import adapt_filters, input_for_channels
from fastmrcnn.weights.convert import convert
from tests.models.small import small_config

USUAL_STD = sum(InputConfig.std) / 3
STEM = "backbone.stem.conv1.conv.weight"


def small_model(**changes: Any) -> MaskRCNN:
    torch.manual_seed(0)
    return MaskRCNN(small_config(input=InputConfig(min_size=64, max_size=128, **changes))).eval()


@pytest.mark.parametrize(("known", "channels"), [(3, 1), (3, 2), (3, 4), (3, 9), (1, 3), (5, 2), (5, 7)])
def test_what_is_alike_in_all_channels_gives_the_same(known: int, channels: int) -> None:
    filters, grey = torch.randn(8, known, 7, 7, dtype=torch.float64), torch.randn(1, 1, 20, 20, dtype=torch.float64)
    expected = torch.nn.functional.conv2d(grey.expand(-1, known, -1, -1), filters)
    found = torch.nn.functional.conv2d(grey.expand(-1, channels, -1, -1), adapt_filters(filters, channels))
    torch.testing.assert_close(found, expected)


def test_filters_of_added_channels() -> None:
    filters = torch.randn(8, 3, 7, 7)
    assert adapt_filters(filters, 3) is filters
    more, fewer = adapt_filters(filters, 5), adapt_filters(filters, 2)
    mean = filters.mean(dim=1)
    torch.testing.assert_close(more[:, :3], filters * 3 / 5)
    for channel in (more[:, 3], more[:, 4]):
        torch.testing.assert_close(channel, mean * 3 / 5)
    torch.testing.assert_close(fewer[:, 0], mean * 3 / 2)


@pytest.mark.parametrize("channels", [1, 5])
def test_a_grey_scene_is_seen_as_before(channels: int, tmp_path: Path) -> None:
    model = small_model(mean=(0.5,) * 3, std=(USUAL_STD,) * 3)
    seed = torch.random.get_rng_state()
    adapted = with_channels(model, [0.5] * channels, [USUAL_STD] * channels)
    assert torch.equal(torch.random.get_rng_state(), seed)
    assert adapted.config.input.channels == channels
    scene = torch.rand(1, 64, 80)
    expected, found = model.predict(scene.expand(3, -1, -1)), adapted.predict(scene.expand(channels, -1, -1))
    assert len(expected) > 0
    torch.testing.assert_close(found.boxes, expected.boxes, rtol=0, atol=1e-2)
    torch.testing.assert_close(found.scores, expected.scores, rtol=0, atol=1e-4)
    same = {name for name, value in model.state_dict().items() if torch.equal(value, adapted.state_dict()[name])}
    assert model.state_dict().keys() - same == {STEM}
    save_model(adapted, tmp_path / "adapted.safetensors")
    assert torch.equal(
        load_model(tmp_path / "adapted.safetensors").predict(scene.expand(channels, -1, -1)).boxes, found.boxes
    )


def test_the_network_sees_values_of_the_spread_that_it_knows() -> None:
    torchvision = input_for_channels(InputConfig(), [0.2] * 4, [0.125] * 4)
    assert torchvision.mean == (0.2,) * 4
    assert torchvision.std == pytest.approx((0.125,) * 4)
    caffe = detectron2_rcnn(["a"]).input
    assert caffe.std == (1.0, 1.0, 1.0)
    changed = input_for_channels(caffe, [0.2] * 4, [USUAL_STD] * 4)
    assert changed.mean == (51.0,) * 4
    assert changed.std == pytest.approx((1.0,) * 4)
    assert (changed.channel_order, changed.resampling) == ("rgb", "antialias")
    again = input_for_channels(torchvision, [0.3] * 2, [0.01] * 2)
    assert again.std == (0.01, 0.01)


def test_blue_comes_first_in_some_networks_but_red_in_images() -> None:
    rgb = small_model()
    bgr = MaskRCNN(replace(rgb.config, input=replace(rgb.config.input, channel_order="bgr")))
    state = rgb.state_dict()
    bgr.load_state_dict(state | {STEM: state[STEM].flip(1)})
    expected = with_channels(rgb, [0.5] * 4, [0.2] * 4).state_dict()[STEM]
    assert torch.equal(with_channels(bgr, [0.5] * 4, [0.2] * 4).state_dict()[STEM], expected)


@pytest.mark.parametrize("channels", [1, 4])
def test_a_backbone_of_three_channels_in_a_model_of_others(channels: int, tmp_path: Path) -> None:
    source = small_model()
    save_model(source, tmp_path / "three.safetensors")
    model = small_model(mean=(0.5,) * channels, std=(0.2,) * channels)
    load_backbone(model, tmp_path / "three.safetensors")
    expected = adapt_filters(source.state_dict()[STEM], channels)
    assert torch.equal(model.state_dict()[STEM], expected)
    deeper = "backbone.stages.3.1.conv2.conv.weight"
    assert torch.equal(model.state_dict()[deeper], source.state_dict()[deeper])


@pytest.mark.parametrize("format", ["torchvision", "detectron2", "mmdetection"])
def test_formats_of_three_channels_alone_refuse_others(format: str, tmp_path: Path) -> None:
    model = small_model(mean=(0.5,) * 4, std=(0.2,) * 4)
    save_model(model, tmp_path / "four.safetensors")
    with pytest.raises(
        UserError, match=r"four\.safetensors: expected a model of 3 channels for the format .*; it has 4$"
    ) as caught:
        convert(tmp_path / "four.safetensors", tmp_path / "four.pth", format=format)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "four.pth").exists()
