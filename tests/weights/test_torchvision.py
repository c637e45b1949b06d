"""torchvision's state_dicts: names both ways, old and new, and files of them."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNN, maskrcnn_resnet50_fpn, torchvision_resnet50_fpn
from fastmrcnn.weights import from_torchvision, load_model, to_torchvision
from fastmrcnn.weights.coco_classes import COCO_CLASSES
from fastmrcnn.weights.torchvision import torchvision_name
from tests.models.small import small_model


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


@pytest.mark.parametrize("old_names", [False, True])
def test_there_and_back(resnet18: MaskRCNN, old_names: bool) -> None:
    state = to_torchvision(resnet18)
    loaded = from_torchvision(with_old_names(state) if old_names else state, class_names=["cat", "dog"])
    assert loaded.config == resnet18.config
    assert not loaded.training
    assert_same_tensors(loaded, resnet18)


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
    with pytest.raises(ValueError, match=r"expected a tensor that torchvision's Mask R-CNN has; got 'transform\.mean'"):
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


class Payload:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("this must never be printed",))


def test_pickled_code_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "evil.pth"
    torch.save({"model": Payload()}, path)
    with pytest.raises(UserError, match=r"evil\.pth: expected a state_dict of plain tensors; it cannot be read: "):
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
    with pytest.raises(UserError, match=r"weights\.pth: expected a state_dict of plain tensors; it cannot be read: "):
        load_model(path)


def test_tensors_that_do_not_fit_are_named_as_torchvision_does(resnet18: MaskRCNN) -> None:
    state = to_torchvision(resnet18)
    name = "roi_heads.box_head.fc7.bias"
    with pytest.raises(UserError, match=rf"state_dict: expected a tensor '{name}' \[1024\]; it is missing"):
        from_torchvision({key: value for key, value in state.items() if key != name})
    with pytest.raises(UserError, match=rf"state_dict: expected '{name}' to be \[1024\]; found \[5\]"):
        from_torchvision(state | {name: torch.zeros(5)})
    with pytest.raises(UserError, match=r"expected no tensor 'roi_heads\.keypoint_head\.0\.weight'"):
        from_torchvision(state | {"roi_heads.keypoint_head.0.weight": torch.zeros(5)})
    with pytest.raises(UserError, match="expected 2 class_names, as the classifier has; got 1"):
        from_torchvision(state, class_names=["cat"])
    with pytest.raises(
        UserError, match="expected torchvision's maskrcnn_resnet50_fpn; the _v2 variant is not supported yet"
    ):
        from_torchvision(state | {"backbone.fpn.inner_blocks.0.1.weight": torch.zeros(5)})
    with pytest.raises(UserError, match="expected a state_dict of torchvision's Mask R-CNN; it begins with none"):
        from_torchvision({})


def test_other_architectures_have_no_torchvision_form() -> None:
    with pytest.raises(UserError, match="to_torchvision: expected the layers of torchvision's maskrcnn_resnet50_fpn"):
        to_torchvision(small_model(backbone={"norm": "gn"}))


@pytest.mark.parametrize("norm", ["bn", "frozen_bn"])
def test_torchvision_loads_what_we_write(norm: str) -> None:
    detection = pytest.importorskip("torchvision.models.detection", reason="torchvision is the peer")
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops import FrozenBatchNorm2d

    names = [f"class {index}" for index in range(6)]
    if norm == "bn":
        peer = detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=7)
    else:
        backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d)
        peer = detection.MaskRCNN(backbone, num_classes=7)
    model = MaskRCNN(maskrcnn_resnet50_fpn(names, norm=norm))  # type: ignore[arg-type]
    peer.load_state_dict(to_torchvision(model))  # strict: every key, every shape
    assert_same_tensors(from_torchvision(peer.state_dict()), model)
