"""A model made fast: the same detections, everything said that was done or was not possible, the original untouched."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fastmrcnn
from fastmrcnn.cli import main
from fastmrcnn.deployment import OptimizedMaskRCNN, compare, optimization, optimize
from fastmrcnn.deployment.folding import scale_and_shift
from fastmrcnn.deployment.samples import sample_images
from fastmrcnn.errors import UserError
from fastmrcnn.models import InputConfig, MaskRCNN, compiling
from fastmrcnn.models.blocks import ConvNorm
from fastmrcnn.ops import FrozenBatchNorm2d
from fastmrcnn.ops.fused_convolution import FusedConv2d
from fastmrcnn.ops.winograd import WinogradConv2d
from fastmrcnn.weights import save_model
from tests.models.architectures import ARCHITECTURES, model_of, with_pyramid
from tests.models.small import images_of

SIZES = ((64, 96), (90, 60))
FAMILIES = ("resnet18", "resnext101", "c4", "rpn", "bn everywhere", "sync_bn everywhere", "gn everywhere")
FAMILIES += ("frozen_bn everywhere", "torchvision keypoints", "detectron2", "matterport")
NORMS = nn.BatchNorm2d | nn.SyncBatchNorm | FrozenBatchNorm2d


def with_statistics(name: str) -> MaskRCNN:
    """A small model whose batch norms are no identities."""
    model = model_of(ARCHITECTURES[name])
    for norm in model.modules():
        if isinstance(norm, NORMS):
            for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                tensor.data.add_(torch.rand_like(tensor), alpha=0.1)
    return model


@pytest.mark.parametrize("name", FAMILIES)
def test_every_architecture_detects_the_same(name: str) -> None:
    model = with_statistics(name)
    fast, images = optimize(model, precision="float32", sample=images_of(*SIZES)), images_of(*SIZES)
    assert fast.report.deviation is not None
    assert fast.report.deviation.detections > 10
    assert fast.report.deviation.alone == 0
    assert fast.report.deviation.box < 1e-3
    assert fast.report.deviation.score < 1e-5
    norms = [module for module in fast.modules() if isinstance(module, ConvNorm)]
    left = [module for module in norms if scale_and_shift(module.norm) is not None]
    assert not left
    with torch.no_grad():
        agreement = compare(model(images), fast(images))
    assert agreement.alone == 0


def test_the_shipped_model_detects_the_same_by_winograd(shipped: MaskRCNN, fast: OptimizedMaskRCNN) -> None:
    layers = [module for module in fast.modules() if isinstance(module, WinogradConv2d)]
    assert len(layers) > 10
    assert fast.report.step("Winograd").detail.startswith(f"{len(layers)} 3x3 convolutions, ")
    assert fast.report.step("batch norms").detail == "20 folded into the layers before them"
    deviation = fast.report.deviation
    assert deviation is not None
    assert deviation.detections == 24
    assert deviation.alone == 0
    assert deviation.box < 1e-3
    assert deviation.mask_iou is not None
    assert deviation.mask_iou > 0.999


@pytest.mark.parametrize("name", ["resnext101", "c4", "matterport"])
def test_fused_sums_leave_the_features_of_other_stages_alone(name: str) -> None:
    model = with_statistics(name)
    fast = optimize(model, precision="float32", sample=[])
    layers = [module for module in fast.modules() if isinstance(module, FusedConv2d)]
    assert fast.report.step("fusion").detail.startswith(f"{len(layers)} convolutions ")
    pixels = torch.randn(2, 3, 64, 96).to(memory_format=torch.channels_last)
    before = pixels.clone()
    with torch.inference_mode():
        stages, expected = fast.backbone(pixels), model.backbone(pixels)
        for found, wanted in zip((*stages, *fast.features(pixels)), (*expected, *model.features(pixels)), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))
    assert torch.equal(pixels, before)


@torch.no_grad()
def test_rearranged_layers_give_the_same() -> None:
    model = with_statistics("detectron2")
    assert model.roi_heads is not None
    box_head, head = copy.deepcopy(model.roi_heads.box_head), copy.deepcopy(model.rpn.head)
    for _ in range(2):  # a second time changes nothing
        box_head.read_channels_last()
        head.join_predictors()
    regions = torch.randn(3, model.config.feature_channels, box_head.cells, box_head.cells)
    for layout in (torch.contiguous_format, torch.channels_last):
        x = regions.to(memory_format=layout)
        for found, expected in zip(box_head(x), model.roi_heads.box_head(regions), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        for found, expected in zip(head(x), model.rpn.head(regions), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_original_stays_as_it_is(shipped: MaskRCNN) -> None:
    model = copy.deepcopy(shipped).train()
    state, image = copy.deepcopy(model.state_dict()), torch.rand(3, 60, 80)
    fast = optimize(model, precision="bfloat16", compile=False, sample=[image])
    assert model.training
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.rpn.parameters())
    assert not fast.training
    assert not any(tensor.is_inference() for tensor in (*fast.parameters(), *fast.buffers()))
    assert type(model) is MaskRCNN


def test_a_copy_and_a_pickle_detect_the_same(fast: OptimizedMaskRCNN) -> None:
    image = torch.rand(3, 60, 80)
    expected = fast.predict(image, score_threshold=0.1)
    for twin in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        assert torch.equal(twin.predict(image, score_threshold=0.1).boxes, expected.boxes)
        assert twin.report == fast.report


@pytest.mark.parametrize("context", [torch.device("meta"), torch.autocast("cpu", dtype=torch.bfloat16)])
def test_wherever_it_is_called(shipped: MaskRCNN, fast: OptimizedMaskRCNN, context: Any) -> None:
    with context:
        optimized = optimize(shipped, precision="float32")
    assert [step.done for step in optimized.report.steps] == [step.done for step in fast.report.steps]
    image = sample_images(3)[0]
    assert torch.equal(optimized.predict(image).boxes, fast.predict(image).boxes)


def test_it_only_detects(shipped: MaskRCNN, fast: OptimizedMaskRCNN, tmp_path: Path) -> None:
    for call in (
        fast.train,
        lambda: fast.losses([], []),
        lambda: fast.losses_and_detections([], []),
        lambda: save_model(fast, tmp_path / "model.safetensors"),
        lambda: fast.load_state_dict(shipped.state_dict(), strict=False),
    ):
        with pytest.raises(UserError, match="an optimised model only detects; train, save and convert the model that"):
            call()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="optimize: expected a plain model; this one is optimised already"):
        optimize(fast)
    with pytest.raises(UserError, match="optimize: expected a MaskRCNN, as load_model gives; got str"):
        optimize("tiny")  # type: ignore[arg-type]


def test_the_report_reads_well(fast: OptimizedMaskRCNN) -> None:
    lines = str(fast.report).splitlines()
    assert lines[0] == "batch norms      20 folded into the layers before them"
    assert "CUDA graphs      no: the model is not on a GPU" in lines
    assert max(map(len, lines)) <= 120
    assert str(fast.report.step("channels-last")) == "channels-last: maps and weights, as they were"


def test_what_the_deviation_is_measured_on(shipped: MaskRCNN, tmp_path: Path) -> None:
    dark = optimize(shipped, precision="float32", sample=torch.zeros(3, 50, 80)).report
    assert "nothing was detected in the sample" in str(dark)
    assert optimize(shipped, precision="float32", sample=[]).report.deviation is None
    with pytest.raises(UserError, match=r"missing\.png"):
        optimize(shipped, sample=tmp_path / "missing.png")
    bands = InputConfig(min_size=64, max_size=128, mean=(0.5,) * 5, std=(0.2,) * 5)
    config = dataclasses.replace(with_pyramid(), input=bands)
    assert optimize(MaskRCNN(config), precision="float32").report.deviation is not None


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method")  # of torch's compiler about itself
def test_the_trunk_is_compiled_where_asked_for(shipped: MaskRCNN, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        seen.append([str(node.target) for node in graph.graph.nodes])
        return graph.forward

    monkeypatch.setattr(optimization, "check_compiler", lambda device: None)
    monkeypatch.setattr(optimization, "compile_trunk", partial(compiling.compile_trunk, backend=backend))
    assert not optimize(shipped, precision="float32", sample=[]).report.step("compilation").done
    assert str(optimize(shipped, compile=False, sample=[]).report.step("compilation")).endswith("no: not wanted")
    assert not seen
    fast = optimize(shipped, precision="float32", compile=True)
    assert fast.report.step("compilation").done
    assert any("winograd_conv3x3" in target for graph in seen for target in graph)
    assert fast.report.deviation is not None
    assert fast.report.deviation.box < 1e-3
    before = len(seen)
    for twin in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        assert twin.backbone._compiled_call_impl is not None
    before, sizes = len(seen), [(200, 300), (100, 400), (300, 301), (310, 450), (260, 130)]
    for size in sizes:
        fast.predict(torch.rand(3, *size))
    assert len(seen) - before < len(sizes)  # torch has other programs for small maps


def test_without_a_compiler_it_runs_and_says_so(shipped: MaskRCNN, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
    fast = optimize(shipped, precision="float32", compile=True, sample=[])
    assert "on the PATH; there is none" in fast.report.step("compilation").detail

    def broken(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(optimization, "check_compiler", lambda device: None)
    monkeypatch.setattr(optimization, "compile_trunk", partial(compiling.compile_trunk, backend=broken))
    fast = optimize(shipped, precision="float32", compile=True)
    assert not fast.report.step("compilation").done
    assert fast.report.deviation is not None
    assert fast.report.deviation.alone == 0
    fast.compiled = True  # as where there is a compiler
    monkeypatch.undo()
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
    with pytest.warns(UserWarning, match="^detection runs uncompiled: compile: expected a C"):
        twin = copy.deepcopy(fast)
    assert (twin.compiled, twin.backbone._compiled_call_impl) == (False, None)


def test_the_commands_take_fast(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assets = Path(fastmrcnn.__file__).parent / "assets"
    results = {}
    for name, options in (("plain", []), ("fast", ["--fast"])):
        command = ["predict", str(assets / "coins.png"), "--output", str(tmp_path / name), "--save", "coco", *options]
        assert main(command) == 0
        said = capsys.readouterr().err
        assert ("batch norms      20 folded" in said) == (name == "fast")
        results[name] = json.loads((tmp_path / name / "predictions.json").read_text())
    assert len(results["plain"]) == len(results["fast"]) == 24
    for one, other in zip(results["plain"], results["fast"], strict=True):
        assert other["bbox"] == pytest.approx(one["bbox"], abs=1e-3)
    assert main(["eval", "--annotations", str(assets / "coins.json"), "--images", str(assets), "--fast"]) == 0
    table, said = capsys.readouterr()
    assert table.startswith("Boxes")
    assert "deviation        24 detections in 1 images" in said


def test_it_is_a_name_of_the_package() -> None:
    assert fastmrcnn.optimize is optimize
