"""The published models: names, files and figures; each has a reader, a profile and a row in MODELS.md."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import torch

from fastmrcnn.models import MaskRCNN, MaskRCNNConfig, presets
from fastmrcnn.weights import load_model, published, to_torchvision
from fastmrcnn.weights.coco_classes import COCO_CLASSES
from fastmrcnn.weights.families import family_called, family_of
from fastmrcnn.weights.published import PUBLISHED
from tests.weights import models_page


def test_models_md_shows_what_the_code_holds() -> None:
    page = models_page.PAGE.read_text(encoding="utf-8")
    assert models_page.with_tables(page) == page, "run python -m tests.weights.models_page"


def test_names_of_the_issue_and_of_the_zoo() -> None:
    names = {"torchvision/maskrcnn_resnet50_fpn", "detectron2/mask_rcnn_R_50_FPN_3x", "matterport/mask_rcnn_coco"}
    assert names <= set(PUBLISHED)
    assert len({model.file for model in PUBLISHED.values()}) == len(PUBLISHED) == 54
    zoo = PUBLISHED["detectron2/mask_rcnn_R_50_FPN_3x"]
    assert zoo.url.endswith("/COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x/137849600/model_final_f10217.pkl")
    assert zoo.file == "mask_rcnn_R_50_FPN_3x-model_final_f10217.pkl"
    assert (zoo.checksum, zoo.box_ap, zoo.mask_ap) == ("md5:f10217", 41.0, 37.2)


@pytest.mark.parametrize("name", PUBLISHED)
def test_checksums_are_those_of_the_file_names(name: str) -> None:
    model = PUBLISHED[name]
    kind, digits = {
        "torchvision": ("sha256", 8),
        "mmdetection": ("sha256", 8),
        "detectron2": ("md5", 6),
        "matterport": ("", 0),
    }[name.split("/")[0]]
    found = re.search(r"[-_]([0-9a-f]{6,8})\.p(?:th|kl)$", model.url)
    assert model.checksum == (f"{kind}:{found[1]}" if found else "")
    assert len(model.checksum.partition(":")[2]) == digits


def test_torchvision_states_the_same() -> None:
    detection = pytest.importorskip("torchvision.models.detection", reason="torchvision is the peer")
    weights = {
        "maskrcnn_resnet50_fpn": detection.MaskRCNN_ResNet50_FPN_Weights.COCO_V1,
        "maskrcnn_resnet50_fpn_v2": detection.MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1,
        "fasterrcnn_resnet50_fpn": detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1,
        "fasterrcnn_resnet50_fpn_v2": detection.FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1,
        "keypointrcnn_resnet50_fpn": detection.KeypointRCNN_ResNet50_FPN_Weights.COCO_V1,
        "keypointrcnn_resnet50_fpn_legacy": detection.KeypointRCNN_ResNet50_FPN_Weights.COCO_LEGACY,
    }
    assert {f"torchvision/{name}" for name in weights} == {
        name for name in PUBLISHED if name.startswith("torchvision/")
    }
    for name, theirs in weights.items():
        ours, figures = PUBLISHED[f"torchvision/{name}"], theirs.meta["_metrics"]["COCO-val2017"]
        assert ours.url == theirs.url
        assert ours.box_ap == figures["box_map"]
        assert ours.mask_ap == figures.get("mask_map")
        assert ours.keypoint_ap == figures.get("kp_map")
        with torch.device("meta"):
            parameters = MaskRCNN(config_of(f"torchvision/{name}")).parameters()
        assert sum(parameter.numel() for parameter in parameters) == theirs.meta["num_params"]


def config_of(name: str) -> MaskRCNNConfig:
    """The configuration of a published model, told by its name."""
    family, _, model = name.partition("/")
    preset = getattr(presets, PUBLISHED[name].profile)
    if family == "torchvision":
        return preset(["person"] if "keypoint" in model else COCO_CLASSES)  # type: ignore[no-any-return]
    if family == "matterport":
        return preset([f"class {index}" for index in range(80)])  # type: ignore[no-any-return]
    if family == "mmdetection":
        groups, width = re.search(r"_x101_(\d+)x(\d+)d_", model).groups() if "_x101_" in model else (1, 64)  # type: ignore[union-attr]
        return preset(  # type: ignore[no-any-return]
            [f"class {index}" for index in range(80)],
            depth=50 if "_r50_" in model else 101,
            groups=int(groups),
            group_width=int(width),
            masks=model.startswith("mask"),
            style="caffe" if "_caffe_" in model else "pytorch",
        )
    keypoints = model.startswith("keypoint")
    words = model.split("_")
    config: MaskRCNNConfig = preset(
        {"keypoint": ["person"], "rpn": ["object"]}.get(words[0], [f"class {index}" for index in range(80)]),
        neck={"C4": "c4", "DC5": "c5", "FPN": "fpn"}[next(word for word in words if word in ("C4", "DC5", "FPN"))],
        depth=50 if "50" in words else 101,
        resnext="X" in words,
        norm={"gn": "gn32", "syncbn": "bn"}.get(words[-1], "frozen_bn"),
        boxes=words[0] != "rpn",
        masks="mask" in words,
        keypoints=keypoints,
    )
    return config


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_architecture_is_recognised_by_its_tensors(name: str) -> None:
    """On the meta device, where the full networks cost nothing."""
    config = config_of(name)
    family = family_called(name.partition("/")[0])
    with torch.device("meta"):
        state = family.write(MaskRCNN(config))
        assert family_of(state, name) == family
        names, ids = config.class_names, config.category_ids
        details = {key: value for key, value in PUBLISHED[name].details.items() if key != "norm_eps"}
        read = family.read(state, class_names=names, category_ids=ids, source=name, **details)
    assert read.config == config


def test_a_copy_is_known_by_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    path = tmp_path / "renamed.pth"
    torch.save(to_torchvision(MaskRCNN(presets.torchvision_resnet50_fpn(["cat"], depth=18))), path)
    assert load_model(path).config.backbone.norm_eps == 1e-5
    known = PUBLISHED["torchvision/maskrcnn_resnet50_fpn"]
    copy = dataclasses.replace(known, checksum=f"sha256:{published.digest_of(path, 'sha256')[:8]}")
    monkeypatch.setitem(PUBLISHED, "torchvision/copy", copy)
    model = load_model(path)
    assert model.config.backbone.norm_eps == 0.0
    assert model.backbone.stem.conv1.norm.eps == 0.0
    assert published.details_of(path, "detectron2") == {}
