"""Mean and deviation of the channels of a data set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fastmrcnn.data import InstanceDataset, measure_channels, open_dataset
from fastmrcnn.errors import UserError
from fastmrcnn.structures import PixelFormat


def dataset_of(folder: Path, images: list[np.ndarray], wanted: PixelFormat) -> InstanceDataset:
    records = []
    for number, pixels in enumerate(images):
        np.save(folder / f"{number}.npy", pixels)
        records.append({"id": number, "file_name": f"{number}.npy", "height": len(pixels), "width": pixels.shape[1]})
    document = {"images": records, "annotations": [], "categories": [{"id": 1, "name": "cell"}]}
    (folder / "annotations.json").write_text(json.dumps(document))
    dataset = open_dataset(folder / "annotations.json", folder)
    dataset.read_pixels_as(wanted)
    return dataset


@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 4095)])
def test_mean_and_deviation(tmp_path: Path, dtype: type, white: int) -> None:
    """Each image counts the same, whatever its size."""
    generator = np.random.default_rng(0)
    images = [generator.integers(0, top, (40, 30, 5), dtype=dtype) for top in (60, 120, 250)]
    measured = measure_channels(dataset_of(tmp_path, images, PixelFormat(5, white if white > 255 else 65535)))
    stacked = np.stack(images).reshape(-1, 5) / white
    np.testing.assert_allclose(measured.mean, stacked.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(measured.std, stacked.std(axis=0), rtol=1e-6)
    assert measured.images == 3


def test_evenly_spaced_images_and_channels_that_show_nothing(tmp_path: Path) -> None:
    images = [np.full((8, 8, 2), number, np.uint8) for number in range(10)]
    for image in images:
        image[:, :, 1] = 51
    measured = measure_channels(dataset_of(tmp_path, images, PixelFormat(2)), images=5)
    np.testing.assert_allclose(measured.mean, [np.mean([0, 2, 4, 6, 8]) / 255, 0.2])
    assert measured.std[0] == pytest.approx(np.std([0, 2, 4, 6, 8]) / 255)
    assert measured.std[1] == 1.0
    assert measured.images == 5


def test_a_large_image_is_measured_in_part(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 2048).round().astype(np.uint8)
    measured = measure_channels(dataset_of(tmp_path, [np.tile(ramp[:, None], (1, 600))], PixelFormat(1)))
    assert measured.mean[0] == pytest.approx(0.5, abs=0.01)
    assert measured.std[0] == pytest.approx(12**-0.5, abs=0.01)


def test_an_image_with_other_channels_is_named(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, [np.zeros((8, 8, 5), np.uint8), np.zeros((8, 8, 4), np.uint8)], PixelFormat(5))
    with pytest.raises(UserError) as caught:
        measure_channels(dataset)
    assert str(caught.value) == f"{tmp_path / '1.npy'}: expected an array [H, W, 5]; got [8, 8, 4]"
