"""torchvision's state_dicts: names both ways, old and new, and files of them."""

from __future__ import annotations

import pickle
import re
from argparse import Namespace
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fastmrcnn.errors import UserError
from fastmrcnn.models import (
    FPNConfig,
    MaskRCNN,
    MaskRCNNConfig,
    torchvision_fasterrcnn_resnet50_fpn,
    torchvision_fasterrcnn_resnet50_fpn_v2,
    torchvision_keypointrcnn_resnet50_fpn,
    torchvision_resnet50_fpn,
    torchvision_resnet50_fpn_v2,
)
from fastmrcnn.weights import from_torchvision, load_model, to_torchvision
from fastmrcnn.weights.coco_classes import COCO_CLASSES
from fastmrcnn.weights.torchvision import torchvision_name
from fastmrcnn.weights.torchvision_config import infer_config
from tests.models.small import small_model

# Each preset, torchvision's builder of the same architecture, and how many tensors its state_dict has with batch
# normalisation.
PRESETS: dict[str, tuple[Callable[..., MaskRCNNConfig], int]] = {
    "maskrcnn_resnet50_fpn": (torchvision_resnet50_fpn, 360),
    "maskrcnn_resnet50_fpn_v2": (torchvision_resnet50_fpn_v2, 432),
    "fasterrcnn_resnet50_fpn": (torchvision_fasterrcnn_resnet50_fpn, 348),
    "fasterrcnn_resnet50_fpn_v2": (torchvision_fasterrcnn_resnet50_fpn_v2, 404),
    "keypointrcnn_resnet50_fpn": (torchvision_keypointrcnn_resnet50_fpn, 366),
}


@pytest.fixture(scope="module")
def resnet18() -> MaskRCNN:
    """The smallest network that torchvision's builder makes."""
    torch.manual_seed(0)
    return MaskRCNN(torchvision_resnet50_fpn(["cat", "dog"], depth=18)).eval()


def with_old_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As torchvision 0.12 wrote them."""
    old = {}
    for name, tensor in state.items():
        name = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        for index in range(4):
            name = name.replace(f"roi_heads.mask_head.{index}.0.", f"roi_heads.mask_head.mask_fcn{index + 1}.")
            for kind in ("inner", "layer"):
                name = name.replace(f"fpn.{kind}_blocks.{index}.0.", f"fpn.{kind}_blocks.{index}.")
        old[name] = tensor
    return old


def assert_same_tensors(model: MaskRCNN, other: MaskRCNN) -> None:
    state, expected = model.state_dict(), other.state_dict()
    assert set(state) == set(expected)
    assert all(torch.equal(value, expected[name]) for name, value in state.items())


def narrow(preset: Callable[..., MaskRCNNConfig], **options: Any) -> MaskRCNNConfig:
    """The preset with the smallest of torchvision's backbones and few channels elsewhere."""
    config = preset(["cat", "dog"], depth=18, **options)
    assert config.box_head is not None
    return replace(
        config,
        fpn=replace(config.fpn, channels=8),
        box_head=replace(config.box_head, hidden=24, **({"channels": 16} if config.box_head.convolutions else {})),
        mask_head=config.mask_head and replace(config.mask_head, channels=16),
        keypoint_head=config.keypoint_head and replace(config.keypoint_head, channels=16),
    )


@pytest.mark.parametrize("old_names", [False, True])
@pytest.mark.parametrize("norm", ["bn", "frozen_bn"])
@pytest.mark.parametrize("name", PRESETS)
def test_there_and_back(name: str, norm: str, old_names: bool) -> None:
    model = MaskRCNN(narrow(PRESETS[name][0], norm=norm)).eval()
    state = to_torchvision(model)
    loaded = from_torchvision(with_old_names(state) if old_names else state, class_names=["cat", "dog"])
    assert loaded.config == model.config
    assert not loaded.training
    assert_same_tensors(loaded, model)
    written = to_torchvision(loaded)
    assert list(written) == list(state)
    assert all(torch.equal(written[key], value) and written[key].dtype == value.dtype for key, value in state.items())


