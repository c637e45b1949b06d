"""Weights files of Matterport's Mask R-CNN: every layer both ways, bit for bit, and files that are none."""

from __future__ import annotations

import builtins
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNN, maskrcnn_resnet50_fpn, matterport_resnet_fpn
from fastmrcnn.weights import from_matterport, load_model, save_model, to_matterport
from fastmrcnn.weights.coco_classes import COCO_80_CLASSES, COCO_80_IDS
from fastmrcnn.weights.convert import convert
from fastmrcnn.weights.keras_h5 import read_h5, write_h5
from fastmrcnn.weights.matterport import matterport_name, write_matterport
from tests.models.matterport_network import BLOCKS, Sizes, variable_shapes
from tests.models.small import small_model

h5py = pytest.importorskip("h5py")

PUBLISHED = Sizes(width=64, pyramid=256, rpn=512, hidden=1024, classes=80)
RESNET_101 = BLOCKS | {4: "abcdefghijklmnopqrstuvw"}
INNER = ("rpn_conv_shared", "rpn_class_raw", "rpn_bbox_pred")


def small_state(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(shape, generator=generator) for name, shape in variable_shapes(Sizes()).items()}


def keras_path(name: str) -> str:
    """Where Keras puts "layer/variable"."""
    layer = name.partition("/")[0]
    return f"/{'rpn_model' if layer in INNER else layer}/{name}:0"


def write_keras_file(path: Path, state: dict[str, Tensor], root: str = "") -> None:
    with h5py.File(path, "w") as file:
        for name, tensor in state.items():
            file[root + keras_path(name)] = tensor.numpy()


@pytest.fixture
def small_file(tmp_path: Path) -> Path:
    path = tmp_path / "small.h5"
    write_keras_file(path, small_state())
    return path


