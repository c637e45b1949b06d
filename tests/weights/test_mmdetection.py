"""Files of mmdetection: every tensor finds its place and goes back, and the numbers are those of plain numpy."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastmrcnn import load_model
from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNN, maskrcnn_resnet18_fpn, mmdetection_rcnn, torchvision_resnet50_fpn
from fastmrcnn.weights import from_mmdetection, to_mmdetection
from fastmrcnn.weights.containers import read_content
from fastmrcnn.weights.convert import convert
from tests.models.test_resampling import fixed_point_plainly
from tests.weights import detectron2_numpy as reference
from tests.weights.detectron2_files import Kind, random_state, shapes
from tests.weights.test_detectron2_numbers import (
    DETECTIONS,
    MAX_SIZE,
    MIN_SIZE,
    PROPOSALS,
    assert_same,
    blocky_image,
    limited,
)

# The layers are those of detectron2's pyramids with batch normalisation; here are their names in mmdetection.
THEIR_NAMES = [
    (r"^backbone\.bottom_up\.stem\.conv1\.norm", "backbone.bn1"),
    (r"^backbone\.bottom_up\.stem\.conv1", "backbone.conv1"),
    *((rf"^backbone\.bottom_up\.res{stage}", f"backbone.layer{stage - 1}") for stage in (2, 3, 4, 5)),
    (r"shortcut\.norm", "downsample.1"),
    (r"shortcut", "downsample.0"),
    (r"\.conv(\d)\.norm", r".bn\1"),
    *((rf"^backbone\.fpn_lateral{stage}", f"neck.lateral_convs.{stage - 2}.conv") for stage in (2, 3, 4, 5)),
    *((rf"^backbone\.fpn_output{stage}", f"neck.fpn_convs.{stage - 2}.conv") for stage in (2, 3, 4, 5)),
    (r"^proposal_generator\.rpn_head\.conv", "rpn_head.rpn_conv"),
    (r"^proposal_generator\.rpn_head\.objectness_logits", "rpn_head.rpn_cls"),
    (r"^proposal_generator\.rpn_head\.anchor_deltas", "rpn_head.rpn_reg"),
    (r"^roi_heads\.box_head\.fc1", "roi_head.bbox_head.shared_fcs.0"),
    (r"^roi_heads\.box_head\.fc2", "roi_head.bbox_head.shared_fcs.1"),
    (r"^roi_heads\.box_predictor\.cls_score", "roi_head.bbox_head.fc_cls"),
    (r"^roi_heads\.box_predictor\.bbox_pred", "roi_head.bbox_head.fc_reg"),
    *((rf"^roi_heads\.mask_head\.mask_fcn{i + 1}", f"roi_head.mask_head.convs.{i}.conv") for i in range(4)),
    (r"^roi_heads\.mask_head\.deconv", "roi_head.mask_head.upsample"),
    (r"^roi_heads\.mask_head\.predictor", "roi_head.mask_head.conv_logits"),
]
NARROW = {"width": 8, "channels": 16, "hidden": 32, "classes": 5}
ZOO: dict[str, tuple[Kind, dict[str, Any]]] = {
    "mask_rcnn_r50_fpn": (Kind(), {}),
    "faster_rcnn_r50_fpn": (Kind(masks=False), {"masks": False}),
    "mask_rcnn_r101_fpn": (Kind(depth=101), {"depth": 101}),
    "mask_rcnn_x101_32x4d_fpn": (
        Kind(depth=101, groups=32, group_width=4),
        {"depth": 101, "groups": 32, "group_width": 4},
    ),
    "mask_rcnn_x101_32x8d_fpn": (
        Kind(depth=101, groups=32, group_width=8),
        {"depth": 101, "groups": 32, "group_width": 8, "style": "caffe2"},
    ),
}


def their_name(name: str) -> str:
    for pattern, replacement in THEIR_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def their_shapes(kind: Kind) -> dict[str, tuple[int, ...]]:
    theirs = {their_name(name): shape for name, shape in shapes(kind).items()}
    for name in list(theirs):  # batch normalisation that counts its batches
        if name.endswith("running_var"):
            theirs[name.replace("running_var", "num_batches_tracked")] = ()
    return theirs


def tensors_of(kind: Kind) -> dict[str, Tensor]:
    values = {their_name(name): torch.from_numpy(array) for name, array in random_state(kind).items()}
    return {name: values.get(name, torch.tensor(7)) for name in their_shapes(kind)}


@pytest.mark.parametrize("name", ZOO)
def test_every_tensor_of_the_zoo_has_its_place(name: str) -> None:
    kind, choices = ZOO[name]
    state = {
        key: torch.zeros((), dtype=torch.float32 if shape else torch.int64).expand(shape)
        for key, shape in their_shapes(kind).items()
    }
    model = from_mmdetection(state)
    assert model.config == mmdetection_rcnn(model.config.class_names, model.config.category_ids, **choices)
    assert {key: tuple(tensor.shape) for key, tensor in to_mmdetection(model).items()} == their_shapes(kind)
    assert (model.config.class_names[79], model.config.category_ids[79]) == ("toothbrush", 90)


def test_names_as_they_stand_in_a_file() -> None:
    """Written down by hand, against a mistake in the table above."""
    names = their_shapes(Kind())
    assert len(names) == 307 + 53
    for name in (
        "backbone.conv1.weight",
        "backbone.bn1.running_mean",
        "backbone.layer1.0.downsample.0.weight",
        "backbone.layer4.2.bn3.num_batches_tracked",
        "neck.lateral_convs.3.conv.bias",
        "neck.fpn_convs.0.conv.weight",
        "rpn_head.rpn_cls.bias",
        "roi_head.bbox_head.shared_fcs.1.weight",
        "roi_head.mask_head.convs.3.conv.weight",
        "roi_head.mask_head.conv_logits.bias",
    ):
        assert name in names


@pytest.mark.parametrize("kind", [Kind(**NARROW), Kind(masks=False, agnostic=True, **NARROW)], ids=["mask", "faster"])
def test_there_and_back_keeps_every_bit(kind: Kind, tmp_path: Path) -> None:
    state = tensors_of(kind)
    torch.save({"meta": {"epoch": 12, "CLASSES": ("a",)}, "state_dict": state}, tmp_path / "epoch_12.pth")
    own, back = tmp_path / "own.safetensors", tmp_path / "back.pth"
    convert(tmp_path / "epoch_12.pth", own, class_names=["a", "b", "c", "d", "e"])
    assert load_model(own).config.class_names == ("a", "b", "c", "d", "e")
    assert convert(own, back, format="mmdetection").differences == []
    again = read_content(back).tensors
    assert again.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(again[name], tensor), name


@pytest.mark.parametrize("style", ["pytorch", "caffe"])
@torch.inference_mode()
def test_detections(style: Any) -> None:
    kind = Kind(**NARROW)
    state = random_state(kind)
    if style == "pytorch":  # sees pixels divided by their deviation
        state["backbone.bottom_up.stem.conv1.weight"] = state["backbone.bottom_up.stem.conv1.weight"] * 60
    tensors = {their_name(name): torch.from_numpy(array) for name, array in state.items()}
    tensors = {name: tensors.get(name, torch.tensor(7)) for name in their_shapes(kind)}
    model = from_mmdetection(tensors, style=style)
    config = limited(model.config)
    limited_model = MaskRCNN(config).eval()
    limited_model.load_state_dict(model.state_dict())
    image = blocky_image(53, 81)
    pixels = fixed_point_plainly(image, (128, 196)).astype(np.float64)
    mean, std = np.float32([123.675, 116.28, 103.53]), np.float32([58.395, 57.12, 57.375])
    if style == "caffe":
        pixels, mean, std = pixels[:, :, ::-1], mean[::-1], np.ones(3, np.float32)
    pixels = (pixels - mean.astype(np.float64)) / std.astype(np.float64)
    settings = reference.Settings(
        stride_in_1x1=style == "caffe",
        min_size=MIN_SIZE,
        max_size=MAX_SIZE,
        pre_nms=config.rpn.pre_nms_test,
        post_nms=PROPOSALS,
        detections=DETECTIONS,
    )
    expected = reference.detect(state, image, settings, pixels=pixels.transpose(2, 0, 1))
    [found] = limited_model.double()([torch.from_numpy(image.copy()).permute(2, 0, 1)])
    assert_same(found, expected, kind=kind)


def test_statistics_stay_in_training() -> None:
    model = from_mmdetection(tensors_of(Kind(**NARROW))).train()
    assert model.training
    before = {name: tensor.clone() for name, tensor in model.backbone.state_dict().items() if "running" in name}
    norm = model.backbone.stages[2][0].conv1.norm  # type: ignore[index,union-attr]
    assert not norm.training
    model.backbone(torch.randn(1, 3, 64, 64))
    assert all(torch.equal(model.backbone.state_dict()[name], tensor) for name, tensor in before.items())
    assert norm.weight.requires_grad
    plain = MaskRCNN(maskrcnn_resnet18_fpn(["cat"])).train()
    assert plain.backbone.stem.conv1.norm.training


ERRORS = {
    "missing": (
        lambda state: state.pop("neck.fpn_convs.2.conv.bias"),
        r"expected a tensor 'neck\.fpn_convs\.2\.conv\.bias' \[16\]; it is missing \(1 in all\)",
    ),
    "left over": (
        lambda state: state.update({"roi_head.mask_iou_head.fcs.0.weight": torch.zeros(2, 3)}),
        r"expected no tensor 'roi_head\.mask_iou_head\.fcs\.0\.weight'.*found \[2, 3\]",
    ),
    "the background first": (  # version 1
        lambda state: state.update({"roi_head.bbox_head.fc_reg.weight": torch.zeros(24, 32)}),
        r"expected 'roi_head\.bbox_head\.fc_reg\.weight' to be \[20, 32\]; found \[24, 32\]",
    ),
    "no heads": (
        lambda state: state.pop("roi_head.bbox_head.fc_cls.weight"),
        r"expected a two-stage detector of mmdetection 2 or 3; there is no 'roi_head\.bbox_head\.fc_cls\.weight'",
    ),
    "no tensor": (
        lambda state: state.update({"rpn_head.rpn_reg.bias": 7}),
        r"expected a state_dict of tensors; 'rpn_head\.rpn_reg\.bias' is a int",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_name_the_key_and_both_shapes(name: str) -> None:
    change, message = ERRORS[name]
    state: dict[str, Any] = dict(tensors_of(Kind(**NARROW)))
    change(state)
    with pytest.raises(UserError, match=f"^somewhere: {message}"):
        from_mmdetection(state, source="somewhere")


@pytest.mark.parametrize("shape", [(), (0,), (0, 0, 0, 0), (7, 0, 3, 3)])
def test_whatever_shape_a_tensor_has_the_error_is_the_users(shape: tuple[int, ...]) -> None:
    state = tensors_of(Kind(**NARROW))
    for name in (
        "backbone.conv1.weight",
        "backbone.layer1.0.conv2.weight",
        "neck.lateral_convs.0.conv.weight",
        "rpn_head.rpn_conv.weight",
        "roi_head.bbox_head.fc_cls.weight",
        "roi_head.bbox_head.shared_fcs.0.weight",
        "roi_head.mask_head.conv_logits.weight",
    ):
        with pytest.raises(UserError, match=r"^state_dict: expected "):
            from_mmdetection(state | {name: torch.zeros(shape)})


def test_frozen_statistics_of_others_get_counters(tmp_path: Path) -> None:
    """detectron2's and torchvision's do not count the batches that they have seen, mmdetection's do."""
    model = MaskRCNN(torchvision_resnet50_fpn(["cat"], depth=18))
    torch.save(to_mmdetection(model), tmp_path / "theirs.pth")
    state = torch.load(tmp_path / "theirs.pth", weights_only=True)
    assert state["backbone.layer4.1.bn2.num_batches_tracked"] == 0
    loaded = load_model(tmp_path / "theirs.pth").state_dict()
    for name, tensor in model.state_dict().items():
        if name.startswith("backbone."):
            assert torch.equal(loaded[name], tensor), name


def test_networks_that_mmdetection_does_not_have() -> None:
    config = mmdetection_rcnn(["cat"])
    config = replace(config, backbone=replace(config.backbone, width=8), fpn=replace(config.fpn, channels=16))
    with pytest.raises(UserError, match=r"to_mmdetection: expected a network .* have; its neck is fpn, with 2 conv"):
        to_mmdetection(MaskRCNN(replace(config, rpn=replace(config.rpn, convolutions=2))))
    with pytest.raises(UserError, match=r"have; it has no box head"):
        to_mmdetection(MaskRCNN(replace(config, box_head=None, mask_head=None)))
    with pytest.raises(UserError, match="have; the norm of its backbone is gn"):
        to_mmdetection(MaskRCNN(replace(config, backbone=replace(config.backbone, norm="gn"))))
    with pytest.raises(UserError, match=r"have; it has nothing like 'fpn\.lateral\.0\.norm\.weight'"):
        to_mmdetection(MaskRCNN(replace(config, fpn=replace(config.fpn, norm="bn"))))
    with pytest.raises(UserError, match=r"have; its background has no mask, which those of the classes compete with"):
        to_mmdetection(MaskRCNN(replace(config, mask_head=replace(config.mask_head, activation="softmax"))))
