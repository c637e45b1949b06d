"""Backbones trained elsewhere: plain ResNets and the backbones of whole detectors, into models that exist."""

from __future__ import annotations

import logging
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fastmrcnn.errors import UserError
from fastmrcnn.models import AnchorConfig, BackboneConfig, MaskRCNN, torchvision_resnet50_fpn
from fastmrcnn.models.resnet import ResNet
from fastmrcnn.weights import backbones as backbones_module
from fastmrcnn.weights import load_backbone, save_model, to_torchvision
from fastmrcnn.weights.backbones import BACKBONES
from fastmrcnn.weights.plain_resnet import caffe2_backbone_name, detectron2_backbone_name, plain_name
from tests.models.small import small_model

FIRST = "layer1.0.conv1.weight"


def plain_state(**options: Any) -> dict[str, Tensor]:
    """The state_dict of a narrow classifier with other weights than :func:`small_model`."""
    torch.manual_seed(5)
    network = ResNet(BackboneConfig(**({"depth": 18, "width": 8, "norm": "bn"} | options)))
    for name, value in network.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            value.uniform_(0.5, 1.5)
    state = {plain_name(name): value for name, value in network.state_dict().items()}
    return state | {"fc.weight": torch.zeros(10, 64), "fc.bias": torch.zeros(10)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "resnet.pth"


def backbone_state(model: MaskRCNN) -> dict[str, Tensor]:
    """The model's backbone under plain names."""
    return {plain_name(name): value for name, value in model.backbone.state_dict().items()}


def assert_holds(model: MaskRCNN, state: dict[str, Tensor]) -> None:
    own = backbone_state(model)
    assert all(torch.equal(value, state[name]) for name, value in own.items())


def test_names_of_a_plain_resnet() -> None:
    assert {plain_name(name) for name in (
        "stem.conv1.conv.weight",
        "stem.conv1.norm.num_batches_tracked",
        "stages.0.0.conv1.conv.weight",
        "stages.3.2.conv3.norm.running_var",
        "stages.1.0.shortcut.conv.weight",
        "stages.1.0.shortcut.norm.bias",
    )} == {
        "conv1.weight",
        "bn1.num_batches_tracked",
        FIRST,
        "layer4.2.bn3.running_var",
        "layer2.0.downsample.0.weight",
        "layer2.0.downsample.1.bias",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "options"),
    [("resnet18", {"depth": 18}), ("resnext101_32x8d", {"depth": 101, "groups": 32, "group_width": 8})],
)
def test_the_names_are_those_of_torchvision(name: str, options: dict[str, Any]) -> None:
    models = pytest.importorskip("torchvision.models", reason="torchvision is the peer")
    with torch.device("meta"):
        theirs = getattr(models, name)(weights=None).state_dict()
        own = ResNet(BackboneConfig(norm="bn", **options)).state_dict()
    shapes = {key: value.shape for key, value in theirs.items() if not key.startswith("fc.")}
    assert {plain_name(key): value.shape for key, value in own.items()} == shapes


def test_the_features_are_those_of_torchvision(path: Path) -> None:
    models = pytest.importorskip("torchvision.models", reason="torchvision is the peer")
    peer = models.resnet18(weights=None).eval()
    torch.save(peer.state_dict(), path)
    model = MaskRCNN(torchvision_resnet50_fpn(["cat"], depth=18)).eval()
    load_backbone(model, path)
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        x = peer.maxpool(peer.relu(peer.bn1(peer.conv1(image))))
        for stage, found in zip(
            (peer.layer1, peer.layer2, peer.layer3, peer.layer4), model.backbone(image), strict=True
        ):
            x = stage(x)
            torch.testing.assert_close(found, x, rtol=1e-5, atol=1e-5)


def as_pth(state: dict[str, Tensor], path: Path) -> None:
    torch.save(state, path)


def as_safetensors(state: dict[str, Tensor], path: Path) -> None:
    save_file(state, path)


def as_checkpoint(state: dict[str, Tensor], path: Path) -> None:
    """As torch's ImageNet example and torchvision's recipe write one after distributed training."""
    torch.save({"epoch": 90, "state_dict": {f"module.{name}": value for name, value in state.items()}}, path)


def as_part_of_something(state: dict[str, Tensor], path: Path) -> None:
    """As self-supervised training writes one, with layers of its own."""
    named = {f"encoder_q.{name}": value for name, value in state.items()}
    torch.save({"state_dict": named | {"queue": torch.zeros(3)}}, path)