@pytest.mark.parametrize("name", PRESETS)
def test_the_names_and_shapes_of_every_tensor(name: str) -> None:
    preset, count = PRESETS[name]
    with torch.device("meta"):
        own = to_torchvision(MaskRCNN(preset(["person"] if "keypoint" in name else COCO_CLASSES, norm="bn")))
    assert len(own) == count
    detection = pytest.importorskip("torchvision.models.detection", reason="torchvision is the peer")
    with torch.device("meta"):
        theirs = getattr(detection, name)(weights=None, weights_backbone=None).state_dict()
    assert {key: value.shape for key, value in own.items()} == {key: value.shape for key, value in theirs.items()}


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [
        ("resnet34", {"depth": 34}),
        ("resnet101", {"depth": 101}),
        ("resnet152", {"depth": 152}),
        ("resnext101_32x8d", {"depth": 101, "groups": 32, "group_width": 8}),
        ("wide_resnet50_2", {"depth": 50, "group_width": 128}),
    ],
)
def test_other_backbones_are_read_off(backbone: str, expected: dict[str, int]) -> None:
    detection = pytest.importorskip("torchvision.models.detection", reason="torchvision is the peer")
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    with torch.device("meta"):
        theirs = detection.MaskRCNN(resnet_fpn_backbone(backbone_name=backbone, weights=None), num_classes=3)
    config = infer_config(theirs.state_dict(), None, (), 1e-5, "meta")
    assert config.backbone == replace(torchvision_resnet50_fpn(["a"]).backbone, **expected)  # type: ignore[arg-type]
    with torch.device("meta"):
        own = to_torchvision(MaskRCNN(config))
    assert {key: value.shape for key, value in own.items()} == {
        key: value.shape for key, value in theirs.state_dict().items()
    }


def test_names_of_contracts() -> None:
    assert {torchvision_name(name) for name in (
        "backbone.stem.conv1.norm.running_var",
        "backbone.stages.0.1.conv3.norm.bias",
        "fpn.lateral.2.conv.bias",
        "rpn.head.convs.0.weight",
        "roi_heads.box_head.layers.0.linear.weight",
        "roi_heads.box_head.deltas.bias",
        "roi_heads.mask_head.convs.3.conv.weight",
        "roi_heads.mask_head.upsample.weight",
    )} == {
        "backbone.body.bn1.running_var",
        "backbone.body.layer1.1.bn3.bias",
        "backbone.fpn.inner_blocks.2.0.bias",
        "rpn.head.conv.0.0.weight",
        "roi_heads.box_head.fc6.weight",
        "roi_heads.box_predictor.bbox_pred.bias",
        "roi_heads.mask_head.3.0.weight",
        "roi_heads.mask_predictor.conv5_mask.weight",
    }  # fmt: skip
    assert [
        torchvision_name(name, box_convolutions=4)
        for name in (
            "fpn.output.1.norm.running_mean",
            "rpn.head.convs.1.bias",
            "roi_heads.box_head.convs.3.conv.weight",
            "roi_heads.box_head.convs.3.norm.bias",
            "roi_heads.box_head.layers.0.linear.weight",
            "roi_heads.mask_head.convs.0.norm.weight",
        )
    ] == [
        "backbone.fpn.layer_blocks.1.1.running_mean",
        "rpn.head.conv.1.0.bias",
        "roi_heads.box_head.3.0.weight",
        "roi_heads.box_head.3.1.bias",
        "roi_heads.box_head.5.weight",
        "roi_heads.mask_head.0.1.weight",
    ]
    with pytest.raises(ValueError, match=r"expected a tensor that torchvision's models have; got 'transform\.mean'"):
        torchvision_name("transform.mean")


