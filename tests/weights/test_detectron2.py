"""Files of detectron2: every tensor of the zoo's models finds its place, and goes back to where it came from."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastmrcnn import load_model
from fastmrcnn.errors import UserError
from fastmrcnn.models import BackboneConfig, MaskRCNN, MaskRCNNConfig, detectron2_rcnn
from fastmrcnn.weights import from_detectron2, save_model, to_detectron2
from fastmrcnn.weights.containers import read_content
from fastmrcnn.weights.convert import convert
from tests.models.small import small_config
from tests.weights.detectron2_files import ZOO, Kind, random_state, shapes, stale_tensors

NARROW = {"width": 8, "channels": 16, "hidden": 32, "classes": 5}
NARROW_KINDS = {
    "FPN": Kind(**NARROW),
    "C4": Kind(neck="c4", **NARROW),
    "DC5": Kind(neck="dc5", **NARROW),
    "ResNeXt": Kind(**NARROW | {"width": 32}, groups=4, group_width=8),
    "Faster R-CNN": Kind(masks=False, **NARROW),
    "RPN": Kind(boxes=False, masks=False, **NARROW),
    "SyncBN": Kind(norm="SyncBN", **NARROW),
    "one class": Kind(**NARROW | {"classes": 1}),
    "Keypoint R-CNN": Kind(masks=False, keypoints=True, **NARROW | {"classes": 1}, keypoint_channels=16),
    "masks and keypoints": Kind(keypoints=True, **NARROW, keypoint_channels=16),
    "class-agnostic": Kind(agnostic=True, **NARROW),
    "class-agnostic C4": Kind(neck="c4", agnostic=True, **NARROW),
    "GN": Kind(norm="GN", **NARROW | {"width": 32, "channels": 32}),
}
PRESETS: dict[str, dict[str, Any]] = {
    "mask_rcnn_R_50_FPN": {},
    "mask_rcnn_R_101_FPN": {"depth": 101},
    "mask_rcnn_X_101_32x8d_FPN": {"depth": 101, "resnext": True},
    "mask_rcnn_R_50_C4": {"neck": "c4"},
    "mask_rcnn_R_50_DC5": {"neck": "c5"},
    "faster_rcnn_R_50_FPN": {"masks": False},
    "faster_rcnn_R_50_C4": {"neck": "c4", "masks": False},
    "keypoint_rcnn_R_50_FPN": {"masks": False, "keypoints": True},
    "rpn_R_50_FPN": {"boxes": False},
    "rpn_R_50_C4": {"neck": "c4", "boxes": False},
    "mask_rcnn_R_50_FPN_gn": {"norm": "gn32"},
    "mask_rcnn_R_50_FPN_syncbn": {"norm": "bn"},
}


def tensors_of(kind: Kind) -> dict[str, Tensor]:
    return {name: torch.from_numpy(values) for name, values in random_state(kind).items()}


def assert_same(state: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(state.keys() - expected.keys()) == list(expected.keys() - state.keys()) == []
    for name, tensor in state.items():
        assert tensor.dtype == expected[name].dtype, name
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("name", ZOO)
def test_every_tensor_of_the_zoo_has_its_place(name: str) -> None:
    """At the published sizes, with what old files hold besides; no key is missing, left over or of another shape."""
    kind = ZOO[name]
    state = {key: torch.zeros(()).expand(shape) for key, shape in shapes(kind).items()}
    stale = {key: torch.from_numpy(values) for key, values in stale_tensors(kind.neck).items()}
    model = from_detectron2(state | stale)
    preset = detectron2_rcnn(model.config.class_names, model.config.category_ids, **PRESETS[name])
    assert model.config == preset
    assert {key: tuple(tensor.shape) for key, tensor in to_detectron2(model).items()} == shapes(kind)
    if kind.keypoints:
        assert model.config.class_names == ("person",)
    elif kind.boxes:
        assert len(model.config.class_names) == 80
        assert (model.config.class_names[0], model.config.class_names[79]) == ("person", "toothbrush")
        assert model.config.category_ids[11:13] == (13, 14)  # stop sign, parking meter: 12 is not used


def test_a_published_file(tmp_path: Path) -> None:
    """R50-FPN at full size, written as the zoo's are; back to detectron2 every bit is the same."""
    noise = np.random.default_rng(0).normal(size=1 << 16).astype(np.float32)
    arrays = {
        name: np.resize(np.roll(noise, index), shape)
        for index, (name, shape) in enumerate(shapes(ZOO["mask_rcnn_R_50_FPN"]).items())
    }
    path = tmp_path / "model_final_f10217.pkl"
    with path.open("wb") as file:
        pickle.dump({"model": arrays | stale_tensors("fpn"), "__author__": "Detectron2 Model Zoo"}, file, protocol=2)
    model = load_model(path)
    assert model.config.class_names[:2] == ("person", "bicycle")
    assert not model.training
    convert(path, tmp_path / "back.pkl")
    with (tmp_path / "back.pkl").open("rb") as file:
        back = pickle.load(file)  # as detectron2 itself reads it
    assert set(back) == {"model", "__author__"}
    assert back["model"].keys() == arrays.keys()
    for name, values in arrays.items():
        assert back["model"][name].dtype == values.dtype
        np.testing.assert_array_equal(back["model"][name], values, err_msg=name)


