"""Whole models as files: what the file detects is what the model detects."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

if torch.__version__.startswith(("2.4.", "2.5.")):
    pytest.skip("export needs torch 2.6", allow_module_level=True)

import fastmrcnn
from fastmrcnn.cli import main
from fastmrcnn.deployment import Exported, Interface, compare, export, exporting, load_exported, optimize, torch_program
from fastmrcnn.deployment.detector import NetworkDetector
from fastmrcnn.deployment.folding import fold_norms
from fastmrcnn.deployment.samples import sample_images
from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNN
from fastmrcnn.weights import load_model, save_model
from tests.models.architectures import ARCHITECTURES, model_of, with_pyramid

# The narrow networks resize to some 64 pixels, so boxes of the photograph are enlarged six times, and their errors too.
BOX, SCORE, MASK_IOU = 1e-2, 1e-4, 0.99
PHOTOGRAPH = str(Path(fastmrcnn.__file__).parent / "assets" / "coins.png")


def needs_onnx() -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)


def assert_agrees(agreement: Any, least: int = 20) -> None:
    assert agreement.detections >= least
    assert agreement.alone == 0
    assert agreement.box < BOX
    assert agreement.score < SCORE
    assert agreement.mask_iou is None or agreement.mask_iou > MASK_IOU
    assert agreement.keypoint is None or agreement.keypoint < 10 * BOX


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[MaskRCNN, Exported]:
    """The shipped model, exported to ONNX."""
    needs_onnx()
    model, path = load_model("tiny"), tmp_path_factory.mktemp("export") / "model.onnx"
    return model, export(model, path, check_images=sample_images(3))


def test_the_file_detects_what_the_model_detects(shipped: tuple[MaskRCNN, Exported]) -> None:
    assert_agrees(shipped[1].agreement)


def test_the_file_has_standard_operators_alone_and_says_what_it_is(shipped: tuple[MaskRCNN, Exported]) -> None:
    import onnx

    model, done = shipped
    file = onnx.load(done.path)
    onnx.checker.check_model(file, full_check=True)
    assert {node.domain for node in file.graph.node} == {""}
    assert [(entry.domain, entry.version) for entry in file.opset_import] == [("", 18)]
    assert not file.functions
    assert (file.producer_name, file.producer_version) == ("fastmrcnn", fastmrcnn.__version__)
    metadata = {entry.key: entry.value for entry in file.metadata_props}
    assert json.loads(metadata["class_names"]) == list(model.config.class_names)
    assert "boxes: float32 [batch, 100, 4]" in metadata["outputs"]
    [images] = file.graph.input
    assert [size.dim_param or size.dim_value for size in images.type.tensor_type.shape.dim] == [
        "batch",
        3,
        "height",
        "width",
    ]


def test_batches_and_sizes_of_all_kinds(shipped: tuple[MaskRCNN, Exported]) -> None:
    model, done = shipped
    exported = load_exported(done.path)
    for count, height, width in ((3, 64, 96), (1, 400, 50), (1, 31, 33)):
        generator = torch.Generator().manual_seed(height)
        images = list(torch.randint(256, (count, 3, height, width), generator=generator, dtype=torch.uint8))
        with torch.no_grad():
            expected = model.detect(images)
        assert_agrees(compare(expected, exported.detect(images)), least=5)


def test_an_image_without_detections(shipped: tuple[MaskRCNN, Exported]) -> None:
    exported, photograph = load_exported(shipped[1].path), sample_images(3)[0]
    found = exported.predict(torch.zeros(3, 50, 80, requires_grad=True))
    assert len(found) == 0
    assert found.masks.shape == (0, 50, 80)
    beside = exported.detect([torch.zeros_like(photograph), photograph])
    assert (len(beside[0]), len(beside[1])) == (0, 24)


def test_the_code_on_the_page(
    shipped: tuple[MaskRCNN, Exported], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "DEPLOYMENT.md").read_text(encoding="utf-8")
    optimizing, running, *_ = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    model, done = shipped
    monkeypatch.chdir(tmp_path)
    Path("model.onnx").symlink_to(done.path)
    Image.fromarray(sample_images(3)[0].permute(1, 2, 0).numpy()).save("photo.jpg")
    save_model(model, Path("runs/mine/best.safetensors"))
    exec(compile(optimizing, "DEPLOYMENT.md", "exec"), {})

    alone = f"import sys\nsys.modules['torch'] = sys.modules['fastmrcnn'] = None\n{running}"
    ran = subprocess.run([sys.executable, "-c", alone], capture_output=True, text=True, check=True)
    found = model.predict("photo.jpg", score_threshold=0.5)
    assert len(found) == 24
    areas = [float(line.split()[-2]) for line in ran.stdout.splitlines() if line.startswith("coin ")]
    assert areas == pytest.approx(found.run_lengths.areas().tolist(), abs=1)  # a pixel on the very threshold
    with Image.open("overlay.png") as overlay:
        assert overlay.size == (found.image_size[1], found.image_size[0])


@pytest.mark.slow
@pytest.mark.parametrize("format", ["torch-export", "aotinductor"])
def test_programs_of_torch(format: Any, tmp_path: Path) -> None:
    inputs = "network" if format == "aotinductor" else "uint8"
    config = with_pyramid()
    sides = dataclasses.replace(config.input, min_size=128, max_size=512)  # a compiled one takes more than 64 pixels
    model = model_of(dataclasses.replace(config, input=sides))
    done = export(model, tmp_path / "model.pt2", format=format, inputs=inputs, check_images=sample_images(3))
    assert done.agreement is not None
    assert_agrees(done.agreement)
    if format == "aotinductor":
        compiled = torch._inductor.aoti_load_package(str(done.path))
        with pytest.raises(RuntimeError, match="multiples of 32 and more than 64; got 320 x 32"):
            compiled(torch.zeros(1, 3, 320, 32), torch.tensor([[320, 32]]))
        with pytest.raises(UserError, match="multiples of 32 and more than 64; got 160 x 32"):
            load_exported(done.path).predict(torch.zeros(3, 160, 20))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c4", "c5", "rpn", "every ablation", "keypoints", "gn everywhere", "detectron2"])
def test_other_architectures(name: str, tmp_path: Path) -> None:
    needs_onnx()
    images = [image[:, :100, :120] for image in sample_images(3)[:2]]
    inputs: Any = "network" if name == "detectron2" else "uint8"
    done = export(model_of(ARCHITECTURES[name]), tmp_path / "model.onnx", inputs=inputs, check_images=images)
    assert done.agreement is not None
    assert_agrees(done.agreement, least=3)


@pytest.mark.parametrize("name", ["resnet18", "matterport"])
def test_frames_of_all_sizes(name: str) -> None:
    """Of one cell of the coarsest map, long ones, squares: none is that of the trace."""
    model = model_of(ARCHITECTURES[name])
    fold_norms(model)
    program = torch_program.trace(model, Interface(model.config, "network")).module()
    step = model.config.input.size_divisor
    generator = torch.Generator().manual_seed(0)
    for images, high, wide in ((1, 1, 1), (1, 1, 5), (2, 5, 1), (1, 3, 3)):
        pixels = torch.rand(images, 3, high * step, wide * step, generator=generator)
        sizes = torch.tensor([[high * step, wide * step]] * images)
        with torch.no_grad():
            expected = NetworkDetector(model)(pixels, sizes)
        for one, other in zip(program(pixels, sizes), expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-4)
    with pytest.raises(UserError, match=rf"sides that are multiples of {step}; got 40 x {step}"):
        program(torch.zeros(1, 3, 40, step), torch.tensor([[40, step]]))


def test_what_cannot_be_exported_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matterport = MaskRCNN(ARCHITECTURES["matterport"])
    with pytest.raises(UserError, match=r"Matterport's.* is exported with --inputs network; got --inputs uint8"):
        export(matterport, tmp_path / "model.pt2", format="torch-export")
    with pytest.raises(UserError, match=r"aotinductor takes --inputs network; got --inputs uint8"):
        export(matterport, tmp_path / "model.pt2", format="aotinductor")
    with pytest.raises(UserError, match=r"ONNX has no soft-NMS: expected box_head.nms box; got gaussian"):
        export(MaskRCNN(with_pyramid(box_head={"nms": "gaussian"})), tmp_path / "model.onnx")
    with pytest.raises(UserError, match=r"masks are compared outside of the network: .* got mask"):
        export(MaskRCNN(with_pyramid(box_head={"nms": "mask"})), tmp_path / "model.pt2", format="torch-export")
    with pytest.raises(UserError, match=r"before fastmrcnn.optimize; got an OptimizedMaskRCNN"):
        export(optimize(MaskRCNN(with_pyramid()), sample=[], compile=False), tmp_path / "model.onnx")
    with pytest.raises(UserError, match=r"model.pt2: cannot write a file here: this is a folder"):
        (tmp_path / "model.pt2").mkdir()
        export(matterport, tmp_path / "model.pt2", format="torch-export", inputs="network")
    (tmp_path / "model.pt2").rmdir()
    with monkeypatch.context() as without:
        without.setattr(exporting.importlib.util, "find_spec", lambda name: None if name.startswith("onnx") else name)
        with pytest.raises(UserError, match=r"needs onnx, onnxscript: pip install onnx onnxscript$"):
            export(matterport, tmp_path / "model.onnx", inputs="network")
    monkeypatch.setattr(exporting, "_require_packages", lambda format, check: None)
    monkeypatch.setattr(exporting, "MOST_OF_ONNX", 1000)
    with pytest.raises(UserError, match=r"weights of less than 2 GiB, as an ONNX file holds no more; got 0.0 GiB"):
        export(matterport, tmp_path / "model.onnx", inputs="network")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_detects_something_else_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, path = model_of(ARCHITECTURES["rpn"]), tmp_path / "model.pt2"
    path.write_text("older")
    detect = MaskRCNN.detect

    def shifted(own: MaskRCNN, images: list[Tensor]) -> Any:
        return [dataclasses.replace(found, boxes=found.boxes + 2) for found in detect(own, images)]

    monkeypatch.setattr(MaskRCNN, "detect", shifted)
    with pytest.raises(UserError, match=r"does not detect what the model detects: .* boxes within 2"):
        export(model, path, format="torch-export", check_images=sample_images(3)[:1])
    assert path.read_text() == "older"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.pt2"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = tmp_path / "model.safetensors"
    save_model(model_of(with_pyramid()), weights)
    path = tmp_path / "model.pt2"
    words = ["export", "--weights", str(weights), "--format", "torch-export", "--output", str(path)]
    assert main([*words, "--score-threshold", "0.6", "--max-detections", "15"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("limit:  at most 15 detections an image")
    assert "input:  images: uint8 [batch, 3, height, width]: RGB, 0..255, all of one size" in printed
    agreement = re.search(r"model: (\d+) detections in 6 images: boxes within (\S+) px", printed)
    assert agreement is not None
    assert int(agreement[1]) > 20
    assert float(agreement[2]) < BOX
    photograph = sample_images(3)[0] / 255
    found = load_exported(path).predict(photograph.requires_grad_())
    assert not any(tensor.requires_grad for tensor in (found.boxes, found.scores, found.mask_probs))
    assert (found.scores > 0.6).all()
    assert main([*words, "--score-threshold", "1", "--check-images", PHOTOGRAPH]) == 0
    assert "checked only where nothing is found" in capsys.readouterr().out
    assert main([*words, "--inputs", "words"]) == 2
    assert main([*words[:-1], "model.onnx"]) == 2
    assert "output must end in .pt2 for the format torch-export; got model.onnx" in capsys.readouterr().err


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model.onnx: expected a file of `fastmrcnn export`; there is no such file"):
        load_exported(tmp_path / "model.onnx")
    model = torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),))
    torch.export.save(model, tmp_path / "other.pt2")
    with pytest.raises(UserError, match=r"other.pt2: expected a file of `fastmrcnn export`; it was written by other"):
        load_exported(tmp_path / "other.pt2")


@pytest.mark.slow
def test_images_of_five_bands(tmp_path: Path) -> None:
    needs_onnx()
    config = with_pyramid()
    bands = dataclasses.replace(config.input, mean=(0.5,) * 5, std=(0.2,) * 5)
    model = MaskRCNN(
        dataclasses.replace(config, input=bands, box_head=dataclasses.replace(config.box_head, score_threshold=0.2))
    )
    done = export(model, tmp_path / "model.onnx", inputs="float32", check_images=sample_images(5)[:2])
    assert_agrees(done.agreement)