def test_classes_default_to_numbers_or_coco(resnet18: MaskRCNN) -> None:
    assert from_torchvision(to_torchvision(resnet18)).config.class_names == ("class-1", "class-2")
    assert len(COCO_CLASSES) == len(set(COCO_CLASSES)) == 90
    named = {
        1: "person",
        11: "fire hydrant",
        13: "stop sign",
        17: "cat",
        44: "bottle",
        67: "dining table",
        90: "toothbrush",
    }
    assert {label: COCO_CLASSES[label - 1] for label in named} == named
    assert sum(name.startswith("unused") for name in COCO_CLASSES) == 10


def test_the_kind_of_norm_is_read_off(resnet18: MaskRCNN) -> None:
    trained = MaskRCNN(torchvision_resnet50_fpn(["a"], depth=18, norm="bn"))
    assert from_torchvision(to_torchvision(trained)).config.backbone.norm == "bn"
    loaded = from_torchvision(to_torchvision(resnet18), norm_eps=0.0)
    assert loaded.config.backbone.norm == "frozen_bn"
    assert loaded.backbone.stem.conv1.norm.eps == 0.0


def test_files_are_recognised(resnet18: MaskRCNN, tmp_path: Path) -> None:
    plain, nested, legacy = (tmp_path / f"{name}.pth" for name in ("plain", "nested", "legacy"))
    torch.save(to_torchvision(resnet18), plain)
    torch.save({"model": to_torchvision(resnet18), "epoch": 3}, nested)
    torch.save(to_torchvision(resnet18), legacy, _use_new_zipfile_serialization=False)
    for path in (plain, nested, legacy):
        loaded = load_model(path)
        assert_same_tensors(loaded, resnet18)
        assert loaded.config.backbone.norm_eps == 1e-5


@pytest.mark.skipif(not hasattr(torch.serialization, "safe_globals"), reason="torch 2.4 reads tensors alone")
def test_checkpoints_of_torchvisions_recipes(resnet18: MaskRCNN, tmp_path: Path) -> None:
    checkpoint = {
        "model": to_torchvision(resnet18),
        "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.02}]},
        "lr_scheduler": {"milestones": Counter([16, 22])},
        "args": Namespace(dataset="coco", lr=0.02, output_dir=None),
        "epoch": 25,
    }
    torch.save(checkpoint, tmp_path / "model_25.pth")
    assert_same_tensors(load_model(tmp_path / "model_25.pth"), resnet18)
    assert Namespace not in torch.serialization.get_safe_globals()  # this file alone


class Payload:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("this must never be printed",))


def test_pickled_code_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "evil.pth"
    torch.save({"model": Payload()}, path)
    with pytest.raises(
        UserError, match=r"evil\.pth: expected a state_dict of plain tensors; it refers to .*print, refused"
    ):
        load_model(path)
    path.write_bytes(pickle.dumps(Payload(), protocol=2))
    with pytest.raises(UserError, match=r"evil\.pth: "):
        load_model(path)
    assert capsys.readouterr().out == ""


