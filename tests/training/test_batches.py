"""Order and augmentation are functions of the seed and the step."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fastmrcnn.data import CocoDataset, SampleLoader
from fastmrcnn.errors import UserError
from fastmrcnn.models import InputConfig, MaskRCNN, presets
from fastmrcnn.ops import InstanceMasks
from fastmrcnn.training import TrainConfig
from fastmrcnn.training.batches import ShareOfBatches, StepBatches, check_shares, training_loader
from fastmrcnn.training.samplers import Group, ImageOrder, image_order

EVERYTHING = {
    "vertical_flip": 0.5,
    "random_crop": 0.5,
    "large_scale_jitter": (0.5, 2.0),
    "jitter_size": 96,
    "copy_paste": 0.8,
    "color_jitter": 0.3,
    "hue_jitter": 0.1,
    "aspect_grouping": True,
    "repeat_threshold": 0.9,
}


def plain_order(images: int, seed: int = 1) -> ImageOrder:
    return ImageOrder((Group(tuple(range(images)), seed),), seed)


def load(dataset: CocoDataset, config: TrainConfig, first_step: int = 0) -> SampleLoader:
    return training_loader(dataset, config, InputConfig(), image_order(dataset, config), first_step)


def test_every_epoch_shows_every_image_once_in_another_order() -> None:
    keys = [key for batch in StepBatches(plain_order(7), batch_size=3, first=0, total=7) for key in batch]
    assert [place for place, _ in keys] == list(range(21))
    orders = [[index for _, index in keys[7 * epoch : 7 * epoch + 7]] for epoch in range(3)]
    assert all(sorted(order) == list(range(7)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3


def test_batches_from_a_later_step_are_the_same() -> None:
    everything = list(StepBatches(plain_order(5), batch_size=2, first=0, total=20))
    assert list(StepBatches(plain_order(5), batch_size=2, first=13, total=20)) == everything[13:]
    assert len(everything) == 20


def test_the_parts_of_a_step_hold_its_images_in_order() -> None:
    parts = list(StepBatches(plain_order(5), batch_size=6, first=2, total=4, parts=3))
    assert [len(part) for part in parts] == [2] * 6
    whole = list(StepBatches(plain_order(5), batch_size=6, first=2, total=4))
    assert [parts[0] + parts[1] + parts[2], parts[3] + parts[4] + parts[5]] == whole


def test_more_images_in_a_batch_than_in_the_data_set() -> None:
    [batch] = StepBatches(plain_order(2), batch_size=5, first=0, total=1)
    assert [place for place, _ in batch] == list(range(5))
    assert sorted(index for _, index in batch[:2]) == sorted(index for _, index in batch[2:4]) == [0, 1]


def test_workers_do_not_change_the_batches(scenes: Path, make_config: Callable[..., TrainConfig]) -> None:
    dataset = CocoDataset(scenes / "annotations.json", scenes / "images")
    loaded = []
    for workers in (0, 2):
        config = make_config(workers=workers, **EVERYTHING)
        loaded.append(list(load(dataset, config, first_step=1)))
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
    images, targets, _ = next(iter(load(dataset, config)))
    assert all(isinstance(target["masks"], InstanceMasks) for target in targets)
    model = MaskRCNN(presets.tiny(dataset.class_names, dataset.category_ids)).train()
    assert model(images, targets)["loss_mask"] > 0


def test_many_samples_reach_the_training_process_without_an_open_file_for_each_array_of_a_mask(
    scenes: Path, make_config: Callable[..., TrainConfig]
) -> None:
    dataset = CocoDataset(scenes / "annotations.json", scenes / "images")
    open_files = Path("/proc/self/fd")
    batches = iter(load(dataset, make_config(workers=1, batch_size=8, steps=2)))
    batch = next(batches)
    before = len(list(open_files.iterdir()))
    del batch
    assert before - len(list(open_files.iterdir())) <= 8 * 9  # of the other tensors of a sample and its target


def test_a_process_ends_although_its_workers_take_no_signal(scenes: Path) -> None:
    """As after an error, whose traceback keeps the loader."""
    code = f"""
import builtins
from fastmrcnn.data import CocoDataset
from fastmrcnn.errors import UserError
from fastmrcnn.models import InputConfig
from fastmrcnn.training import TrainConfig
from fastmrcnn.training.batches import training_loader
from fastmrcnn.training.samplers import image_order
config = TrainConfig(r"{scenes}/annotations.json", r"{scenes}/images", workers=1, steps=9, batch_size=1)
dataset = CocoDataset(config.train_annotations, config.train_images)
batches = iter(training_loader(dataset, config, InputConfig(), image_order(dataset, config), first_step=0))
next(batches)
builtins.kept = batches  # past the end of this module
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_processes_of_others_end_as_they_did(tmp_path: Path) -> None:
    code = f"""
import multiprocessing, pathlib, signal, sys, time
import fastmrcnn.training.batches
def child(started):
    def clean_up(*_):
        pathlib.Path(r"{tmp_path}/cleaned").touch()
        sys.exit()
    signal.signal(signal.SIGTERM, clean_up)
    started.set()
    time.sleep(60)
context = multiprocessing.get_context("fork")
started = context.Event()
context.Process(target=child, args=(started,), daemon=True).start()
started.wait()
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
    assert (tmp_path / "cleaned").exists()


def test_the_shares_of_a_batch_make_it_up() -> None:
    whole = list(StepBatches(plain_order(7), batch_size=6, first=3, total=9, parts=2))
    shares = [
        list(ShareOfBatches(StepBatches(plain_order(7), batch_size=6, first=3, total=9, parts=2), rank, 3))
        for rank in range(3)
    ]
    assert [[key for part in parts for key in part] for parts in zip(*shares, strict=True)] == whole
    assert {len(part) for share in shares for part in share} == {1}


def test_a_batch_that_processes_cannot_divide(
    make_config: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastmrcnn.distributed.processes", lambda: 2)
    check_shares(make_config(batch_size=4, accumulate=2))
    with pytest.raises(UserError, match=r"batch_size must be a multiple of 4 \(accumulate x processes: 2 x 2\); got 6"):
        check_shares(make_config(batch_size=6, accumulate=2))
