"""Shapes, normalisations and sizes of the backbone and the pyramid."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fastmrcnn.models import (
    BackboneConfig,
    FPNConfig,
    MaskRCNN,
    maskrcnn_resnet50_fpn,
    tiny,
    torchvision_resnet50_fpn,
)
from fastmrcnn.models.blocks import make_norm
from fastmrcnn.models.fpn import FPN
from fastmrcnn.models.resnet import ResNet


@pytest.mark.parametrize("depth", [18, 34, 50, 101])
def test_strides_and_channels(depth: int) -> None:
    config = BackboneConfig(depth=depth, width=8, norm="bn")  # type: ignore[arg-type]
    features = ResNet(config)(torch.randn(2, 3, 70, 96))
    expansion = 4 if depth >= 50 else 1
    channels = [8 * expansion * factor for factor in (1, 2, 4, 8)]
    sizes = [(18, 24), (9, 12), (5, 6), (3, 3)]  # each stride rounds up
    assert [tuple(feature.shape) for feature in features] == [(2, c, *s) for c, s in zip(channels, sizes, strict=True)]
    pyramid = FPN(config.stage_channels, FPNConfig(channels=8))(features)
    assert [tuple(level.shape) for level in pyramid] == [(2, 8, *size) for size in [*sizes, (2, 2)]]


@pytest.mark.parametrize("norm", ["frozen_bn", "bn", "gn"])
def test_norms(norm: str) -> None:
    backbone = ResNet(BackboneConfig(depth=18, width=8, norm=norm)).train()  # type: ignore[arg-type]
    features = backbone(torch.randn(2, 3, 64, 64))
    assert all(feature.isfinite().all() for feature in features)
    kinds = {type(module).__name__ for module in backbone.modules() if "Norm" in type(module).__name__} - {"ConvNorm"}
    assert kinds == {{"frozen_bn": "FrozenBatchNorm2d", "bn": "BatchNorm2d", "gn": "GroupNorm"}[norm]}


@pytest.mark.parametrize(("channels", "groups"), [(8, 1), (16, 2), (64, 8), (256, 32), (2048, 32), (40, 5), (2056, 1)])
def test_group_norm_divides_the_channels(channels: int, groups: int) -> None:
    norm = make_norm("gn", channels)
    assert isinstance(norm, nn.GroupNorm)
    assert norm.num_groups == groups


def test_frozen_stages_receive_no_gradient() -> None:
    backbone = ResNet(BackboneConfig(depth=18, width=8, norm="bn", frozen_stages=2))
    trained = {".".join(name.split(".")[:2]) for name, p in backbone.named_parameters() if p.requires_grad}
    assert trained == {"stages.1", "stages.2", "stages.3"}
    assert not any(p.requires_grad for p in [*backbone.stem.parameters(), *backbone.stages[0].parameters()])


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_sizes_of_the_presets() -> None:
    names = [f"class {index}" for index in range(90)]
    published = 44_401_393  # by torchvision, for its 91 outputs; the frozen norms are no parameters
    assert parameters(MaskRCNN(torchvision_resnet50_fpn(names))) == published
    assert parameters(MaskRCNN(maskrcnn_resnet50_fpn(names))) == published + 53_120  # with the norms of ResNet-50
    assert parameters(MaskRCNN(tiny(names[:8]))) < 3_900_000
