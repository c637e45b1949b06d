"""Configurations check themselves and survive JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from fastmrcnn.models import (
    AnchorConfig,
    BackboneConfig,
    BoxHeadConfig,
    FPNConfig,
    InputConfig,
    KeypointHeadConfig,
    MaskHeadConfig,
    MaskRCNNConfig,
    PoolerConfig,
    RPNConfig,
    maskrcnn_resnet18_fpn,
    maskrcnn_resnet34_fpn,
    maskrcnn_resnet50_c4,
    maskrcnn_resnet50_fpn,
    maskrcnn_resnet101_fpn,
    maskrcnn_resnext50_32x4d_fpn,
    tiny,
    torchvision_resnet50_fpn,
)
from tests.models.small import small_config

INFINITE = float("inf")
PRESETS = [
    maskrcnn_resnet18_fpn,
    maskrcnn_resnet34_fpn,
    maskrcnn_resnet50_fpn,
    maskrcnn_resnet101_fpn,
    maskrcnn_resnet50_c4,
    maskrcnn_resnext50_32x4d_fpn,
    torchvision_resnet50_fpn,
    tiny,
]


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_survive_json(preset: Callable[..., MaskRCNNConfig]) -> None:
    config = preset(["cat", "dog"], [17, 18])
    assert MaskRCNNConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config.class_names == ("cat", "dog")
    assert config.category_ids == (17, 18)


def test_category_ids_default_to_positions() -> None:
    assert MaskRCNNConfig(class_names=("a", "b", "c")).category_ids == (1, 2, 3)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: InputConfig(min_size=0), "InputConfig: min_size must be positive; got 0"),
        (lambda: InputConfig(min_size=500, max_size=400), "InputConfig: max_size must be >= min_size 500; got 400"),
        (lambda: InputConfig(train_min_sizes=(99, 9999)), "train_min_sizes must lie in 1..1333; got (99, 9999)"),
        (lambda: BackboneConfig(depth=20), "BackboneConfig: depth must be 18, 34, 50, 101 or 152; got 20"),  # type: ignore[arg-type]
        (lambda: BackboneConfig(norm="none"), "norm must be frozen_bn, bn, sync_bn, gn or gn32; got 'none'"),
        (lambda: BackboneConfig(width=30), "width must be a positive multiple of 8; got 30"),
        (lambda: BackboneConfig(frozen_stages=6), "frozen_stages must lie in 0..5; got 6"),
        (
            lambda: FPNConfig(norm="gn32", channels=48),
            "channels must leave a multiple of 32 channels for the norm gn32; got 48",
        ),
        (lambda: FPNConfig(norm="ln"), "FPNConfig: norm must be none, frozen_bn, bn, sync_bn, gn or gn32; got 'ln'"),  # type: ignore[arg-type]
        (
            lambda: small_config(neck="c5"),
            "MaskRCNNConfig: rpn.anchors.sizes must name 1 levels with c5; got ((16,), (32,",
        ),
        (lambda: small_config(box_head=None), "MaskRCNNConfig: mask_head and keypoint_head need a box_head; got None"),
        (lambda: AnchorConfig(aspect_ratios=()), "aspect_ratios must name at least one; got ()"),
        (lambda: RPNConfig(nms_iou=1.5), "RPNConfig: nms_iou must lie in 0..1; got 1.5"),
        (lambda: RPNConfig(foreground_iou=0.2), "background_iou must be <= foreground_iou 0.2; got 0.3"),
        (lambda: RPNConfig(ignore_overlap=0.0), "RPNConfig: ignore_overlap must lie in (0, 1] or be None; got 0.0"),
        (lambda: BoxHeadConfig(ignore_overlap=1.1), "ignore_overlap must lie in (0, 1] or be None; got 1.1"),
        (lambda: AnchorConfig(aspect_ratios=(1.0, INFINITE)), "AnchorConfig: aspect_ratios must be finite; got inf"),
        (lambda: InputConfig(std=(1.0, 1.0, float("nan"))), "InputConfig: std must be positive; got nan"),
        (lambda: InputConfig(mean=(0.0, INFINITE, 0.0)), "InputConfig: mean must be finite; got (0.0, inf, 0.0)"),
        (lambda: BoxHeadConfig(box_weights=(1.0, 1.0, 1.0, INFINITE)), "box_weights must be finite; got inf"),
        (lambda: MaskHeadConfig(convolutions=-1), "MaskHeadConfig: convolutions must be >= 0; got -1"),
        (lambda: BoxHeadConfig(fully_connected=10**9), "fully_connected must be <= 1000; got 1000000000"),
        (lambda: RPNConfig(convolutions=0), "RPNConfig: convolutions must be positive; got 0"),
        (lambda: KeypointHeadConfig(convolutions=0), "KeypointHeadConfig: convolutions must be positive; got 0"),
        (lambda: RPNConfig(samples=0), "RPNConfig: samples must be positive; got 0"),
        (lambda: PoolerConfig(sampling_ratio=-1), "sampling_ratio must be >= 0 (0: adaptive); got -1"),
        (lambda: PoolerConfig(level_rule="mine"), "level_rule must be torchvision or detectron2; got 'mine'"),  # type: ignore[arg-type]
        (lambda: BoxHeadConfig(hidden=0), "BoxHeadConfig: hidden must be positive; got 0"),
        (lambda: BoxHeadConfig(score_threshold=float("nan")), "score_threshold must lie in 0..1; got nan"),
        (lambda: MaskHeadConfig(paste="soft"), "paste must be exact, torchvision or skimage; got 'soft'"),  # type: ignore[arg-type]
        (lambda: MaskRCNNConfig(class_names=()), "class_names must name at least one class; got ()"),
        (lambda: MaskRCNNConfig(class_names=("a", "a")), "class_names must differ; got ('a', 'a')"),
        (lambda: MaskRCNNConfig(("a", "b"), (1,)), "category_ids must match the 2 class_names; got (1,)"),
        (lambda: MaskRCNNConfig(("a", "b"), (1, 1)), "category_ids must differ; got (1, 1)"),
    ],
)
def test_impossible_values_are_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        build()
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "MaskRCNNConfig: missing field 'class_names'"),
        ({"class_names": "cat"}, "MaskRCNNConfig.class_names must be a list; got 'cat'"),
        ({"class_names": [1]}, "MaskRCNNConfig.class_names must be a string; got [1]"),
        ({"class_names": ["a"], "layers": 3}, "MaskRCNNConfig: unknown field 'layers'; expected class_names, "),
        ({"class_names": ["a"], "fpn": 3}, "FPNConfig: expected a mapping of fields; got 3"),
        ({"class_names": ["a"], "fpn": {"channels": "8"}}, "FPNConfig.channels must be a whole number; got '8'"),
        ({"class_names": ["a"], "input": {"mean": 0.5}}, "InputConfig.mean must be a list; got 0.5"),
        (
            {"class_names": ["a"], "rpn": {"box_weights": [0.5]}},
            "RPNConfig.box_weights must be a list of 4 values; got [0.5]",
        ),
        (
            {"class_names": ["a"], "backbone": {"depth": 19}},
            "BackboneConfig.depth must be one of 18, 34, 50, 101, 152; got 19",
        ),
        ({"class_names": ["a"], "rpn": {"nms_iou": 2}}, "RPNConfig: nms_iou must lie in 0..1; got 2.0"),
    ],
)
def test_from_dict_names_the_wrong_field(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        MaskRCNNConfig.from_dict(values)
    assert message in str(raised.value)


def test_configurations_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny(["a"]).class_names = ("b",)  # type: ignore[misc]


@pytest.mark.parametrize("preset", [tiny, torchvision_resnet50_fpn, maskrcnn_resnet50_fpn, MaskRCNNConfig])
@pytest.mark.parametrize("names", ["coin", [1, 2]])
def test_one_string_is_no_list_of_classes(preset: Callable[..., MaskRCNNConfig], names: Any) -> None:
    with pytest.raises(ValueError, match="class_names must be a sequence of strings; got"):
        preset(names)