@pytest.mark.parametrize("kind", NARROW_KINDS.values(), ids=NARROW_KINDS)
def test_there_and_back_keeps_every_bit(kind: Kind, tmp_path: Path) -> None:
    state = tensors_of(kind)
    model = from_detectron2(state)
    assert_same(to_detectron2(model), state)
    save_model(model, tmp_path / "own.safetensors")
    assert_same(to_detectron2(load_model(tmp_path / "own.safetensors")), state)


def test_checkpoints_of_a_training(tmp_path: Path) -> None:
    state = tensors_of(NARROW_KINDS["FPN"])
    path = tmp_path / "model_0004999.pth"
    torch.save({"model": state, "optimizer": {"state": {}}, "scheduler": {"last_epoch": 7}, "iteration": 4999}, path)
    model = load_model(path, class_names=["a", "b", "c", "d", "e"])
    assert model.config.class_names == ("a", "b", "c", "d", "e")
    assert convert(path, tmp_path / "back.pth", format="detectron2").differences == []
    assert_same(read_content(tmp_path / "back.pth").tensors, state)


def test_the_background_moves_to_the_front() -> None:
    state = tensors_of(NARROW_KINDS["FPN"])
    scores, boxes, masks = (
        torch.arange(6.0), torch.arange(20.0), torch.arange(5.0)
    )  # fmt: skip
    state["roi_heads.box_predictor.cls_score.bias"] = scores
    state["roi_heads.box_predictor.bbox_pred.bias"] = boxes
    state["roi_heads.mask_head.predictor.bias"] = masks
    ours = from_detectron2(state).state_dict()
    assert ours["roi_heads.box_head.classifier.bias"].tolist() == [5, 0, 1, 2, 3, 4]
    assert ours["roi_heads.box_head.deltas.bias"].tolist() == [0, 0, 0, 0, *range(20)]
    assert ours["roi_heads.mask_head.logits.bias"].tolist() == [0, 0, 1, 2, 3, 4]