def test_other_files_and_broken_ones_are_refused(resnet18: MaskRCNN, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(torch.nn.Linear(2, 3).state_dict(), path)
    with pytest.raises(UserError, match=r"weights\.pth: expected the weights of fastmrcnn or of torch.*; its 2"):
        load_model(path)
    torch.save(to_torchvision(resnet18), path)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(UserError, match=r"weights\.pth: expected a complete file of torch; it is damaged"):
        load_model(path)


def test_tensors_that_do_not_fit_are_named_as_torchvision_does(resnet18: MaskRCNN) -> None:
    state = to_torchvision(resnet18)
    name = "roi_heads.box_head.fc7.bias"
    with pytest.raises(UserError, match=rf"state_dict: expected a tensor '{name}' \[1024\]; it is missing"):
        from_torchvision({key: value for key, value in state.items() if key != name})
    with pytest.raises(UserError, match=rf"state_dict: expected '{name}' to be \[1024\]; found \[5\]"):
        from_torchvision(state | {name: torch.zeros(5)})
    with pytest.raises(UserError, match=r"expected no tensor 'roi_heads\.depth_head\.0\.weight'"):
        from_torchvision(state | {"roi_heads.depth_head.0.weight": torch.zeros(5)})
    with pytest.raises(UserError, match="expected 2 class_names, as the classifier has; got 1"):
        from_torchvision(state, class_names=["cat"])
    with pytest.raises(UserError, match=r"a tensor 'backbone\.fpn\.inner_blocks\.0\.1\.weight' \[256\]; it is missing"):
        from_torchvision(state | {"backbone.fpn.inner_blocks.0.1.running_mean": torch.zeros(256)})
    with pytest.raises(UserError, match=r"expected batch normalisation; 'backbone\.body\.bn1' has no running mean"):
        from_torchvision({key: value for key, value in state.items() if key != "backbone.body.bn1.running_mean"})
    with pytest.raises(UserError, match="ResNet-18, 34, 50, 101 or 152 backbone; its layer3 has 9 blocks"):
        from_torchvision(state | {"backbone.body.layer3.8.conv1.weight": torch.zeros(5)})
    with pytest.raises(
        UserError, match="state_dict: expected the shapes of a model that can be built: MaskHeadConfig: channels must"
    ):
        from_torchvision(state | {"roi_heads.mask_head.0.0.weight": torch.zeros(0, 256, 3, 3)})
    with pytest.raises(UserError, match="expected a state_dict of torchvision's Mask R-CNN; it begins with none"):
        from_torchvision({})


@pytest.fixture(scope="module")
def state_with_everything() -> dict[str, Tensor]:
    """The second version with a keypoint head beside its masks."""
    keypoint_head = torchvision_keypointrcnn_resnet50_fpn().keypoint_head
    assert keypoint_head is not None
    config = narrow(torchvision_resnet50_fpn_v2)
    return to_torchvision(MaskRCNN(replace(config, keypoint_head=replace(keypoint_head, channels=16))))


# The tensors that the configuration is read off.
TELLING = (
    "backbone.body.conv1.weight",
    "backbone.body.layer1.0.conv2.weight",
    "backbone.fpn.inner_blocks.0.0.weight",
    "backbone.fpn.inner_blocks.0.1.weight",
    "rpn.head.conv.1.0.weight",
    "roi_heads.box_head.0.0.weight",
    "roi_heads.box_head.3.0.weight",
    "roi_heads.box_head.5.weight",
    "roi_heads.mask_head.3.0.weight",
    "roi_heads.mask_predictor.conv5_mask.weight",
    "roi_heads.keypoint_head.14.weight",
    "roi_heads.keypoint_predictor.kps_score_lowres.weight",
)


@pytest.mark.parametrize("name", TELLING)
def test_a_missing_tensor_is_named_whatever_it_tells(name: str, state_with_everything: dict[str, Tensor]) -> None:
    left = {key: value for key, value in state_with_everything.items() if key != name}
    with pytest.raises(UserError, match=rf"^state_dict: expected a tensor '{re.escape(name)}' \[.*\]; it is missing"):
        from_torchvision(left)


@pytest.mark.parametrize("shape", [(), (0,), (3,), (1, 0, 3, 3), (7, 5, 3, 3), (1, 1, 1, 1, 1)])
def test_whatever_shape_a_tensor_has_the_error_is_the_users(
    shape: tuple[int, ...], state_with_everything: dict[str, Tensor]
) -> None:
    for name in (*TELLING, "roi_heads.box_predictor.cls_score.weight"):
        with pytest.raises(UserError, match=r"^state_dict: expected "):
            from_torchvision(state_with_everything | {name: torch.zeros(shape)})


def test_other_backbones_are_refused() -> None:
    detection = pytest.importorskip("torchvision.models.detection", reason="torchvision is the peer")
    with torch.device("meta"):
        theirs = detection.fasterrcnn_mobilenet_v3_large_fpn(weights=None, weights_backbone=None)
    with pytest.raises(UserError, match="expected a ResNet-18, 34, 50, 101 or 152 backbone; its layer3 has 0 blocks"):
        from_torchvision(theirs.state_dict())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": {"norm": "gn"}}, "backbone.norm to be none, bn, sync_bn or frozen_bn, .*; got 'gn'"),
        ({"backbone": {"conv_bias": True}}, "backbone.conv_bias to be False, .*; got True"),
        ({"mask_head": {"norm": "gn"}}, "mask_head.norm to be none, bn, sync_bn or frozen_bn, .*; got 'gn'"),
        ({"rpn": {"objectness": "softmax"}}, "rpn.objectness to be sigmoid, .*; got 'softmax'"),
        ({"rpn": {"channels": 24}}, "rpn.channels to be 8, .*; got 24"),
        ({"box_head": {"fully_connected": 1}}, "box_head.fully_connected to be 2 without convolutions, .*; got 1"),
        ({"box_head": {"fully_connected": 0, "convolutions": 1}}, "box_head.fully_connected to be positive, .*; got 0"),
        ({}, "backbone.width to be 64, .*; got 8"),
        ({"box_head": {"fully_connected_norm": "bn"}}, "box_head.fully_connected_norm to be none, .*; got 'bn'"),
    ],
)
def test_other_architectures_have_no_torchvision_form(changes: dict[str, dict[str, Any]], message: str) -> None:
    with pytest.raises(UserError, match=f"^to_torchvision: expected {message}$"):
        to_torchvision(small_model(**changes))


