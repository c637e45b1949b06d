"""``fastmrcnn bench``: every stage is seen, the stages add up to the whole, and the model is left as it was."""

from __future__ import annotations

import dataclasses
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import fastmrcnn
from fastmrcnn.cli import main
from fastmrcnn.deployment.graphs import GraphCache
from fastmrcnn.errors import UserError
from fastmrcnn.models import KeypointHeadConfig, MaskRCNN
from fastmrcnn.profiling import BenchConfig, Place, StageClock, bench, profile, watched
from fastmrcnn.profiling import clock as clock_module
from fastmrcnn.profiling.stages import places_of
from fastmrcnn.weights import save_model
from tests.models.small import images_of, small_config, small_model

ALWAYS = {"decode", "resize", "normalise, pad", "backbone", "RPN: head", "RPN: proposals", "paste, RLE", "rest"}
BOXES = {"pooling", "box head", "detections"}
KEYPOINTS = KeypointHeadConfig(("left", "right"), convolutions=1, channels=8)
[IMAGE] = images_of((48, 64))


def detecting(**changes: Any) -> MaskRCNN:
    """Detections whatever the scores."""
    return small_model(**({"box_head": {"score_threshold": 0.0, "hidden": 16}} | changes)).eval()


def test_time_counts_for_the_innermost_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 1.0, 3.0, 7.0, 7.5, 8.0, 100.0, 100.25])
    monkeypatch.setattr(clock_module.time, "perf_counter", lambda: next(now))
    clock = StageClock()
    with clock.stage("whole"), clock.stage("part"), clock.stage("inner"):  # from 0, 1 and 3
        pass  # to 7, 7.5 and 8
    with clock.stage("part"):  # long afterwards, when nobody waits
        pass
    assert clock.milliseconds() == {"whole": 1500.0, "part": 2750.0, "inner": 4000.0}


def test_watched_functions_are_put_back() -> None:
    class Owner:
        def method(self) -> str:
            return "own"

    clock, owner, before = StageClock(), Owner(), Owner.__dict__["method"]
    with pytest.raises(ZeroDivisionError), watched([Place(Owner, "method", "class"), Place(time, "sleep", "s")], clock):
        assert Owner().method() == "own"
        time.sleep(0)
        raise ZeroDivisionError
    assert set(clock.milliseconds()) == {"class", "s"}
    assert Owner.__dict__["method"] is before
    with watched([Place(owner, "method", "object")], clock):
        assert owner.method() == "own"
    assert vars(owner) == {}


@pytest.mark.parametrize(
    ("changes", "stages"),
    [
        ({}, {"FPN", "mask head"} | BOXES),
        ({"mask_head": None}, {"FPN"} | BOXES),
        ({"mask_head": None, "keypoint_head": KEYPOINTS}, {"FPN", "keypoint head"} | BOXES),
        ({"mask_head": None, "box_head": None}, {"FPN"}),
    ],
    ids=["masks", "boxes", "keypoints", "proposals"],
)
def test_every_stage_is_seen(changes: dict[str, Any], stages: set[str]) -> None:
    model = detecting(**changes)
    expected, attributes = model.predict(IMAGE), [set(vars(module)) for module in model.modules()]
    found = profile(model, IMAGE, batch_size=2, repeats=1)
    assert set(found.stages) == ALWAYS | stages
    assert all(took > 0 for took in found.stages.values())
    assert (found.image_size, found.network_size, found.batch_size) == ((48, 64), (64, 64), 2)
    assert found.detections == len(expected) > 0
    assert [set(vars(module)) for module in model.modules()] == attributes
    assert torch.equal(model.predict(IMAGE).boxes, expected.boxes)


