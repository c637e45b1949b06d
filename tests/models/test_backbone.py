"""Shapes, normalisations and sizes of the backbone and the pyramid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from fastmrcnn.models import (
    BackboneConfig,
    FPNConfig,
    MaskRCNN,
    MaskRCNNConfig,
    maskrcnn_resnet50_fpn,
    tiny,
    torchvision_resnet50_fpn,
)
from fastmrcnn.models.blocks import make_norm
from fastmrcnn.models.fpn import FPN
from fastmrcnn.models.resnet import ResNet
from tests.models.architectures import on_stage_4, with_pyramid
from tests.models.small import images_of, target_of


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_strides_and_channels(depth: int) -> None:
    config = BackboneConfig(depth=depth, width=8, norm="bn")  # type: ignore[arg-type]
    features = ResNet(config)(torch.randn(2, 3, 70, 96))
    expansion = 4 if depth >= 50 else 1
    channels = [8 * expansion * factor for factor in (1, 2, 4, 8)]
    sizes = [(18, 24), (9, 12), (5, 6), (3, 3)]  # each stride rounds up
    assert [tuple(feature.shape) for feature in features] == [(2, c, *s) for c, s in zip(channels, sizes, strict=True)]
    pyramid = FPN(config.stage_channels, FPNConfig(channels=8))(features)
    assert [tuple(level.shape) for level in pyramid] == [(2, 8, *size) for size in [*sizes, (2, 2)]]


def test_the_dilated_stage_keeps_the_resolution() -> None:
    config = BackboneConfig(depth=50, width=8, norm="bn", dilated=True)
    features = ResNet(config)(torch.randn(1, 3, 64, 96))
    assert [tuple(feature.shape[-2:]) for feature in features] == [(16, 24), (8, 12), (4, 6), (4, 6)]
    assert config.stage_strides == (4, 8, 16, 16)


def test_stages_that_are_not_built() -> None:
    assert len(ResNet(BackboneConfig(depth=18, width=8, norm="bn"), stages=3)(torch.randn(1, 3, 32, 32))) == 3


def test_where_bottlenecks_stride() -> None:
    for in_1x1, strides in ((False, [1, 2, 1]), (True, [2, 1, 1])):
        block = ResNet(BackboneConfig(depth=50, width=8, norm="bn", stride_in_1x1=in_1x1)).stages[1][0]
        assert [conv.conv.stride[0] for conv in (block.conv1, block.conv2, block.conv3)] == strides
        assert block.shortcut.conv.stride == (2, 2)


def test_the_pool_of_tensorflow() -> None:
    """SAME: of 6 pixels, windows of 3 begin at 0, 2 and 4, and the last one loses its third pixel."""
    stem = ResNet(BackboneConfig(depth=18, width=8, norm="bn", pool_padding="same"), stages=0).stem
    stem.conv1.forward = lambda images, relu: images  # type: ignore[assignment]
    x = torch.tensor([9.0, 1, 2, 8, 1, 7]).repeat(1, 8, 6, 1)
    assert stem(x)[0, 0, 0].tolist() == [9, 8, 7]


@pytest.mark.parametrize(
    ("depth", "options", "theirs"),
    [
        (34, {}, "resnet34"),
        (50, {}, "resnet50"),
        (50, {"groups": 32, "group_width": 4}, "resnext50_32x4d"),
        (50, {"groups": 1, "group_width": 128}, "wide_resnet50_2"),
    ],
)
def test_the_peers_backbones(depth: int, options: dict[str, int], theirs: str) -> None:
    models = pytest.importorskip("torchvision.models", reason="compares with torchvision")
    torch.manual_seed(0)
    peer = getattr(models, theirs)(weights=None).eval()
    own = ResNet(BackboneConfig(depth=depth, norm="bn", **options)).eval()  # type: ignore[arg-type]
    values = [value for name, value in peer.state_dict().items() if not name.startswith("fc.")]
    own.load_state_dict(dict(zip(own.state_dict(), values, strict=True)))  # the layers come in the same order
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        x = peer.maxpool(peer.relu(peer.bn1(peer.conv1(image))))
        for stage, found in zip((peer.layer1, peer.layer2, peer.layer3, peer.layer4), own(image), strict=True):
            x = stage(x)
            torch.testing.assert_close(found, x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("depth", "options", "theirs"),
    [(152, {}, "resnet152"), (101, {"groups": 32, "group_width": 8}, "resnext101_32x8d")],
)
def test_the_shapes_of_large_backbones(depth: int, options: dict[str, int], theirs: str) -> None:
    models = pytest.importorskip("torchvision.models", reason="compares with torchvision")
    with torch.device("meta"):
        peer = getattr(models, theirs)(weights=None).state_dict()
        own = ResNet(BackboneConfig(depth=depth, norm="bn", **options)).state_dict()  # type: ignore[arg-type]
    expected = [value.shape for name, value in peer.items() if not name.startswith("fc.")]
    assert [value.shape for value in own.values()] == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 20}, "depth must be 18, 34, 50, 101 or 152; got 20"),
        ({"norm": "none"}, "norm must be frozen_bn, bn, sync_bn, gn or gn32; got 'none'"),
        (
            {"depth": 18, "dilated": True},
            "groups, stride_in_1x1 and dilated need bottlenecks, depth 50 or more; got 18",
        ),
        ({"groups": 8, "group_width": 4, "width": 8}, "group_width must leave groups of one channel or more; got 4"),
        ({"pool_padding": "valid"}, "pool_padding must be symmetric or same; got 'valid'"),
    ],
)
def test_what_makes_no_backbone(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^BackboneConfig: {message}$"):
        BackboneConfig(**options)  # type: ignore[arg-type]


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


@pytest.mark.parametrize("make", [with_pyramid, on_stage_4])
@pytest.mark.parametrize("called", [True, False])
def test_frozen_statistics_stay(make: Callable[[], MaskRCNNConfig], called: bool) -> None:
    """From the first step on, whether or not anybody calls ``train``, and in stage 5 of a C4 model's heads too."""
    config = make()
    model = MaskRCNN(replace(config, backbone=replace(config.backbone, frozen_statistics=True)))
    if called:
        model = model.eval().train()
    before = {name: value.clone() for name, value in model.state_dict().items() if "running" in name}
    assert any(name.startswith("roi_heads.res5.") for name in before) == (config.neck == "c4")
    images = images_of((64, 64))
    sum(model(images, [target_of(images[0], [[8, 8, 40, 40]], [1])]).values()).backward()
    for name, value in before.items():
        assert torch.equal(model.state_dict()[name], value), name
    assert model.training
    assert model.backbone.training
