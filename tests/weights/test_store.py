"""Own weights files: what is written is read back, and what is not such a file is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, safe_open, save_file

from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNN, tiny
from fastmrcnn.weights import load_model, save_model
from tests.models.small import images_of, small_model

STEM = "backbone.stem.conv1.conv.weight"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_model(small_model(), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata())


def test_what_no_file_holds_is_made_anew() -> None:
    """Loaded models are built without values: whatever a state_dict lacks has to be computed when they are loaded."""
    model = load_model("tiny")
    missing = {name: buffer for name, buffer in model.named_buffers() if name not in model.state_dict()}
    assert set(missing) == {"transform.mean", "transform.std"}
    for name, values in (("mean", model.config.input.mean), ("std", model.config.input.std)):
        assert torch.equal(missing[f"transform.{name}"].flatten(), torch.tensor(values))


def test_a_model_survives(saved: Path) -> None:
    model, loaded = small_model(), load_model(saved)
    assert not loaded.training
    assert loaded.config == model.config
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items())
    [image] = images_of((48, 64))
    assert torch.equal(loaded.predict(image).boxes, model.predict(image).boxes)


def test_any_configuration_survives(tmp_path: Path) -> None:
    model = small_model(backbone={"norm": "gn"}, input={"train_min_sizes": (64, 96)}, mask_head={"norm": "gn"})
    save_model(model, tmp_path / "model.safetensors")
    assert load_model(tmp_path / "model.safetensors").config == model.config


def test_half_precision_storage_is_nearly_half_as_large(saved: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.safetensors"
    save_model(small_model(), half, dtype=torch.float16)
    assert half.stat().st_size < 0.65 * saved.stat().st_size  # 0.5 for models of useful width
    loaded = load_model(half)
    for name, value in small_model().state_dict().items():
        restored = loaded.state_dict()[name]
        assert restored.dtype == value.dtype
        assert torch.equal(restored, value.half().to(value.dtype) if value.ndim >= 2 else value)


def test_weights_beyond_half_precision_are_refused(tmp_path: Path) -> None:
    model = small_model()
    with torch.no_grad():
        model.backbone.stem.conv1.conv.weight[0, 0, 0, 0] = 1e5
    with pytest.raises(ValueError, match=r"stem.conv1.conv.weight must fit torch.float16; its largest value is 100000"):
        save_model(model, tmp_path / "model.safetensors", dtype=torch.float16)
    assert list(tmp_path.iterdir()) == []


def test_loading_leaves_the_random_numbers_alone(saved: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_model(saved)
    assert torch.equal(torch.rand(3), expected)


def rewrite(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors, metadata = load_file(path), metadata_of(path)
    change(tensors)
    save_file(tensors, path, metadata)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def cut_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def without_metadata(path: Path) -> None:
    save_file(load_file(path), path)


def with_metadata(**changes: str) -> Callable[[Path], None]:
    return lambda path: save_file(load_file(path), path, metadata_of(path) | changes)


def with_fields(path: Path, **changes: dict[str, object]) -> None:
    config = json.loads(metadata_of(path)["config"])
    for component, fields in changes.items():
        config[component] |= fields
    with_metadata(config=json.dumps(config))(path)


BROKEN: list[tuple[Callable[[Path], object], str]] = [
    (cut, "expected a complete safetensors file; it is damaged or cut short"),
    (cut_header, "expected a complete safetensors file; it is damaged or cut short"),
    (lambda path: path.write_bytes(b""), ".pth, .pkl or .h5); the file is empty"),
    (
        lambda path: path.write_text("hello, world"),
        "expected a weights file (safetensors, .pth, .pkl or .h5); it begins with b'hello, wo'",
    ),
    (without_metadata, "expected the metadata that fastmrcnn.save_model writes; they name no such format"),
    (with_metadata(format="pt"), "expected the metadata that fastmrcnn.save_model writes"),
    (with_metadata(format_version="9"), "expected format version 1 of fastmrcnn's models; got 9"),
    (with_metadata(config="{"), "expected a valid model configuration in the metadata: "),
    (with_metadata(config="{}"), "configuration in the metadata: MaskRCNNConfig: missing field 'class_names'"),
    (
        with_metadata(config=json.dumps({"class_names": ["a"], "roi": 1})),
        "configuration in the metadata: MaskRCNNConfig: unknown field 'roi'; expected class_names,",
    ),
    (
        lambda path: with_fields(path, box_head={"hidden": 10**9}),  # more than any machine has
        "expected 'roi_heads.box_head.layers.0.linear.weight' to be [1000000000, 392]; found [16, 392]",
    ),
    (
        lambda path: with_fields(path, box_head={"hidden": 10**12}),  # more than any tensor has
        "expected sizes that tensors can have: Storage size calculation overflowed",
    ),
    (lambda path: with_fields(path, box_head={"hidden": 10**30}), "expected sizes that tensors can have: "),
    (lambda path: with_fields(path, mask_head={"convolutions": 10**9}), "convolutions must be <= 1000; got 1000000000"),
    (with_metadata(config="[" * 100_000), "expected a valid model configuration in the metadata: "),
    (
        lambda path: rewrite(path, lambda tensors: tensors.pop(STEM)),
        f"expected a tensor '{STEM}' [8, 3, 7, 7]; it is missing (1 in all)",
    ),
    (
        lambda path: rewrite(path, lambda tensors: tensors.update({"extra": torch.zeros(1)})),
        "expected no tensor 'extra', the configured model has none of that name; found [1] (1 in all)",
    ),
    (
        lambda path: rewrite(path, lambda tensors: tensors.update({STEM: torch.zeros(8, 3, 5, 5)})),
        f"expected '{STEM}' to be [8, 3, 7, 7]; found [8, 3, 5, 5]",
    ),
]


@pytest.mark.parametrize(("damage", "message"), BROKEN)
def test_broken_files_are_refused_in_one_line(saved: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(saved)
    with pytest.raises(UserError) as raised:
        load_model(saved)
    assert str(raised.value).startswith(f"{saved}: ")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


NEAREST = {
    "maskrcnn_resnet50_fpn": "torchvision/maskrcnn_resnet50_fpn or torchvision/maskrcnn_resnet50_fpn_v2 or",
    "detectron2/mask_rcnn_R_50_FPN_3x.pkl": "detectron2/mask_rcnn_R_50_FPN_3x or",
    "nosuch.pth": "tiny or detectron2/mask_rcnn_R_50_FPN_3x (MODELS.md lists them all); found neither",
}


@pytest.mark.parametrize("wanted", NEAREST)
def test_neither_a_file_nor_a_name(wanted: str) -> None:
    with pytest.raises(UserError) as raised:
        load_model(wanted)
    beginning = f"{wanted}: expected a weights file or the name of a model, such as "
    assert str(raised.value).startswith(beginning + NEAREST[wanted])


def test_names_of_backbones() -> None:
    with pytest.raises(
        UserError, match=r"^torchvision/resnet50: expected the name of a whole model; load_backbone takes"
    ):
        load_model("torchvision/resnet50")


def test_folders_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected a weights file; this is a folder$"):
        load_model(tmp_path)
    (tmp_path / "best.safetensors").touch()
    with pytest.raises(UserError, match=r"this is a folder \(did you mean .*best\.safetensors\?\)$"):
        load_model(tmp_path)


def test_equal_models_are_equal_files(tmp_path: Path) -> None:
    model = MaskRCNN(tiny(("Füße", 'a "b"\t\\')))
    files = [tmp_path / f"{number}.safetensors" for number in range(4)]  # any order of three: 1 in 216 by chance
    for path in files:
        save_model(model, path)
    assert len({path.read_bytes() for path in files}) == 1
    assert load_model(files[0]).config == model.config


def test_the_device_is_chosen(saved: Path) -> None:
    model: MaskRCNN = load_model(saved, device="meta")
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


@pytest.mark.parametrize("name", ["cuda:99", "abacus"])
def test_a_device_that_is_not_there(saved: Path, name: str) -> None:
    with pytest.raises(UserError) as caught:
        load_model(saved, device=name)
    assert (
        f"load_model: device must be one of this machine's, such as cpu, or cuda where there is a GPU; got '{name}'"
        in (str(caught.value))
    )