def test_a_network_of_our_own_goes_to_detectron2() -> None:
    config = detectron2_rcnn(["cat", "dog"], [5, 7])
    config = replace(config, backbone=BackboneConfig(width=8, norm="frozen_bn"), fpn=replace(config.fpn, channels=16))
    torch.manual_seed(0)
    model = MaskRCNN(config)
    state = to_detectron2(model)
    again = from_detectron2(state, config=config)
    assert again.config == config
    unread = ("roi_heads.box_head.deltas.", "roi_heads.mask_head.logits.")  # their background
    for name, tensor in again.state_dict().items():
        rows = slice(len(tensor) // 3, None) if name.startswith(unread) else slice(None)
        assert torch.equal(tensor[rows], model.state_dict()[name][rows]), name


def test_the_callers_random_numbers_stay() -> None:
    state = tensors_of(NARROW_KINDS["FPN"])
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    from_detectron2(state)
    assert torch.equal(torch.rand(2), expected)


def test_the_profile() -> None:
    """What users of the zoo rely on, spelt out."""
    config = detectron2_rcnn(["cat"])
    assert (config.input.channel_order, config.input.mean, config.input.std) == (
        "bgr",
        (103.53, 116.28, 123.675),
        (1.0, 1.0, 1.0),
    )
    assert config.backbone.frozen_stages == 2
    assert config.backbone.stride_in_1x1
    assert detectron2_rcnn(["cat"], norm="bn").backbone.stride_in_1x1  # mask_rcnn_R_50_FPN_3x_syncbn.yaml
    assert not detectron2_rcnn(["cat"], norm="gn32").backbone.stride_in_1x1  # mask_rcnn_R_50_FPN_3x_gn.yaml
    assert not detectron2_rcnn(["cat"], resnext=True).backbone.stride_in_1x1
    assert detectron2_rcnn(["cat"], resnext=True).input.std == (57.375, 57.12, 58.395)
    assert detectron2_rcnn(["person"], masks=False, keypoints=True).rpn.post_nms_train == 1500
    c4 = detectron2_rcnn(["cat"], neck="c4")
    assert c4.rpn.anchors.per_location == 15
    assert (c4.rpn.pre_nms_test, c4.rpn.post_nms_train, c4.input.size_divisor) == (6000, 2000, 1)
    assert MaskRCNNConfig.from_dict(c4.to_dict()) == c4


ERRORS = {
    "missing": (
        lambda state: state.pop("roi_heads.box_head.fc2.bias"),
        r"expected a tensor 'roi_heads\.box_head\.fc2\.bias' \[32\]; it is missing \(1 in all\)",
    ),
    "left over": (
        lambda state: state.update({"sem_seg_head.predictor.weight": torch.zeros(2, 3)}),
        r"expected no tensor 'sem_seg_head\.predictor\.weight'",
    ),
    "of another shape": (
        lambda state: state.update({"roi_heads.box_predictor.bbox_pred.weight": torch.zeros(21, 32)}),
        r"expected 'roi_heads\.box_predictor\.bbox_pred\.weight' to be \[20, 32\]; found \[21, 32\]",
    ),
    "no tensor": (
        lambda state: state.update({"backbone.fpn_output2.bias": "text"}),
        r"expected a state_dict of tensors; 'backbone\.fpn_output2\.bias' is a str",
    ),
    "another depth": (
        lambda state: state.pop("backbone.bottom_up.res4.5.conv1.weight"),
        r"expected a ResNet-18, 34, 50, 101 or 152 backbone; its res4 has 5 blocks",
    ),
    "no backbone": (
        lambda state: [state.pop(name) for name in list(state) if name.startswith("backbone.")],
        r"expected a ResNet with or without FPN; there is no 'backbone\.fpn_lateral2\.weight'",
    ),
    "another family": (
        lambda state: state.pop("proposal_generator.rpn_head.objectness_logits.weight"),
        r"expected a state_dict of detectron2's R-CNN; it begins with backbone\.bottom_up\.stem\.conv1\.weight, ",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_name_the_key_and_both_shapes(name: str) -> None:
    change, message = ERRORS[name]
    state = tensors_of(NARROW_KINDS["FPN"])
    change(state)
    with pytest.raises(UserError, match=f"^somewhere: {message}") as caught:
        from_detectron2(state, source="somewhere")
    assert "\n" not in str(caught.value)


def test_class_names_must_be_as_many_as_the_classes() -> None:
    with pytest.raises(UserError, match=r"^state_dict: expected 5 class_names, as the classifier has; got 2"):
        from_detectron2(tensors_of(NARROW_KINDS["FPN"]), class_names=["a", "b"])


TELLING = [  # the tensors whose shapes the configuration is read off
    "backbone.bottom_up.stem.conv1.weight",
    "backbone.bottom_up.res2.0.conv2.weight",
    "backbone.fpn_lateral2.weight",
    "proposal_generator.rpn_head.conv.weight",
    "roi_heads.box_head.fc1.weight",
    "roi_heads.box_predictor.cls_score.weight",
    "roi_heads.box_predictor.bbox_pred.weight",
    "roi_heads.mask_head.mask_fcn1.weight",
    "roi_heads.mask_head.predictor.weight",
]


@pytest.mark.parametrize("shape", [(), (0,), (0, 0, 0, 0), (7, 0, 3, 3), (1 << 20, 3)])
def test_whatever_shape_a_tensor_has_the_error_is_the_users(shape: tuple[int, ...]) -> None:
    state = tensors_of(NARROW_KINDS["FPN"])
    for name in TELLING:
        with pytest.raises(UserError, match=r"^state_dict: expected "):
            from_detectron2(state | {name: torch.zeros(()).expand(shape)})


def test_a_hostile_pickle_is_refused(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    content = {"model": {"backbone.fpn_lateral2.weight": Hostile()}, "__author__": "nobody"}
    (tmp_path / "model_final.pkl").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(UserError, match=r"model_final\.pkl: .* it refers to \w+\.system, refused"):
        load_model(tmp_path / "model_final.pkl")
    assert not (tmp_path / "ran").exists()


def test_a_truncated_file(tmp_path: Path) -> None:
    content = pickle.dumps({"model": random_state(NARROW_KINDS["FPN"]), "__author__": "somebody"}, protocol=2)
    (tmp_path / "model_final.pkl").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"model_final\.pkl: .*damaged"):
        load_model(tmp_path / "model_final.pkl")


@pytest.mark.parametrize(
    ("part", "change", "named"),
    [
        ("box_head", {"fully_connected_norm": "bn"}, r"roi_heads\.box_head\.layers\.0\.norm\.weight"),
        ("mask_head", {"norm": "bn", "conv_bias": True}, r"roi_heads\.mask_head\.convs\.0\.conv\.bias"),
        ("backbone", {"conv_bias": True}, r"backbone\.stem\.conv1\.conv\.bias"),
        ("mask_head", {"activation": "softmax"}, "its background has no mask"),
        ("rpn", {"objectness": "softmax"}, "its background has no objectness"),
    ],
)
def test_networks_that_detectron2_does_not_have(part: str, change: dict[str, Any], named: str) -> None:
    config = small_config()
    config = replace(config, **{part: replace(getattr(config, part), **change)})
    with pytest.raises(UserError, match=f"to_detectron2: expected a network that detectron2 has; .*{named}"):
        to_detectron2(MaskRCNN(config))
