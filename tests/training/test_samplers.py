"""Orders are functions of the seed and the place, whatever decides who comes when."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fastmrcnn.data import CocoDataset
from fastmrcnn.data.seeds import derived_seed
from fastmrcnn.training import TrainConfig
from fastmrcnn.training.samplers import (
    Group,
    ImageOrder,
    epoch_order,
    image_order,
    repeat_factors,
    repeated_epoch_order,
)


def test_seeds_differ() -> None:
    assert len({derived_seed(a, b) for a in range(20) for b in range(20)}) == 400
    assert derived_seed(1, 2) != derived_seed(2, 1)
    assert epoch_order(50, 0, 0) != epoch_order(50, 1, 0)


def test_rare_classes_repeat_their_images() -> None:
    labels = [[0]] * 90 + [[0, 1]] * 9 + [[2, 0]] + [[]] * 100
    factors = repeat_factors(labels, threshold=0.1)  # shares 0.5, 0.045 and 0.005
    assert factors[:90].tolist() == [1.0] * 90
    assert factors[90].item() == pytest.approx((0.1 / 0.045) ** 0.5)
    assert factors[99].item() == pytest.approx((0.1 / 0.005) ** 0.5)
    assert factors[100:].tolist() == [1.0] * 100
    assert repeat_factors(labels, threshold=0.0).tolist() == [1.0] * 200


def test_images_stand_in_an_epoch_as_often_as_their_factors_say() -> None:
    factors = torch.tensor([1.0, 1.0, 1.25, 2.5, 3.0, 1.1])
    epochs = [repeated_epoch_order(factors, seed=3, epoch=epoch) for epoch in range(400)]
    assert {len(order) for order in epochs} == {10}  # 9.85, rounded up
    counts = [Counter(order) for order in epochs]
    for image, factor in enumerate((factors * 10 / 9.85).tolist()):
        shown = [count[image] for count in counts]
        assert set(shown) <= {int(factor), int(factor) + 1}
        assert sum(shown) / len(shown) == pytest.approx(factor, abs=0.08)
    assert epochs[7] == repeated_epoch_order(factors, seed=3, epoch=7)
    assert len({tuple(order) for order in epochs}) > 390
    places = Counter(order.index(0) for order in epochs)
    assert len(places) == 10  # no image has a place of its own


def grouped_order(lying: int, upright: int, factors: torch.Tensor | None = None, seed: int = 5) -> ImageOrder:
    first = Group(tuple(range(lying)), seed, factors)
    return ImageOrder((first, Group(tuple(range(100, 100 + upright)), seed + 1)), seed)


@pytest.mark.parametrize(("lying", "upright", "batch_size"), [(7, 5, 4), (30, 1, 4), (1, 30, 8), (3, 3, 2)])
def test_batches_do_not_mix_groups_and_leave_nobody_out(lying: int, upright: int, batch_size: int) -> None:
    order = grouped_order(lying, upright)
    assert order.epoch_length == lying + upright
    steps = [order.images_of(step, batch_size) for step in range(lying + upright)]  # batch_size epochs
    assert all(len({index >= 100 for index in images}) == 1 for images in steps)
    shown = Counter(index for images in steps for index in images)
    assert set(shown) == {*range(lying), *range(100, 100 + upright)}
    assert max(shown.values()) - min(shown.values()) <= 1 + batch_size // min(lying, upright)
    assert sum(images[0] >= 100 for images in steps) == upright  # its share of the steps, exactly
    assert steps[9 % len(steps)] == grouped_order(lying, upright).images_of(9 % len(steps), batch_size)


def test_the_seed_chooses_which_group_begins() -> None:
    firsts = [grouped_order(8, 4, seed=seed).images_of(0, 4)[0] for seed in range(30)]
    assert 4 <= sum(first >= 100 for first in firsts) <= 16


def test_repeated_images_lengthen_the_epoch_of_their_group() -> None:
    order = grouped_order(4, 3, factors=torch.tensor([1.0, 1.0, 1.0, 2.5]))
    assert order.epoch_length == 6 + 3
    steps = [order.images_of(step, 3) for step in range(9)]
    assert sum(images[0] >= 100 for images in steps) == 3


def test_any_step_of_a_long_run_over_many_images_is_there_at_once() -> None:
    order = ImageOrder((Group(tuple(range(1000)), 1),), 1)
    assert len(set(order.images_of(10**9, 16))) == 16
    assert order.images_of(10**9, 16)[8:] == order.images_of(2 * 10**9 + 1, 8)


@pytest.fixture
def dataset(tmp_path: Path) -> CocoDataset:
    """Six lying images and two upright ones; one of the lying ones has a class that no other has."""
    sizes = [(20, 30)] * 6 + [(30, 20)] * 2
    for number, (height, width) in enumerate(sizes):
        Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(tmp_path / f"{number}.png")
    document = {
        "images": [
            {"id": number, "file_name": f"{number}.png", "height": height, "width": width}
            for number, (height, width) in enumerate(sizes)
        ],
        "categories": [{"id": 1, "name": "common"}, {"id": 2, "name": "rare"}],
        "annotations": [
            {
                "id": number,
                "image_id": number,
                "category_id": 2 if number == 3 else 1,
                "iscrowd": int(number == 4),
                "segmentation": [[1, 1, 9, 1, 9, 9]],
            }
            for number in range(len(sizes))
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    return CocoDataset(tmp_path / "a.json", tmp_path)


def test_the_order_that_a_configuration_asks_for(dataset: CocoDataset) -> None:
    assert dataset.image_labels() == [{0}, {0}, {0}, {1}, set(), {0}, {0}, {0}]
    plain = image_order(dataset, TrainConfig("a.json"))
    assert plain.images_of(0, 8) == epoch_order(8, 0, 0)
    grouped = image_order(dataset, TrainConfig("a.json", aspect_grouping=True))
    assert [group.images for group in grouped.groups] == [(0, 1, 2, 3, 4, 5), (6, 7)]
    both = image_order(dataset, TrainConfig("a.json", aspect_grouping=True, repeat_threshold=0.5))
    assert both.groups[0].factors.tolist() == [1, 1, 1, 2, 1, 1]  # type: ignore[union-attr]
    assert both.epoch_length == 9
