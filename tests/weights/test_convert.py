"""From one kind of file to another and back: the same bits, and what would be computed differently is said."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from fastmrcnn.cli import main
from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNN, maskrcnn_resnet18_fpn, torchvision_resnet50_fpn
from fastmrcnn.weights import load_model, save_model, to_torchvision
from fastmrcnn.weights.containers import read_content
from fastmrcnn.weights.convert import FORMATS, convert
from tests.models.small import small_model


@pytest.fixture(scope="module")
def torchvision_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = torchvision_resnet50_fpn(["cat", "dog"], depth=18)
    config = dataclasses.replace(config, box_head=dataclasses.replace(config.box_head, hidden=16))
    path = tmp_path_factory.mktemp("convert") / "theirs.pth"
    torch.save(to_torchvision(MaskRCNN(config)), path)
    return path


def assert_same_tensors(path: Path, other: Path) -> None:
    tensors, expected = read_content(path).tensors, read_content(other).tensors
    assert set(tensors) == set(expected)
    for name, tensor in tensors.items():
        assert tensor.dtype == expected[name].dtype
        assert torch.equal(tensor, expected[name]), name


def test_there_and_back_keeps_every_bit(torchvision_file: Path, tmp_path: Path) -> None:
    own, back, again = tmp_path / "own.safetensors", tmp_path / "back.pth", tmp_path / "again.safetensors"
    assert convert(torchvision_file, own, class_names=["cat", "dog"], category_ids=[3, 9]).differences == []
    config = load_model(own).config
    assert (config.class_names, config.category_ids) == (("cat", "dog"), (3, 9))
    assert convert(own, back).differences == []
    assert_same_tensors(back, torchvision_file)
    convert(back, again, class_names=["cat", "dog"], category_ids=[3, 9])
    assert_same_tensors(again, own)
    assert load_model(again).config == config


def test_what_the_other_system_computes_differently_is_listed(tmp_path: Path) -> None:
    model = MaskRCNN(maskrcnn_resnet18_fpn(["cat"], norm="frozen_bn"))
    save_model(model, tmp_path / "own.safetensors")
    done = convert(tmp_path / "own.safetensors", tmp_path / "theirs.pth")
    assert "rpn.anchors.rounded is False here, True there" in done.differences
    assert not any(line.startswith(("channels_last", "backbone", "class_names")) for line in done.differences)


def test_outputs_without_a_place_are_listed(torchvision_file: Path, tmp_path: Path) -> None:
    """torchvision has boxes and masks of the background, detectron2 has not."""
    lost = [line for line in convert(torchvision_file, tmp_path / "theirs.pkl").differences if "nothing reads" in line]
    layers = ("roi_heads.box_head.deltas", "roi_heads.mask_head.logits")
    assert [line.partition(" ")[0] for line in lost] == [
        f"{layer}.weight" for layer in layers
    ]  # a bias begins as zeros
    again = convert(tmp_path / "theirs.pkl", tmp_path / "again.pth", format="detectron2")
    assert again.differences == []


def test_a_format_can_be_named(torchvision_file: Path, tmp_path: Path) -> None:
    done = convert(torchvision_file, tmp_path / "theirs.safetensors", format="torchvision")
    assert done.format == "torchvision"
    assert_same_tensors(done.target, torchvision_file)
    assert load_model(done.target).config.class_names == ("class-1", "class-2")


def test_half_precision(torchvision_file: Path, tmp_path: Path) -> None:
    convert(torchvision_file, tmp_path / "half.safetensors", dtype=torch.float16)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.6 * torchvision_file.stat().st_size
    with pytest.raises(UserError, match=r"expected a file of fastmrcnn to store in torch\.float16; got the format t"):
        convert(torchvision_file, tmp_path / "half.pth", dtype=torch.float16)


def test_refusals(torchvision_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.onnx: expected a name that ends in \.safetensors, .*; got '\.onnx'"):
        convert(torchvision_file, tmp_path / "a.onnx")
    with pytest.raises(UserError, match=r"expected one of the formats fastmrcnn, torchvision, .*; got 'caffe'"):
        convert(torchvision_file, tmp_path / "a.pth", format="caffe")
    with pytest.raises(UserError, match="expected 2 class_names, as the classifier has; got 1"):
        convert(torchvision_file, tmp_path / "a.safetensors", class_names=["cat"])
    with pytest.raises(
        UserError, match=r"a\.h5: expected another suffix for the format detectron2; \.h5 is for matterp"
    ):
        convert(torchvision_file, tmp_path / "a.h5", format="detectron2")
    save_model(small_model(backbone={"norm": "gn"}), tmp_path / "gn.safetensors")
    with pytest.raises(UserError, match="to_torchvision: expected backbone"):
        convert(tmp_path / "gn.safetensors", tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"to_torchvision: expected backbone\.width to be 64, .*; got 32"):
        convert("tiny", tmp_path / "a.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["gn.safetensors"]


def test_own_files_take_new_names(tmp_path: Path) -> None:
    save_model(small_model(), tmp_path / "a.safetensors")
    convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors", class_names=["coin", "ring"])
    assert load_model(tmp_path / "b.safetensors").config.class_names == ("coin", "ring")
    with pytest.raises(UserError, match=r"a\.safetensors: expected 2 class_names; got 1"):
        load_model(tmp_path / "a.safetensors", class_names=["coin"])


def test_the_command(torchvision_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own, back = str(tmp_path / "own.safetensors"), str(tmp_path / "back.pth")
    assert main(["convert", str(torchvision_file), own, "--class-names", "cat", "dog", "--category-ids", "3", "9"]) == 0
    assert capsys.readouterr().out == f"written to {own}: fastmrcnn, 2 classes\n"
    assert load_model(own).config.category_ids == (3, 9)
    assert main(["convert", own, back]) == 0
    assert capsys.readouterr().out == f"written to {back}: torchvision, 2 classes\n"
    changed = load_model(own)
    changed.config = dataclasses.replace(
        changed.config, box_head=dataclasses.replace(changed.config.box_head, nms_iou=0.6)
    )
    save_model(changed, own)
    assert main(["convert", own, back]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "note: torchvision computes with its own settings, not with those of this model:",
        "  box_head.nms_iou is 0.6 here, 0.5 there",
    ]
    assert main(["convert", own, str(tmp_path / "a.onnx")]) == 2
    assert capsys.readouterr().err.startswith(f"fastmrcnn: error: {tmp_path / 'a.onnx'}: expected a name that ends in")


def test_the_help_names_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f'"{name}"' in printed for name in FORMATS)