def assert_same(state: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert set(state) == set(expected)
    for name, tensor in state.items():
        assert torch.equal(tensor, expected[name]), name


def test_the_published_file(tmp_path: Path) -> None:
    """All layers of ``mask_rcnn_coco.h5`` in their sizes; Keras keeps groups for layers without weights too."""
    path, shapes = tmp_path / "mask_rcnn_coco.h5", variable_shapes(PUBLISHED, RESNET_101)
    assert len(shapes) == 2 * 104 + 4 * 104 + 2 * (4 + 4 + 3) + 2 * 4 + 4 * 2 + 2 * 6 + 4 * 4
    with h5py.File(path, "w") as file:
        for name, shape in shapes.items():
            file.create_dataset(keras_path(name), shape, np.float32)  # zeros that take no room
        file["mrcnn_class_logits/mrcnn_class_logits/bias:0"][3] = 7.0
        for layer in ("input_image", "ROI", "fpn_p6", "mrcnn_detection"):
            file.create_group(layer)
    model = load_model(path)
    config = model.config
    assert config == matterport_resnet_fpn(COCO_80_CLASSES, COCO_80_IDS)
    assert (config.class_names[0], config.class_names[-1], config.category_ids[-1]) == ("person", "toothbrush", 90)
    assert sum(parameter.numel() for parameter in model.state_dict().values()) == sum(
        int(np.prod(shape)) for shape in shapes.values()
    )
    assert model.roi_heads is not None
    assert model.roi_heads.box_head.classifier.bias[3] == 7.0
    assert not model.training


def test_there_and_back_keeps_every_bit(small_file: Path, tmp_path: Path) -> None:
    model = load_model(small_file, class_names=["a", "b", "c"])
    assert_same(to_matterport(model), small_state())
    own, back = tmp_path / "own.safetensors", tmp_path / "back.h5"
    save_model(model, own)
    assert load_model(own).config == model.config
    assert convert(own, back).differences == []
    assert_same(read_h5(back), small_state())


def test_what_keras_needs_to_read_a_file(tmp_path: Path) -> None:
    path = tmp_path / "written.h5"
    write_matterport(small_state(), path, path)
    with h5py.File(path) as file:
        assert file.attrs["keras_version"].decode().startswith("2.")  # kernels are turned round without
        assert file.attrs["backend"].decode() == "tensorflow"
        layers = [name.decode() for name in file.attrs["layer_names"]]
        assert layers[0] == "conv1"
        assert layers.count("rpn_model") == 1
        assert not set(layers) & set(INNER)
        weights = [name.decode() for name in file["rpn_model"].attrs["weight_names"]]
        assert weights[:2] == ["rpn_conv_shared/kernel:0", "rpn_conv_shared/bias:0"]
        assert len(weights) == 6
        norm = [name.decode() for name in file["bn_conv1"].attrs["weight_names"]]
        assert norm == [f"bn_conv1/{name}:0" for name in ("gamma", "beta", "moving_mean", "moving_variance")]
        stored = {name: file[keras_path(name)].shape for name in small_state()}
    assert stored == variable_shapes(Sizes())


def test_layouts() -> None:
    """A few values by hand: rows, columns, inputs, outputs; y before x; background before object."""
    state = small_state()
    own = from_matterport(state).state_dict()
    assert own["backbone.stem.conv1.conv.weight"][5, 2, 1, 6] == state["conv1/kernel"][1, 6, 2, 5]
    assert own["backbone.stages.1.3.conv2.norm.running_var"][3] == state["bn3d_branch2b/moving_variance"][3]
    assert own["backbone.stages.3.0.shortcut.conv.bias"][9] == state["res5a_branch1/bias"][9]
    assert own["fpn.lateral.3.conv.weight"][2, 7, 0, 0] == state["fpn_c5p5/kernel"][0, 0, 7, 2]
    assert own["fpn.output.0.conv.bias"][1] == state["fpn_p2/bias"][1]
    assert own["rpn.head.objectness.weight"][5, 3, 0, 0] == state["rpn_class_raw/kernel"][0, 0, 3, 5]
    dx, dy, dw, dh = own["rpn.head.deltas.bias"][4:8]
    assert [dy, dx, dh, dw] == state["rpn_bbox_pred/bias"][4:8].tolist()
    first = own["roi_heads.box_head.layers.0.linear.weight"].unflatten(1, (8, 7, 7))
    assert first[4, 2, 6, 1] == state["mrcnn_class_conv1/kernel"][6, 1, 2, 4]
    assert own["roi_heads.box_head.layers.1.norm.weight"][3] == state["mrcnn_class_bn2/gamma"][3]
    dx, dy, dw, dh = own["roi_heads.box_head.deltas.weight"][8:12, 5]
    assert [dy, dx, dh, dw] == state["mrcnn_bbox_fc/kernel"][5, 8:12].tolist()
    assert own["roi_heads.mask_head.upsample.weight"][3, 2, 1, 0] == state["mrcnn_mask_deconv/kernel"][1, 0, 2, 3]
    assert own["roi_heads.mask_head.logits.weight"][2, 7, 0, 0] == state["mrcnn_mask/kernel"][0, 0, 7, 2]


def test_classes(small_file: Path) -> None:
    assert load_model(small_file).config.class_names == ("class-1", "class-2", "class-3")
    named = load_model(small_file, class_names=["a", "b", "c"], category_ids=[4, 9, 2]).config
    assert (named.class_names, named.category_ids) == (("a", "b", "c"), (4, 9, 2))
    with pytest.raises(UserError, match=r"small\.h5: expected 3 class_names, as the classifier has; got 1"):
        load_model(small_file, class_names=["a"])


def test_whole_models_and_stale_anchors_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    write_keras_file(path, small_state(), root="/model_weights")
    with h5py.File(path, "a") as file:
        file["optimizer_weights/SGD/momentum:0"] = np.ones(3, np.float32)
        file["model_weights/anchors/anchors/Variable:0"] = np.ones((1, 9, 4), np.float32)
    assert_same(to_matterport(load_model(path)), small_state())


def test_names() -> None:
    assert matterport_name("backbone.stages.2.22.conv3.conv.weight") == "res4w_branch2c/kernel"
    with pytest.raises(ValueError, match=r"expected a tensor that Matterport's Mask R-CNN has; got 'rpn\.head\.convs"):
        matterport_name("rpn.head.convs.1.weight")


def test_statistics_that_follow_the_data_can_be_written_too() -> None:
    model = from_matterport(small_state())
    trained = MaskRCNN(replace(model.config, backbone=replace(model.config.backbone, norm="bn")))
    assert "backbone.stem.conv1.norm.num_batches_tracked" in trained.state_dict()
    assert set(to_matterport(trained)) == set(small_state())


def broken(change: dict[str, Tensor | None]) -> dict[str, Tensor]:
    """The small state with some variables replaced or, with None, left out."""
    state: dict[str, Any] = small_state() | change
    return {name: tensor for name, tensor in state.items() if tensor is not None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"res4b_branch2b/kernel": None}, r"expected a tensor 'res4b_branch2b/kernel' \[3, 3, 32, 32\]; it is missing"),
        ({"mrcnn_mask/bias": torch.zeros(9)}, r"expected 'mrcnn_mask/bias' to be \[4\]; found \[9\]"),
        ({"mrcnn_class_conv1/kernel": torch.zeros(5, 5, 8, 16)}, r".* to be \[7, 7, 8, 16\]; found \[5, 5, 8, 16\]"),
        ({"dense/kernel": torch.zeros(3, 4)}, r"expected no tensor 'dense/kernel'.*found \[3, 4\]"),
        (
            {"rpn_class_raw/bias": torch.zeros(10)},
            r"expected 'rpn_class_raw/bias' to be \[6\], of three .* found \[10\]",
        ),
        ({"mrcnn_class_logits/bias": None}, r"expected a tensor 'mrcnn_class_logits/bias' of Matterport's .* missing"),
        (
            {"mrcnn_class_logits/bias": torch.zeros(1)},
            "expected the shapes of a model that can be built: MaskRCNNConfig: class_names must name",
        ),
        (
            {"conv1/bias": torch.zeros(30)},
            "expected the shapes of a model that can be built: BackboneConfig: width must be a positive multiple",
        ),
        ({"conv1/bias": torch.zeros(2, 3)}, r"expected 'conv1/bias' to be a row of numbers; found \[2, 3\]"),
        ({"res4c_branch2a/kernel": None}, "expected a ResNet-50 or 101 backbone, 6 or 23 blocks res4.; found 5"),
    ],
)
def test_files_of_another_network(tmp_path: Path, change: dict[str, Tensor | None], message: str) -> None:
    path = tmp_path / "other.h5"
    write_keras_file(path, broken(change))
    with pytest.raises(UserError, match=r"other\.h5: " + message):
        load_model(path)