@pytest.mark.parametrize("write", [as_pth, as_safetensors, as_checkpoint, as_part_of_something])
def test_files_of_plain_resnets(write: Callable[[dict[str, Tensor], Path], None], path: Path) -> None:
    state = plain_state()
    write(state, path)
    model = small_model()
    rest = {name: value.clone() for name, value in model.state_dict().items() if not name.startswith("backbone.")}
    load_backbone(model, path)
    assert_holds(model, state)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in rest.items())


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ([], "the file holds nothing else"),
        (["fc.weight", "fc.bias"], "left out 2 other tensors: fc.weight, fc.bias"),
        (["a", "b", "c", "d"], "left out 4 other tensors: a, b, c, ..."),
    ],
)
def test_what_is_left_out_is_logged(
    others: list[str], message: str, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = {name: value for name, value in plain_state().items() if not name.startswith("fc.")}
    torch.save(state | {name: torch.zeros(1) for name in others}, path)
    with caplog.at_level(logging.INFO, logger="fastmrcnn"):
        load_backbone(small_model(), path)
    assert caplog.messages == [f"{path}: loaded the backbone; {message}"]


def test_the_backbone_of_a_detector_of_torchvision(path: Path) -> None:
    theirs = MaskRCNN(torchvision_resnet50_fpn(["cat"], depth=18))
    torch.save(to_torchvision(theirs), path)
    model = MaskRCNN(torchvision_resnet50_fpn(["dog", "hen"], depth=18))
    load_backbone(model, path)
    assert_holds(model, backbone_state(theirs))


def test_the_backbone_of_an_own_model(tmp_path: Path) -> None:
    saved = small_model(backbone={"norm": "gn"})
    with torch.no_grad():
        saved.backbone.stem.conv1.conv.weight.fill_(3.0)
    save_model(saved, tmp_path / "model.safetensors")
    model = small_model(backbone={"norm": "gn"}, box_head={"hidden": 24})
    load_backbone(model, tmp_path / "model.safetensors")
    assert_holds(model, backbone_state(saved))


def test_the_backbone_of_a_detector_of_detectron2(path: Path) -> None:
    theirs = small_model(backbone={"depth": 50, "norm": "frozen_bn"})
    own = theirs.backbone.state_dict()
    state = {f"backbone.bottom_up.{detectron2_backbone_name(name)}": value for name, value in own.items()}
    assert {"backbone.bottom_up.stem.conv1.norm.bias", "backbone.bottom_up.res5.0.shortcut.weight"} <= state.keys()
    torch.save({"model": state | {"backbone.fpn_lateral2.weight": torch.zeros(3)}}, path)
    model = small_model(backbone={"depth": 50, "norm": "frozen_bn"}, box_head={"hidden": 24})
    load_backbone(model, path)
    assert_holds(model, backbone_state(theirs))


def test_the_resnets_that_detectron2_starts_from(tmp_path: Path) -> None:
    """They hold scale and shift in the place of a normalisation, and a bias of some 1e-9 that nobody reads."""
    theirs = small_model(backbone={"depth": 50, "norm": "frozen_bn"}).backbone.state_dict()
    blobs = {caffe2_backbone_name(name): value.numpy() for name, value in theirs.items() if "running" not in name}
    assert {"conv1_w", "res_conv1_bn_s", "res2_0_branch1_bn_b", "res5_2_branch2c_w"} <= blobs.keys()
    blobs["res_conv1_bn_s"] = np.linspace(-2, 2, 8, dtype=np.float32)
    blobs |= {"conv1_b": np.full(8, 1e-9, np.float32), "fc1000_w": np.zeros((10, 256), np.float32)}
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps({"blobs": blobs}, protocol=2))
    model = small_model(backbone={"depth": 50, "norm": "frozen_bn"})
    load_backbone(model, tmp_path / "R-50.pkl")
    for name, value in model.backbone.state_dict().items():
        if "running" not in name:
            assert np.array_equal(value.numpy(), blobs[caffe2_backbone_name(name)]), name
    x = torch.randn(1, 8, 4, 4)
    scaled = x * torch.as_tensor(blobs["res_conv1_bn_s"])[:, None, None]
    torch.testing.assert_close(model.backbone.stem.conv1.norm(x), scaled, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("norm", ["frozen_bn", "sync_bn"])
def test_norms_that_count_batches_and_such_that_do_not(norm: str, path: Path) -> None:
    state = plain_state()
    for name in list(state):
        if norm != "frozen_bn" and name.endswith("num_batches_tracked"):
            del state[name]
    torch.save(state, path)
    model = small_model(backbone={"norm": norm})
    load_backbone(model, path)
    own = backbone_state(model)
    assert all(torch.equal(value, state[name]) for name, value in own.items() if name in state)
    assert {name.rpartition(".")[2] for name in own.keys() - state.keys()} <= {"num_batches_tracked"}


def test_stage_5_of_a_c4_model_is_in_its_heads(path: Path) -> None:
    state = plain_state()
    torch.save(state, path)
    model = small_model(neck="c4", rpn={"anchors": AnchorConfig(sizes=((16, 32, 64),))})
    load_backbone(model, path)
    assert model.roi_heads is not None
    assert model.roi_heads.res5 is not None
    own = {plain_name(f"stages.3.{name}"): value for name, value in model.roi_heads.res5.state_dict().items()}
    assert len(own) > 10
    assert all(torch.equal(value, state[name]) for name, value in own.items())


def missing(state: dict[str, Tensor]) -> None:
    del state["layer3.1.bn2.running_var"]


def extra(state: dict[str, Tensor]) -> None:
    state["layer1.0.se.fc1.weight"] = torch.zeros(4)


def deep_stem(state: dict[str, Tensor]) -> None:
    state["conv1.0.weight"] = state.pop("conv1.weight")


def wider(state: dict[str, Tensor]) -> None:
    state["layer4.1.conv2.weight"] = torch.zeros(128, 64, 3, 3)


def doubled(state: dict[str, Tensor]) -> None:
    state.update({f"teacher.{name}": value for name, value in list(state.items())})


def foreign(state: dict[str, Tensor]) -> None:
    state.clear()
    state["features.0.weight"] = torch.zeros(3)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (missing, r"expected a tensor 'layer3\.1\.bn2\.running_var' \[32\]; it is missing \(1 in all\)"),
        (extra, r"expected no tensor 'layer1\.0\.se\.fc1\.weight', .*; found \[4\] \(1 in all\)"),
        (deep_stem, r"expected a tensor 'conv1\.weight' \[8, 3, 7, 7\]; it is missing \(1 in all\)"),
        (wider, r"expected 'layer4\.1\.conv2\.weight' to be \[64, 64, 3, 3\]; found \[128, 64, 3, 3\]"),
        (doubled, r"expected one ResNet; found 2, whose names begin with '' and 'teacher\.'"),
        (
            foreign,
            rf"expected a ResNet or ResNeXt, with a tensor '{re.escape(FIRST)}'; it begins with features\.0\.w.*",
        ),
    ],
)
def test_what_does_not_fit_is_named_and_changes_nothing(
    damage: Callable[[dict[str, Tensor]], None], message: str, path: Path
) -> None:
    state = plain_state()
    damage(state)
    torch.save(state, path)
    model = small_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}: {message}$"):
        load_backbone(model, path)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


