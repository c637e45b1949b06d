"""The photograph that the shipped model is judged on is an ordinary COCO data set."""

from __future__ import annotations

from importlib.resources import as_file, files

import torch

from fastmrcnn.data import CocoDataset, Sample


def photograph() -> Sample:
    with as_file(files("fastmrcnn") / "assets") as assets:
        return CocoDataset(assets / "coins.json", assets)[0]


def test_twenty_four_coins_that_do_not_touch() -> None:
    sample = photograph()
    assert sample.image.shape == (3, 303, 384)
    assert len(sample) == 24
    assert sample.masks.to_bitmaps().sum(dim=0).max() == 1
    sides = sample.boxes[:, 2:] - sample.boxes[:, :2]
    assert sides.min() >= 35
    assert sides.max() < 66
    # Roundish: an ellipse fills pi / 4 of its box.
    assert ((sample.areas / sides.prod(dim=1) - torch.pi / 4).abs() < 0.05).all()


def test_coins_are_brighter_than_the_ground_around_them() -> None:
    sample = photograph()
    masks = sample.masks.to_bitmaps()
    image, ground = sample.image[0].float(), ~masks.any(dim=0)
    for mask, box in zip(masks, sample.boxes.int().tolist(), strict=True):
        x1, y1, x2, y2 = box
        window = (slice(max(y1 - 4, 0), y2 + 4), slice(max(x1 - 4, 0), x2 + 4))
        assert image[mask].mean() > 1.3 * image[window][ground[window]].mean()
