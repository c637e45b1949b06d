"""Whose file it is, and how files are refused that are nobody's or not whole: one line with file, key and shapes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fastmrcnn.errors import UserError
from fastmrcnn.models import (
    MaskRCNN,
    MaskRCNNConfig,
    detectron2_rcnn,
    matterport_resnet_fpn,
    mmdetection_rcnn,
    torchvision_resnet50_fpn,
)
from fastmrcnn.weights import load_model
from fastmrcnn.weights.containers import write_content
from fastmrcnn.weights.families import FAMILIES, Family, family_called, family_of

CLASSES = ["cat", "dog"]


def narrow(config: MaskRCNNConfig) -> MaskRCNNConfig:
    assert config.box_head is not None
    return dataclasses.replace(config, box_head=dataclasses.replace(config.box_head, hidden=8))


CONFIGS: dict[str, Callable[[], MaskRCNNConfig]] = {
    "torchvision": lambda: narrow(torchvision_resnet50_fpn(CLASSES, depth=18)),
    "detectron2": lambda: narrow(detectron2_rcnn(CLASSES, depth=18)),
    "mmdetection": lambda: narrow(mmdetection_rcnn(CLASSES, depth=18)),
    "matterport": lambda: narrow(matterport_resnet_fpn(CLASSES, depth=50)),
}
# The file's suffix, a tensor of it, and one that it does not have.
SUFFIXES = {"torchvision": ".pth", "detectron2": ".pkl", "mmdetection": ".pth", "matterport": ".h5"}
KEYS = {
    "torchvision": "roi_heads.box_head.fc7.bias",
    "detectron2": "roi_heads.box_head.fc2.bias",
    "mmdetection": "roi_head.bbox_head.shared_fcs.1.bias",
    "matterport": "mrcnn_class_conv2/bias",
}
SURPLUS = {
    "torchvision": "roi_heads.surplus.weight",
    "detectron2": "roi_heads.surplus.weight",
    "mmdetection": "roi_head.surplus.weight",
    "matterport": "surplus/kernel",
}


@pytest.fixture(scope="module", params=[family.name for family in FAMILIES])
def family(request: pytest.FixtureRequest) -> Family:
    if request.param == "matterport":
        pytest.importorskip("h5py")
    return family_called(request.param)


@pytest.fixture(scope="module")
def state(family: Family) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return family.write(MaskRCNN(CONFIGS[family.name]()))


def written(family: Family, state: dict[str, Tensor], folder: Path) -> Path:
    path = folder / f"weights{SUFFIXES[family.name]}"
    write_content(state, path)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as raised:
        load_model(path)
    message = str(raised.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def test_one_family_knows_each_file(family: Family, state: dict[str, Tensor], tmp_path: Path) -> None:
    assert [other.name for other in FAMILIES if other.recognises(state)] == [family.name]
    config = CONFIGS[family.name]()
    assert load_model(written(family, state, tmp_path), class_names=CLASSES).config == config


def test_a_missing_key(family: Family, state: dict[str, Tensor], tmp_path: Path) -> None:
    key = KEYS[family.name]
    path = written(family, {name: tensor for name, tensor in state.items() if name != key}, tmp_path)
    assert refusal(path) == f"expected a tensor {key!r} [8]; it is missing (1 in all)"


def test_a_key_too_many(family: Family, state: dict[str, Tensor], tmp_path: Path) -> None:
    surplus = SURPLUS[family.name]
    path = written(family, state | {surplus: torch.zeros(2, 3)}, tmp_path)
    assert refusal(path) == (
        f"expected no tensor {surplus!r}, the configured model has none of that name; found [2, 3] (1 in all)"
    )


def test_a_wrong_shape(family: Family, state: dict[str, Tensor], tmp_path: Path) -> None:
    key = KEYS[family.name]
    path = written(family, state | {key: torch.zeros(5, 4)}, tmp_path)
    assert refusal(path) == f"expected {key!r} to be [8]; found [5, 4]"


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8])
def test_numbers_of_the_wrong_kind(
    family: Family, state: dict[str, Tensor], dtype: torch.dtype, tmp_path: Path
) -> None:
    key = KEYS[family.name]
    path = written(family, state | {key: torch.zeros(8, dtype=dtype)}, tmp_path)
    assert refusal(path) == f"expected floating-point numbers in {key!r}; found {dtype}"


def test_a_number_of_names_that_does_not_fit(family: Family, state: dict[str, Tensor], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected 2 class_names, as the classifier has; got 1"):
        load_model(written(family, state, tmp_path), class_names=["cat"])


def test_a_file_that_was_cut_short(family: Family, state: dict[str, Tensor], tmp_path: Path) -> None:
    path = written(family, state, tmp_path)
    path.write_bytes(path.read_bytes()[:100_000])
    assert refusal(path).startswith("expected a")


NOBODYS = {"encoder.weight": torch.zeros(2, 3), "encoder.bias": torch.zeros(2)}


def test_a_file_of_no_family(tmp_path: Path) -> None:
    write_content(NOBODYS, tmp_path / "weights.pth")
    message = refusal(tmp_path / "weights.pth")
    assert message.startswith(
        "expected the weights of fastmrcnn or of torchvision's Mask, Faster and Keypoint R-CNN or"
    )
    assert message.endswith("; its 2 tensors begin with 'encoder.weight' [2, 3], 'encoder.bias' [2]")
    write_content({}, tmp_path / "empty.pth")
    assert refusal(tmp_path / "empty.pth").endswith("; it holds no tensor")


def test_a_backbone_alone_is_pointed_elsewhere() -> None:
    with pytest.raises(UserError, match=r"file: .*; of a backbone alone, as these may be, load_backbone takes the"):
        family_of({"conv1.weight": torch.zeros(1), "layer1.0.conv1.weight": torch.zeros(1)}, "file")


def test_families_by_name() -> None:
    assert [family_called(family.name) for family in FAMILIES] == list(FAMILIES)
    with pytest.raises(UserError, match=r"expected one of the formats torchvision, detectron2.*; got 'caffe'"):
        family_called("caffe")
