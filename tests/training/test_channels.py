"""Training, evaluation and prediction on images of other channels and depths, from files to files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fastmrcnn import load_model
from fastmrcnn.cli.main import main
from fastmrcnn.data import open_dataset
from fastmrcnn.errors import UserError
from fastmrcnn.structures import PixelFormat
from fastmrcnn.training import TrainConfig, train

MakeConfig = Callable[..., TrainConfig]


def rewrite(scenes: Path, folder: Path, suffix: str, save: Callable[[Path, np.ndarray], None]) -> Path:
    """The data set ``scenes`` with its pictures, uint8 [H, W, 3], saved in another way; its annotation file."""
    document = json.loads((scenes / "annotations.json").read_text())
    (folder / "images").mkdir(parents=True)
    for image in document["images"]:
        pixels = np.asarray(Image.open(scenes / "images" / image["file_name"]))
        image["file_name"] = Path(image["file_name"]).with_suffix(suffix).name
        save(folder / "images" / image["file_name"], pixels)
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder / "annotations.json"


def save_bands(path: Path, pixels: np.ndarray) -> None:
    """Five bands of 12 bits."""
    bands = np.concatenate([pixels, pixels[:, :, :1] // 2, 255 - pixels[:, :, 1:2]], axis=2)
    np.save(path, bands.astype(np.uint16) * 16)


def save_grey(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).convert("L").save(path)


@pytest.fixture(scope="session")
def bands(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rewrite(scenes, tmp_path_factory.mktemp("bands"), ".npy", save_bands)


def test_five_bands_of_twelve_bits_from_weights_for_photographs(
    make_config: MakeConfig, bands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a data set to a model, and from its file to a table and overlays."""
    images = bands.parent / "images"
    config = make_config(
        train_annotations=bands,
        train_images=images,
        eval_annotations=bands,
        weights="tiny",
        channels=5,
        white_level=4095,
        color_jitter=0.2,
        steps=2,
        checkpoint_every=1,
        shown_images=1,
    )
    result = train(config, progress=False)
    assert result.evaluation is not None
    weights = result.output / "last.safetensors"
    inputs = load_model(weights).config.input
    assert inputs.pixel_format == PixelFormat(5, 4095)
    pixels = [np.load(path).reshape(-1, 5) / 4095 for path in sorted(images.iterdir())]
    mean = np.mean([one.mean(axis=0) for one in pixels], axis=0)
    square = np.mean([(one * one).mean(axis=0) for one in pixels], axis=0)
    np.testing.assert_allclose(inputs.mean, mean, rtol=1e-5)
    np.testing.assert_allclose(inputs.std, np.sqrt(square - mean * mean), rtol=1e-5)

    main(["eval", "--annotations", str(bands), "--images", str(images), "--weights", str(weights), "--device", "cpu"])
    assert "Average Precision" in capsys.readouterr().out
    output = tmp_path / "found"
    main(["predict", str(images), "--weights", str(weights), "--output", str(output), "--device", "cpu"])
    assert len(list((output / "overlays").glob("*.jpg"))) == 5
    shown = np.asarray(Image.open(output / "overlays" / f"{sorted(images.iterdir())[0].stem}.jpg"), np.float64)
    assert shown.shape[:2] == np.load(sorted(images.iterdir())[0]).shape[:2]
    assert 20 < shown.mean() < 235  # neither black nor white

    longer = train(replace(config, steps=3), resume=True, progress=False)
    assert longer.model.config.input == inputs
    with pytest.raises(UserError, match=r"channels cannot change when a run is resumed: .* has 5; got 4"):
        train(replace(config, channels=4), resume=True, progress=False)


def test_a_run_measures_the_same_every_time(make_config: MakeConfig, bands: Path, tmp_path: Path) -> None:
    config = make_config(train_annotations=bands, train_images=bands.parent / "images", channels=5, steps=1)
    first, again = (train(replace(config, output=tmp_path / name), progress=False).model for name in ("a", "b"))
    assert first.config == again.config
    assert all(map(torch.equal, first.state_dict().values(), again.state_dict().values()))


def test_grey_images_for_one_channel_and_for_three(make_config: MakeConfig, scenes: Path, tmp_path: Path) -> None:
    grey = rewrite(scenes, tmp_path / "grey", ".png", save_grey)
    config = make_config(train_annotations=grey, train_images=grey.parent / "images", steps=1)
    assert train(replace(config, output=tmp_path / "three"), progress=False).model.config.input.channels == 3
    model = train(replace(config, channels=1), progress=False).model
    assert model.config.input.channels == 1
    assert model.backbone.stem.conv1.conv.weight.shape[1] == 1
    dataset = open_dataset(grey, grey.parent / "images")
    dataset.read_pixels_as(model.config.input.pixel_format)
    assert dataset[0].image.shape[0] == 1
    # And on from there: a model of one channel takes its own images as they are.
    further = replace(
        config, model=None, weights=str(tmp_path / "run" / "last.safetensors"), output=tmp_path / "further"
    )
    assert train(further, progress=False).model.config.input == model.config.input


@pytest.mark.parametrize("workers", [0, 1])
def test_images_with_other_channels_than_the_model(make_config: MakeConfig, bands: Path, workers: int) -> None:
    config = make_config(train_annotations=bands, train_images=bands.parent / "images", steps=1, workers=workers)
    with pytest.raises(UserError) as caught:
        train(config, progress=False)
    assert ".npy: expected an array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]; got [" in str(caught.value)
    assert str(caught.value).endswith(", 5] (--channels 5 of fastmrcnn train and doctor is for such images)")


def test_values_above_white(make_config: MakeConfig, bands: Path) -> None:
    images = bands.parent / "images"
    config = make_config(train_annotations=bands, train_images=images, channels=5, white_level=255)
    with pytest.raises(UserError, match=r"\.npy: expected values in 0\.\.255 in an array of 16 bits; got \d+ to 3"):
        train(config, progress=False)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("channels", 0, "channels must be at least 1; got 0"),
        ("white_level", 0, "white_level must be at least 1; got 0"),
        ("white_level", 65536, "white_level must be a number of 16 bits, below 65536; got 65536"),
    ],
)
def test_options_that_cannot_be(make_config: MakeConfig, field: str, value: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_config(**{field: value})
