"""Prediction in tiles: the objects of the whole image, whatever the tiles, from sources that are never whole."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from fastmrcnn.data.scenes import render_scene
from fastmrcnn.inference import predict_tiled
from fastmrcnn.inference.tiles import tile_starts, tiles_of
from fastmrcnn.memory import forget_peak, peak_bytes
from fastmrcnn.models import MaskRCNN
from fastmrcnn.weights import load_model
from tests.inference.overlaps import mask_iou
from tests.models.small import small_model


def shipped(side: int) -> MaskRCNN:
    """The shipped model, which looks at images of up to so many pixels as they are."""
    model = load_model("tiny")
    model.transform.config = dataclasses.replace(model.config.input, min_size=side, max_size=side, train_min_sizes=())
    return model


@pytest.mark.parametrize("length", [1, 100, 101, 1000, 20_000])
@pytest.mark.parametrize(("tile", "overlap"), [(100, 0), (100, 13), (64, 63), (1024, 128)])
def test_tiles_cover_the_image_and_share_enough(length: int, tile: int, overlap: int) -> None:
    starts = tile_starts(length, tile, overlap)
    if length <= tile:
        assert starts == [0]
        return
    assert starts[0] == 0
    assert starts[-1] == length - tile
    assert all(before + tile - after >= overlap for before, after in pairwise(starts))
    assert len(tiles_of((length, 40), tile, overlap)) == len(starts) * len(tile_starts(40, tile, overlap))


def test_the_objects_of_the_whole_image(mosaic: np.ndarray) -> None:
    """At the same scale tiles find what the network finds in all of the image, seams or not; scores near the threshold
    may fall on either side of it."""
    whole = shipped(672).predict(mosaic, score_threshold=0.4)
    sure = (whole.scores >= 0.6).nonzero()[:, 0]
    assert len(sure) > 25
    for tile, overlap in ((400, 100), (320, 64)):
        found = predict_tiled(shipped(tile), mosaic, tile=tile, overlap=overlap, score_threshold=0.4)
        assert found.mask_probs is None
        assert found.image_size == (448, 672)
        iou = mask_iou(found, whole)
        best = iou.amax(dim=0)[sure]
        assert (best > 0.5).all()
        assert (best > 0.9).float().mean() > 0.9
        assert ((iou > 0.5).sum(dim=0) <= 1).all()  # none comes out twice
        strangers = (found.scores >= 0.6) & (iou.amax(dim=1) < 0.5)
        assert strangers.float().mean() < 0.05


def test_an_image_no_larger_than_a_tile_is_predicted_as_ever(mosaic: np.ndarray) -> None:
    model = shipped(224)
    image = mosaic[:224, :224]
    expected = model.predict(image, score_threshold=0.3)
    found = predict_tiled(model, image, tile=224, score_threshold=0.3)
    assert torch.equal(found.boxes, expected.boxes)
    assert torch.equal(found.scores, expected.scores)
    assert found.rle == expected.rle
    assert np.array_equal(np.array(found.plot()), np.array(expected.plot()))


def test_files_are_read_in_windows(mosaic: np.ndarray, tmp_path: Path) -> None:
    model = shipped(256)
    seen = []
    expected = predict_tiled(
        model, mosaic, tile=256, batch_size=4, on_tiles=lambda done, count: seen.append((done, count))
    )
    assert seen == [(4, 6), (6, 6)]
    np.save(tmp_path / "mosaic.npy", mosaic)
    found = predict_tiled(model, tmp_path / "mosaic.npy", tile=256, batch_size=4)
    assert found.to_coco(1) == expected.to_coco(1)
    assert found.source == tmp_path / "mosaic.npy"


def test_memory_follows_the_tile_and_not_the_image(tmp_path: Path) -> None:
    np.lib.format.open_memmap(tmp_path / "large.npy", "w+", np.uint8, (9000, 9000, 3))[4000:5000, 4000:5000] = 255
    peaks = []
    if not forget_peak():
        pytest.skip("this system does not tell the peak of the memory anew")
    found = predict_tiled(
        small_model(),
        tmp_path / "large.npy",
        score_threshold=0.99,
        on_tiles=lambda *_: peaks.append(peak_bytes()),
    )
    assert (found.image_size, len(peaks)) == ((9000, 9000), 100)
    assert peaks[-1] - peaks[30] < 100 * 2**20  # of an image of 232 MiB


def test_objects_longer_than_a_tile_come_from_the_overview() -> None:
    """A scene four times as large beside others: tiles find pieces of its objects, and all others as before."""
    scenes = [render_scene(number, seed=91, split="val").image[:224, :224] for number in range(4)]
    large = scenes[3].repeat(4, axis=0).repeat(4, axis=1)
    image = np.concatenate([large, np.concatenate(scenes)], axis=1)
    model = shipped(224)
    expected = model.predict(scenes[3], score_threshold=0.5)
    longest = (expected.boxes[:, 2:] - expected.boxes[:, :2]).amax(dim=1)
    expected = expected[longest > 56]
    expected = dataclasses.replace(expected, boxes=4 * expected.boxes, image_size=image.shape[:2])
    alone, found = (
        predict_tiled(model, image, tile=224, overlap=40, overview=overview, score_threshold=0.5)
        for overview in (False, True)
    )
    assert len(expected) == 3
    assert mask_iou(alone, expected).amax(dim=0).min() < 0.3
    assert mask_iou(found, expected).amax(dim=0).min() > 0.6
    assert ((mask_iou(found, expected) > 0.5).sum(dim=0) == 1).all()
    beside = [one[one.boxes[:, 0] > 890] for one in (alone, found)]
    assert len(beside[0]) > 10
    assert set(map(tuple, beside[0].boxes.tolist())) <= set(map(tuple, beside[1].boxes.tolist()))
    assert (found.scores.diff() <= 0).all()


@pytest.mark.parametrize("overview", [False, True])
def test_nothing_found_in_any_tile(overview: bool) -> None:
    image = np.zeros((100, 150, 3), np.uint8)
    found = predict_tiled(shipped(64), image, tile=64, overview=overview, score_threshold=0.99)
    assert len(found) == 0
    assert found.masks.shape == (0, 100, 150)


def test_another_default_device(mosaic: np.ndarray) -> None:
    model = shipped(64)
    expected = predict_tiled(model, mosaic, tile=224, overview=True, score_threshold=0.5)
    with torch.device("meta"):  # where another one is a GPU
        found = predict_tiled(model, mosaic, tile=224, overview=True, score_threshold=0.5)
        assert len(found) > 10
        assert torch.equal(found.boxes, expected.boxes)
        assert found.rle == expected.rle
        assert found[0].polygons(tolerance=1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile": 0}, "predict_tiled: tile and batch_size must be at least 1; got 0 and 1"),
        ({"batch_size": 0}, "predict_tiled: tile and batch_size must be at least 1; got 1024 and 0"),
        ({"tile": 64, "overlap": 64}, r"predict_tiled: overlap must lie in 0..63, below the tile; got 64"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        predict_tiled(shipped(64), np.zeros((10, 10, 3), np.uint8), **options)
