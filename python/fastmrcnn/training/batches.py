"""Which images make up each step, and how each is augmented: functions of the seed and the position alone.

Nothing here carries state from step to step, so a resumed run sees exactly the batches that it would have seen, with
any number of worker processes.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy
import torch
from torch.utils.data import Dataset, Sampler

from fastmrcnn.data import InstanceDataset, Sample, SampleLoader, collate
from fastmrcnn.data import transforms as augment
from fastmrcnn.training.config import TrainConfig

Key = tuple[int, int]  # (epoch, index into the data set)


def derived_seed(*numbers: int) -> int:
    """A 63-bit seed that depends on every one of ``numbers``; neighbours give unrelated seeds."""
    return int(numpy.random.SeedSequence(numbers).generate_state(1, numpy.uint64)[0] >> numpy.uint64(1))


def epoch_order(images: int, seed: int, epoch: int) -> list[int]:
    """The shuffled order of the data set in ``epoch``."""
    generator = torch.Generator().manual_seed(derived_seed(seed, epoch))
    return torch.randperm(images, generator=generator).tolist()


class StepBatches(Sampler[list[Key]]):
    """The keys of the batches of steps ``first`` .. ``total`` - 1, as a DataLoader's ``batch_sampler``.

    Batches run over the end of an epoch into the next: every step has ``batch_size`` images, of a data set of any size,
    in ``parts`` batches of the loader.
    """

    def __init__(self, images: int, batch_size: int, seed: int, first: int, total: int, parts: int = 1) -> None:
        self.images, self.batch_size, self.seed = images, batch_size, seed
        self.first, self.total, self.parts = first, total, parts

    def __len__(self) -> int:
        return (self.total - self.first) * self.parts

    def __iter__(self) -> Iterator[list[Key]]:
        order_of = lru_cache(maxsize=2)(partial(epoch_order, self.images, self.seed))
        size = self.batch_size // self.parts
        for place in range(self.first * self.batch_size, self.total * self.batch_size, size):
            epochs = [divmod(place + offset, self.images) for offset in range(size)]
            yield [(epoch, order_of(epoch)[index]) for epoch, index in epochs]


class AugmentedSamples(Dataset[Sample]):
    """Samples of ``dataset`` by (epoch, index), transformed with a generator seeded by exactly these."""

    def __init__(self, dataset: InstanceDataset, transforms: Sequence[Any], seed: int) -> None:
        self.dataset, self.transforms, self.seed = dataset, transforms, seed

    def __getitem__(self, key: Key) -> Sample:
        epoch, index = key
        sample = self.dataset[index]
        generator = torch.Generator().manual_seed(derived_seed(self.seed, epoch, index))
        for transform in self.transforms:
            sample = transform(sample, generator)
        return sample


def training_transforms(config: TrainConfig) -> list[Any]:
    """The random transforms that ``config`` asks for, in order."""
    transforms: list[Any] = []
    if config.horizontal_flip:
        transforms.append(augment.HorizontalFlip(config.horizontal_flip))
    if config.vertical_flip:
        transforms.append(augment.VerticalFlip(config.vertical_flip))
    if config.color_jitter:
        transforms.append(augment.ColorJitter(*[config.color_jitter] * 3))
    return transforms


def training_loader(dataset: InstanceDataset, config: TrainConfig, first_step: int) -> SampleLoader:
    """Batches ``(images, targets, samples)``, ``config.accumulate`` of them for every step from ``first_step`` on."""
    total = config.total_steps(len(dataset))
    batches = StepBatches(len(dataset), config.batch_size, config.seed, first_step, total, config.accumulate)
    return SampleLoader(
        AugmentedSamples(dataset, training_transforms(config), config.seed),
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=config.workers,
        worker_init_fn=_ignore_interrupts,
    )


def _ignore_interrupts(worker: int) -> None:
    """Ctrl-C reaches the whole process group; the training process alone decides what it means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