def test_group_normalisation_has_32_groups_elsewhere(path: Path) -> None:
    state = plain_state(norm="gn32", width=32)
    torch.save(state, path)
    with pytest.raises(UserError, match=r"expected a model with .* 32 groups \(gn32\), .*; the norm of .* is 'gn'$"):
        load_backbone(small_model(backbone={"norm": "gn", "width": 32}), path)
    model = small_model(backbone={"norm": "gn32", "width": 32})
    load_backbone(model, path)
    assert_holds(model, state)
    torch.save(plain_state(width=32), path)
    with pytest.raises(UserError, match=r"expected no tensor 'bn1\.running_mean'"):
        load_backbone(model, path)


def test_names_of_published_backbones(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(plain_state(), path)
    asked = []

    def fetched(url: str, *, checksum: str) -> Path:
        asked.append((url, checksum))
        return path

    monkeypatch.setattr(backbones_module, "fetch", fetched)
    load_backbone(small_model(), "torchvision/resnet50")
    assert asked == [("https://download.pytorch.org/models/resnet50-0676ba61.pth", "sha256:0676ba61")]
    load_backbone(small_model(), "detectron2/R-50")
    assert asked[1:] == [("https://dl.fbaipublicfiles.com/detectron2/ImageNetPretrained/MSRA/R-50.pkl", "")]
    with pytest.raises(UserError, match=r"expected a weights file or the name of a backbone \(torchvision/resnet18, "):
        load_backbone(small_model(), "torchvision/resnet51")


def test_the_published_files_are_torchvisions() -> None:
    models = pytest.importorskip("torchvision.models", reason="torchvision is the peer")
    for name, url in BACKBONES.items():
        if not name.startswith("torchvision/"):
            continue
        builder, _, version = name.removeprefix("torchvision/").partition("_imagenet1k_")
        weights = models.get_model_weights(builder)
        assert url == weights[f"IMAGENET1K_{version.upper() or 'V1'}"].url