def test_the_stages_add_up_to_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model, [image] = detecting(), images_of((120, 128))
    outside: list[float] = []
    predict = model.predict

    def timed(*arguments: Any, **keywords: Any) -> Any:
        start = time.perf_counter()
        found = predict(*arguments, **keywords)
        outside.append((time.perf_counter() - start) * 1e3)
        return found

    monkeypatch.setattr(model, "predict", timed)
    found = profile(model, image, repeats=1)
    watched_whole = outside[-1]  # the last prediction is the one whose stages are shown
    assert found.sum_ms - found.stages["paste, RLE"] == pytest.approx(watched_whole, rel=0.05, abs=1)
    assert str(found).splitlines()[-2].split()[-1] == "100.0"


def test_what_torch_has_compiled_is_timed_as_a_whole() -> None:
    model = detecting()
    model.backbone._compiled_call_impl = model.backbone._call_impl  # where `compile()` keeps what it has made
    assert profile(model, IMAGE, repeats=1).stages["backbone"] > 0
    assert model.backbone._compiled_call_impl == model.backbone._call_impl


def test_a_graph_is_one_stage() -> None:
    model = fastmrcnn.optimize(detecting(), sample=[])
    model.graphs = GraphCache(model.detect_directly, 1)
    assert {place.stage for place in places_of(model)} == {"decode", "resize", "normalise, pad", "network (CUDA graph)"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("fast", [False, True])
def test_a_gpu_is_timed_by_its_events(fast: bool) -> None:
    model = detecting().cuda()
    found = profile(fastmrcnn.optimize(model, sample=[]) if fast else model, IMAGE, repeats=5)
    assert found.sum_ms == pytest.approx(found.whole_ms, rel=0.5)
    assert found.peak_gpu_memory is not None
    assert found.peak_gpu_memory > 0


def test_images_of_five_bands(tmp_path: Path) -> None:
    config = small_config()
    bands = dataclasses.replace(config.input, mean=(0.5,) * 5, std=(0.2,) * 5)
    weights, picture = tmp_path / "five.safetensors", tmp_path / "five.npy"
    save_model(MaskRCNN(dataclasses.replace(config, input=bands)), weights)
    of = partial(BenchConfig, model=str(weights), repeats=1, device="cpu")
    assert bench(of(size=(40, 60))).image_size == (40, 60)
    np.save(picture, np.zeros((30, 40, 5), np.uint8))
    assert bench(of(image=picture)).image_size == (30, 40)
    with pytest.raises(
        UserError, match=r"size: expected a model of grey or RGB images; .*safetensors takes 5 channels"
    ):
        bench(of(image=picture, size=(40, 60)))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights, picture, output = tmp_path / "small.safetensors", tmp_path / "picture.png", tmp_path / "bench.json"
    save_model(detecting(), weights)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)).save(picture)
    threads = torch.get_num_threads()
    words = [
        "bench",
        "--model",
        str(weights),
        "--image",
        str(picture),
        "--size",
        "48",
        "64",
        "--threads",
        "1",
        "--fast",
    ]
    assert main([*words, "--score-threshold", "0", "--repeats", "1", "--output", str(output), "--device", "cpu"]) == 0
    assert torch.get_num_threads() == threads
    told = capsys.readouterr()
    assert "batch norms" in told.err
    lines = told.out.splitlines()
    assert lines[0] == "1 image of 48 x 64 at a time, 64 x 64 in the network; cpu, 1 thread, float32"
    written = json.loads(output.read_text())
    assert (written["model"], written["fast"], written["threads"]) == (str(weights), True, 1)
    assert [line.rsplit(maxsplit=2)[0] for line in lines[2:-3]] == list(written["stages"])
    assert written["sum_ms"] == pytest.approx(sum(written["stages"].values()))
    assert main([*words[:3], "--image", str(tmp_path / "none.png")]) == 2
    assert "none.png: expected an image file; there is no such file" in capsys.readouterr().err
    assert main([*words[:3], "--batch-size", "0"]) == 2
    assert capsys.readouterr().err == "fastmrcnn: error: batch_size must be at least 1; got 0\n"
