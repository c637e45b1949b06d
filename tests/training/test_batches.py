"""Order and augmentation are functions of the seed and the step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fastmrcnn.data import CocoDataset
from fastmrcnn.models import MaskRCNN, presets
from fastmrcnn.ops import InstanceMasks
from fastmrcnn.training import TrainConfig
from fastmrcnn.training.batches import StepBatches, derived_seed, epoch_order, training_loader


def test_every_epoch_shows_every_image_once_in_another_order() -> None:
    keys = [key for batch in StepBatches(images=7, batch_size=3, seed=1, first=0, total=7) for key in batch]
    assert [epoch for epoch, _ in keys] == [0] * 7 + [1] * 7 + [2] * 7
    orders = [[index for epoch, index in keys if epoch == wanted] for wanted in range(3)]
    assert all(sorted(order) == list(range(7)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3


def test_batches_from_a_later_step_are_the_same() -> None:
    everything = list(StepBatches(images=5, batch_size=2, seed=1, first=0, total=20))
    assert list(StepBatches(images=5, batch_size=2, seed=1, first=13, total=20)) == everything[13:]
    assert len(everything) == 20


def test_parts_of_a_step_make_up_its_batch() -> None:
    whole = list(StepBatches(images=5, batch_size=4, seed=1, first=3, total=9))
    batches = StepBatches(images=5, batch_size=4, seed=1, first=3, total=9, parts=2)
    parts = list(batches)
    assert len(parts) == len(batches) == 12
    assert [first + second for first, second in zip(parts[::2], parts[1::2], strict=True)] == whole


def test_more_images_in_a_batch_than_in_the_data_set() -> None:
    [batch] = StepBatches(images=2, batch_size=5, seed=0, first=0, total=1)
    assert [epoch for epoch, _ in batch] == [0, 0, 1, 1, 2]


def test_seeds_differ() -> None:
    assert len({derived_seed(a, b) for a in range(20) for b in range(20)}) == 400
    assert derived_seed(1, 2) != derived_seed(2, 1)
    assert epoch_order(50, 0, 0) != epoch_order(50, 1, 0)


def test_workers_do_not_change_the_batches(scenes: Path, make_config: Callable[..., TrainConfig]) -> None:
    dataset = CocoDataset(scenes / "annotations.json", scenes / "images")
    loaded = []
    for workers in (0, 2):
        config = make_config(workers=workers, color_jitter=0.3, vertical_flip=0.5)
        loaded.append(list(training_loader(dataset, config, first_step=1)))
    for (images, targets, samples), (others, other_targets, other_samples) in zip(*loaded, strict=True):
        assert all(torch.equal(image, other) for image, other in zip(images, others, strict=True))
        assert [sample.path for sample in samples] == [sample.path for sample in other_samples]
        for target, other in zip(targets, other_targets, strict=True):
            assert all(torch.equal(target[name], other[name]) for name in ("boxes", "labels", "ignore"))
            assert target["masks"].to_rle() == other["masks"].to_rle()


def test_no_mask_becomes_a_bitmap_on_its_way_to_the_loss(
    scenes: Path, make_config: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(masks: InstanceMasks) -> torch.Tensor:
        raise AssertionError("a bitmap was made")

    monkeypatch.setattr(InstanceMasks, "to_bitmaps", refuse)
    config = make_config(vertical_flip=0.5, min_size=80)  # flips and resizes
    dataset = CocoDataset(scenes / "annotations.json", scenes / "images")
    images, targets, _ = next(iter(training_loader(dataset, config, first_step=0)))
    assert all(isinstance(target["masks"], InstanceMasks) for target in targets)
    model = MaskRCNN(presets.tiny(dataset.class_names, dataset.category_ids)).train()
    assert model(images, targets)["loss_mask"] > 0


def test_many_samples_reach_the_training_process_without_an_open_file_for_each_array_of_a_mask(
    scenes: Path, make_config: Callable[..., TrainConfig]
) -> None:
    dataset = CocoDataset(scenes / "annotations.json", scenes / "images")
    open_files = Path("/proc/self/fd")
    batches = iter(training_loader(dataset, make_config(workers=1, batch_size=8, steps=2), first_step=0))
    batch = next(batches)
    before = len(list(open_files.iterdir()))
    del batch
    assert before - len(list(open_files.iterdir())) <= 8 * 9  # of the other tensors of a sample and its target