def test_other_necks_and_proposals_alone_have_no_torchvision_form() -> None:
    with torch.device("meta"):
        config = torchvision_resnet50_fpn(["cat"])
        alone = MaskRCNN(replace(config, box_head=None, mask_head=None))
        anchors = replace(config.rpn.anchors, sizes=((32, 64, 128, 256, 512),))
        c4 = MaskRCNN(replace(config, neck="c4", rpn=replace(config.rpn, anchors=anchors)))
    with pytest.raises(UserError, match="expected box_head to be there, as in torchvision's models; got None"):
        to_torchvision(alone)
    with pytest.raises(UserError, match="expected neck to be fpn, as in torchvision's models; got 'c4'"):
        to_torchvision(c4)


def test_a_pyramid_alone_may_have_norms(resnet18: MaskRCNN) -> None:
    """torchvision's parts can be combined in other ways than its builders do."""
    config = replace(resnet18.config, fpn=FPNConfig(norm="bn"), rpn=replace(resnet18.config.rpn, convolutions=3))
    model = MaskRCNN(config)
    assert from_torchvision(to_torchvision(model), class_names=["cat", "dog"]).config == config


@pytest.mark.parametrize("name", PRESETS)
def test_torchvision_loads_what_we_write(name: str) -> None:
    detection = pytest.importorskip("torchvision.models.detection", reason="torchvision is the peer")
    model = MaskRCNN(PRESETS[name][0]([f"class {index}" for index in range(6)], norm="bn"))
    with torch.device("meta"):
        peer = getattr(detection, name)(weights=None, weights_backbone=None, num_classes=7)
    peer.load_state_dict(to_torchvision(model), assign=True)  # strict: every key, every shape
    assert_same_tensors(from_torchvision(peer.state_dict()), model)


def test_torchvision_loads_frozen_norms_that_we_write() -> None:
    detection = pytest.importorskip("torchvision.models.detection", reason="torchvision is the peer")
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops import FrozenBatchNorm2d

    model = MaskRCNN(torchvision_resnet50_fpn(["cat", "dog"], depth=18))
    backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None, norm_layer=FrozenBatchNorm2d)
    peer = detection.MaskRCNN(backbone, num_classes=3)
    peer.load_state_dict(to_torchvision(model))
    assert_same_tensors(from_torchvision(peer.state_dict()), model)