def test_damaged_files(small_file: Path, tmp_path: Path) -> None:
    content = small_file.read_bytes()
    for share in (0.01, 0.5, 0.99):
        cut = tmp_path / "cut.h5"
        cut.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(UserError, match=r"cut\.h5: expected a complete HDF5 file; it is damaged or cut short: "):
            load_model(cut)
    text = tmp_path / "text.h5"
    text.write_text("this is no HDF5")
    with pytest.raises(UserError, match=r"text\.h5: expected a weights file"):
        load_model(text)
    keras = tmp_path / "vgg.h5"
    write_keras_file(keras, {"block1_conv1/kernel": torch.zeros(3, 3, 3, 64)})
    with pytest.raises(UserError, match=r"vgg\.h5: expected the weights of .*'block1_conv1/kernel' \[3, 3, 3, 64\]"):
        load_model(keras)


def test_unusual_contents(tmp_path: Path) -> None:
    twice, words = tmp_path / "twice.h5", tmp_path / "words.h5"
    with h5py.File(twice, "w") as file:
        file["conv1/conv1/kernel:0"] = file["inner/conv1/kernel:0"] = np.zeros(3)
    with pytest.raises(UserError, match=r"twice\.h5: expected one variable 'conv1/kernel'; the file holds several"):
        read_h5(twice)
    with h5py.File(words, "w") as file:
        file["conv1/conv1/kernel:0"] = "kernel"
    with pytest.raises(UserError, match=r"words\.h5: expected numbers in 'conv1/conv1/kernel:0'; found object"):
        read_h5(words)
    with h5py.File(words, "w") as file:
        file["model_weights"] = np.zeros(3)  # no group
    assert set(read_h5(words)) == {"/model_weights"}


