"""Which images make up each step, and how each is augmented: functions of the seed and the position alone.

Nothing here carries state from step to step, so a resumed run sees exactly the batches that it would have seen, with
any number of worker processes.
"""

from __future__ import annotations

import atexit
import multiprocessing.util  # noqa: F401  # whose own function for the exit is to be registered before ours
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch.utils.data import Dataset, Sampler

from fastmrcnn import distributed
from fastmrcnn.data import InstanceDataset, Sample, SampleLoader, collate
from fastmrcnn.data.loader import WORKERS
from fastmrcnn.data.seeds import derived_seed
from fastmrcnn.data.transforms import Transform
from fastmrcnn.errors import UserError
from fastmrcnn.models import InputConfig
from fastmrcnn.training.augmentation import training_transforms
from fastmrcnn.training.config import TrainConfig
from fastmrcnn.training.samplers import ImageOrder

Key = tuple[int, int]  # (place in the run, index into the data set)


class StepBatches(Sampler[list[Key]]):
    """The keys of the batches of steps ``first`` .. ``total`` - 1, as a DataLoader's ``batch_sampler``.

    Batches run over the end of an epoch into the next: every step has ``batch_size`` images, of a data set of any size,
    in ``parts`` batches of the loader.
    """

    def __init__(self, order: ImageOrder, batch_size: int, first: int, total: int, parts: int = 1) -> None:
        self.order, self.batch_size = order, batch_size
        self.first, self.total, self.parts = first, total, parts

    def __len__(self) -> int:
        return (self.total - self.first) * self.parts

    def __iter__(self) -> Iterator[list[Key]]:
        size = self.batch_size // self.parts
        for step in range(self.first, self.total):
            images = self.order.images_of(step, self.batch_size)
            keys = list(enumerate(images, start=step * self.batch_size))
            for part in range(self.parts):
                yield keys[part * size : (part + 1) * size]


class ShareOfBatches(Sampler[list[Key]]):
    """What one of ``processes`` computes of each of ``batches``: consecutive images, equally many in all."""

    def __init__(self, batches: StepBatches, rank: int, processes: int) -> None:
        self.batches, self.rank, self.processes = batches, rank, processes

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Key]]:
        for batch in self.batches:
            share = len(batch) // self.processes
            yield batch[self.rank * share : (self.rank + 1) * share]


class AugmentedSamples(Dataset[Sample]):
    """Samples of ``dataset`` by (place, index), transformed with a generator seeded by exactly these."""

    def __init__(self, dataset: InstanceDataset, transforms: Sequence[Transform], seed: int) -> None:
        self.dataset, self.transforms, self.seed = dataset, transforms, seed

    def __getitem__(self, key: Key) -> Sample:
        place, index = key
        sample = self.dataset[index]
        generator = torch.Generator().manual_seed(derived_seed(self.seed, place, index))
        for transform in self.transforms:
            sample = transform(sample, generator)
        return sample

    def image_path(self, key: Key) -> Path:
        """File of the image of a key."""
        return self.dataset.image_path(key[1])


def check_shares(config: TrainConfig) -> None:
    """``UserError`` where the images of a step cannot be divided among the processes."""
    count = distributed.processes()
    if config.batch_size % (config.accumulate * count):
        raise UserError(
            f"batch_size must be a multiple of {config.accumulate * count} (accumulate x processes: "
            f"{config.accumulate} x {count}); got {config.batch_size}"
        )


def training_loader(
    dataset: InstanceDataset, config: TrainConfig, network: InputConfig, order: ImageOrder, first_step: int
) -> SampleLoader:
    """Batches ``(images, targets, samples)``, ``config.accumulate`` of them for every step from ``first_step`` on: of
    each the images that this process computes (see :func:`check_shares`).
    """
    total = config.total_steps(order.epoch_length)
    batches = StepBatches(order, config.batch_size, first_step, total, config.accumulate)
    return SampleLoader(
        AugmentedSamples(dataset, training_transforms(config, network, dataset), config.seed),
        batch_sampler=ShareOfBatches(batches, distributed.rank(), distributed.processes()),
        collate_fn=collate,
        num_workers=config.workers,
        worker_init_fn=_leave_signals_to_the_run,
    )


def _leave_signals_to_the_run(worker: int) -> None:
    """Ctrl-C and a scheduler's SIGTERM reach the whole process group; the training process alone decides what they
    mean, and needs its workers until the end of the step. They end with it, whatever it dies of."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _end_workers() -> None:
    """Python ends those that are left with SIGTERM when it exits, and would wait for ever: they do not listen."""
    for worker in WORKERS:
        if worker.is_alive():
            worker.kill()


atexit.register(_end_workers)  # after Python's own, and so called before it
