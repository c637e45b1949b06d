"""Tiles, test-time augmentation, kinds of NMS and more detections as options of the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image

import fastmrcnn.inference.outputs.pixels as pixels_module
from fastmrcnn import models
from fastmrcnn.cli import main
from fastmrcnn.data.scenes import write_dataset
from fastmrcnn.errors import UserError
from fastmrcnn.inference import PredictConfig, config, predict_files, predict_tiled
from fastmrcnn.inference.outputs.pixels import overview
from fastmrcnn.inference.pictures import Pictures
from fastmrcnn.inference.stream import _sample_of
from fastmrcnn.structures import PixelFormat
from fastmrcnn.structures.windows import open_windows
from fastmrcnn.weights import load_model


@pytest.fixture(scope="module")
def large(mosaic: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mosaic as a file."""
    path = tmp_path_factory.mktemp("large") / "large.npy"
    np.save(path, mosaic)
    return path


def predict(folder: Path, *images: Path, **options: Any) -> list[dict[str, Any]]:
    config = PredictConfig(images=tuple(map(str, images)), output=folder, device="cpu", **options)
    predict_files(config, progress=False)
    results: list[dict[str, Any]] = json.loads((folder / "predictions.json").read_text())
    return results


def test_in_tiles(large: Path, tmp_path: Path) -> None:
    Image.fromarray(np.load(large)[:100, :140]).save(tmp_path / "small.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    results = predict(
        tmp_path / "found",
        *(large, tmp_path / "broken.png", tmp_path / "small.png"),
        tile=256,
        overlap=64,
        batch_size=2,
        skip_broken=True,
        save=("coco", "crops"),
    )
    expected = predict_tiled(load_model("tiny"), large, tile=256, overlap=64, batch_size=2, score_threshold=0.5)
    assert [result for result in results if result["image_id"] == 1] == expected.to_coco(1)
    assert {result["image_id"] for result in results} == {1, 3}
    assert len(list((tmp_path / "found" / "crops" / "large").iterdir())) == len(expected)
    x1, y1, x2, y2 = expected.run_lengths.boxes()[0].int().tolist()
    with Image.open(next((tmp_path / "found" / "crops" / "large").glob("1-*.png"))) as crop:
        assert np.array_equal(np.array(crop)[..., :3], np.load(large)[y1:y2, x1:x2])
    about = json.loads((tmp_path / "found" / "predict.json").read_text())
    assert (about["tile"], about["overlap"]) == (256, 64)


def test_the_progress_tells_of_tiles_now_and_then(
    large: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In a log file every update is a line: not one for each of a thousand tiles."""
    predict_files(
        PredictConfig(images=(str(large),), output=tmp_path / "found", device="cpu", tile=128, save=("coco",))
    )
    assert capfd.readouterr().err.count("tile ") <= 2


def test_large_pictures_have_an_overview(large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels_module, "OVERVIEW", 250)
    predict(tmp_path / "found", large, tile=256)
    with Image.open(tmp_path / "found" / "overlays" / "large.jpg") as drawn:
        assert drawn.size == (224, 150)
        plain = np.load(large)[1::3, 1::3]
        assert (np.abs(np.array(drawn)[:149].astype(int) - plain).sum(axis=2) > 150).mean() > 0.05
    found = predict_tiled(load_model("tiny"), large, tile=256)
    with open_windows(large) as windows:
        small, here = overview(windows, found)
    assert small.shape == (3, 150, 224)
    assert here.image_size == (150, 224)
    assert torch.equal(here.boxes, found.boxes / 3)
    assert torch.equal(here.masks[:, :149], found.masks[:, 1:447:3, 1::3])  # the pixels in the middle


def test_kinds_of_nms_and_more_detections(large: Path, tmp_path: Path) -> None:
    common = {"save": ("coco",), "score_threshold": 0.05}
    few = predict(tmp_path / "few", large, max_detections=5, **common)
    many = predict(tmp_path / "many", large, max_detections=300, **common)
    soft = predict(tmp_path / "soft", large, max_detections=300, nms="gaussian", **common)
    masks = predict(tmp_path / "masks", large, max_detections=300, nms="mask", nms_iou=0.2, **common)
    assert len(few) == 5
    assert 5 < len(many) < len(soft)
    assert 5 < len(masks) != len(many)


def test_test_time_augmentation_of_both_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    annotations = write_dataset(tmp_path / "scenes", images=2, seed=3)
    images = annotations.parent / "images"
    plain = predict(tmp_path / "plain", images, save=("coco",))
    both = predict(tmp_path / "both", images, save=("coco",), tta_scales=(0.8, 1.2), tta_flip=True, tile=512)
    assert len(both) > 0
    assert both != plain
    fast = predict(tmp_path / "fast", images, save=("coco",), tta_scales=(0.8, 1.2), tta_flip=True, fast=True)
    assert abs(len(fast) - len(both)) < 0.2 * len(both)
    numbers = tmp_path / "numbers.json"
    words = ["eval", "--annotations", str(annotations), "--images", str(images), "--output", str(numbers)]
    assert main([*words, "--tta-scales", "1", "1.2", "--tta-flip", "--nms", "gaussian", "--max-detections", "50"]) == 0
    assert json.loads(numbers.read_text())["mask"]["AP50"] > 0.5
    assert main([*words, "--tta-scales", "0"]) == 2
    assert "error: tta_scales must be positive; got 0" in capsys.readouterr().err


def test_a_model_is_made_fast_by_a_tile_of_what_may_be_too_large(large: Path) -> None:
    config = PredictConfig(images=(str(large),), tile=128, fast=True)
    sample = _sample_of(Pictures([str(large)])[0], PixelFormat(), config)
    assert np.array_equal(sample.permute(1, 2, 0), np.load(large)[213:341, 0:128])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile": 0}, "tile must be at least 1; got 0"),
        ({"overview": True}, "overview is taken beside tiles: expected tile too; got overview alone"),
        ({"overlap": 5}, "overlap is that of tiles: expected tile too; got overlap 5 alone"),
        ({"tile": 64, "overlap": 64}, r"overlap must be in 0..63, below the tile; got 64"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        PredictConfig(images=("a.jpg",), **options)  # type: ignore[arg-type]


def test_the_kinds_of_nms_are_those_of_models() -> None:
    """The options name them without loading torch."""
    assert get_args(config.NMSMethod) == get_args(models.config.NMSMethod)


def test_options_that_the_model_cannot_have(large: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="max_detections must be at least 1; got -1"):
        predict(tmp_path / "none", large, max_detections=-1)
    with pytest.raises(UserError, match=r"nms_iou must be in 0\.\.1; got 2"):
        predict(tmp_path / "none", large, nms_iou=2.0)
    assert not (tmp_path / "none").exists()