def test_links_to_other_files_are_not_followed(small_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "links.h5"
    with h5py.File(path, "w") as file:
        file["conv1"] = h5py.ExternalLink(str(small_file), "/conv1")
        file["model_weights"] = h5py.ExternalLink(str(small_file), "/")  # what a whole model keeps its weights in
    assert read_h5(path) == {}


def test_values_in_other_files_are_not_read(small_file: Path, tmp_path: Path) -> None:
    path, name = tmp_path / "hostile.h5", "conv1/conv1/kernel:0"
    message = (
        r"hostile\.h5: expected the values of 'conv1/conv1/kernel:0' in the file; it refers to other files, refused"
    )
    with h5py.File(path, "w") as file:
        file.create_dataset(name, shape=(8,), dtype="u1", external=[(str(small_file), 0, 8)])
    with pytest.raises(UserError, match=message):
        read_h5(path)
    with h5py.File(path, "w") as file:
        layout = h5py.VirtualLayout(shape=(8,), dtype="f4")
        layout[:] = h5py.VirtualSource(str(small_file), "conv1/conv1/bias:0", shape=(8,))
        file.create_virtual_dataset(name, layout)
    with pytest.raises(UserError, match=message):
        read_h5(path)


def test_values_that_the_file_does_not_hold_take_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "empty.h5"
    with h5py.File(path, "w") as file:  # three kilobytes
        file.create_dataset("conv1/conv1/kernel:0", shape=(10**13,), dtype="f4", chunks=(1024,))
    with pytest.raises(UserError, match=r"expected about as many values as the file holds; .* is \[10000000000000\]"):
        read_h5(path)


def test_without_h5py(small_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "h5py":
            raise ImportError("No module named 'h5py'")
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UserError, match=r"small\.h5: expected the package h5py, which reads files of Keras"):
        load_model(small_file)


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"wanted\.h5: cannot be written: "):
        write_h5({"a/b": torch.zeros(2)}, tmp_path / "missing" / "folder.h5", shown=Path("wanted.h5"))


def test_networks_that_matterport_cannot_build() -> None:
    with pytest.raises(UserError, match="to_matterport: expected a ResNet-50 or 101, as Matterport's Mask R-CNN has"):
        to_matterport(small_model())
    with pytest.raises(UserError, match="to_matterport: expected batch normalisation after biased convolutions"):
        to_matterport(MaskRCNN(maskrcnn_resnet50_fpn(["a"])))
    config = matterport_resnet_fpn(["a"], depth=50)
    config = replace(config, backbone=replace(config.backbone, width=32), fpn=replace(config.fpn, channels=8))
    with pytest.raises(UserError, match="to_matterport: expected batch normalisation after biased convolutions"):
        to_matterport(MaskRCNN(replace(config, backbone=replace(config.backbone, norm="gn32"))))
    anchors = replace(config.rpn.anchors, aspect_ratios=(1.0, 2.0))
    with pytest.raises(UserError, match="to_matterport: expected three anchors a cell"):
        to_matterport(MaskRCNN(replace(config, rpn=replace(config.rpn, anchors=anchors))))
