"""Batches of samples: the same ones in the same order for the same seed, whatever the number of workers."""

from __future__ import annotations

import multiprocessing.connection
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakSet

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from fastmrcnn.data.dataset import InstanceDataset
from fastmrcnn.data.sample import Sample, Target, collate
from fastmrcnn.errors import UserError
from fastmrcnn.models.ahead import Readers

Batch = tuple[list[Tensor], list[Target], list[Sample]]

WORKERS: WeakSet[BaseProcess] = WeakSet()
"""The worker processes of all loaders, as long as anything knows them."""


class SampleSource(Protocol):
    """A data set that knows from which file it makes each sample."""

    def __getitem__(self, key: Any, /) -> Sample: ...

    def image_path(self, key: Any, /) -> Path: ...


class SampleLoader(DataLoader[Any]):
    """torch's ``DataLoader``, whose errors name the file.

    A user's error in a worker process stays the one line that it was, where torch puts the worker's whole traceback
    into the message. Every other error says which image its sample was to be made of, and so does the end of a worker
    that is killed. That is noticed when the next batch is asked for, and stops nothing else in between.
    """

    def __init__(self, dataset: SampleSource, *, num_workers: int = 0, **options: Any) -> None:
        self._samples = _NamedSamples(dataset, num_workers)
        super().__init__(self._samples, num_workers=num_workers, **options)

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Batches ``(images, targets, samples)``.

        Raises:
            UserError: bad data, an image too large for the memory, a worker that was killed.
            RuntimeError: anything else that fails while a sample is made.
        """
        with _child_signal_kept():
            batches = super().__iter__()
        WORKERS.update(getattr(batches, "_workers", ()))
        try:
            yield from batches
        except UserError as error:
            raise UserError(_RAISED.sub("", str(error).strip().splitlines()[-1])) from None
        except (RuntimeError, OSError, EOFError) as error:
            workers = getattr(batches, "_workers", ())
            if not isinstance(error, RuntimeError):  # a connection that broke: a moment before its process has ended
                _await_an_end(workers)
            killed = self._samples.describe_killed(workers)
            if killed is None:
                raise
            raise UserError(killed) from None


def batches_ahead(dataset: SampleSource, batches: Sequence[Sequence[int]], readers: Readers) -> Iterator[Batch]:
    """Batches ``(images, targets, samples)``, whose samples threads read while whoever takes them computes.

    ``readers`` are open while batches are taken. Beside those of the batch, a sample for each thread and one more are
    held.

    Raises ``UserError`` and ``RuntimeError`` as :class:`SampleLoader` does.

    >>> with Readers(2) as readers:  # doctest: +SKIP
    ...     for images, targets, samples in batches_ahead(dataset, [[0, 1], [2, 3]], readers):
    ...         ...
    """
    samples = _NamedSamples(dataset, 0)
    reading = readers.ahead(samples.__getitem__, chain.from_iterable(batches), depth=readers.threads + 1)
    for batch in batches:
        yield collate([future.result() for _, future in islice(reading, len(batch))])


_RAISED = re.compile(r"^fastmrcnn(\.\w+)+: ")  # the class, before the message, in the traceback of a worker
_LONGEST_PATH = 1024  # bytes of it that are kept


class _NamedSamples(Dataset[Sample]):
    """The samples of a data set; each worker writes down which file it is at, where the loader's process reads it."""

    def __init__(self, dataset: SampleSource, workers: int) -> None:
        self.dataset = dataset
        self.paths = torch.zeros((workers, _LONGEST_PATH), dtype=torch.uint8)
        if workers:
            self.paths.share_memory_()

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, key: Any) -> Sample:
        path = self.dataset.image_path(key)
        self._write_down(str(path))
        try:
            return self.dataset[key]
        except UserError:
            raise
        except MemoryError:
            raise UserError(
                f"{path}: expected enough memory to make a sample of this image; there is none left"
            ) from None
        except Exception as error:
            raise RuntimeError(f"{path}: no sample could be made of it: {type(error).__name__}: {error}") from error
        finally:
            self._write_down("")

    def _write_down(self, path: str) -> None:
        worker = get_worker_info()
        if worker is not None:
            text = path.encode("utf-8", "surrogateescape")[:_LONGEST_PATH].ljust(_LONGEST_PATH, b"\0")
            self.paths[worker.id] = torch.frombuffer(bytearray(text), dtype=torch.uint8)

    def describe_killed(self, workers: Any) -> str | None:
        """One line about the first of the worker processes that did not end by itself; None where all did."""
        for path, worker in zip(self.paths, workers, strict=False):
            if worker.exitcode:  # None: it is alive
                text = bytes(path.tolist()).rstrip(b"\0").decode("utf-8", "replace")
                what = "the process that read this image" if text else "a process that reads images"
                return f"{f'{text}: ' if text else ''}{what} {_describe_end(worker.exitcode)}"
        return None


def _await_an_end(workers: Any) -> None:
    """Wait a second for any of the worker processes to end."""
    ending = multiprocessing.connection.wait([worker.sentinel for worker in workers], timeout=1.0)
    for worker in workers:
        if worker.sentinel in ending:  # which tells of the end before the system has its status
            worker.join()


def _describe_end(code: int) -> str:
    if code > 0:
        return f"ended with status {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    return f"was killed by {name}; where memory ran out, fewer workers need less"


@contextmanager
def _child_signal_kept() -> Iterator[None]:
    """Keep torch from handling the end of child processes: its handler raises in the middle of whatever runs then."""
    if threading.current_thread() is not threading.main_thread():
        yield  # torch does not install it either
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        if before is not None:  # else it was installed by others than Python
            signal.signal(signal.SIGCHLD, before)


def make_loader(
    dataset: InstanceDataset, batch_size: int, shuffle: bool = False, seed: int = 0, workers: int = 0
) -> SampleLoader:
    """A loader of batches ``(images, targets, samples)``, see :func:`fastmrcnn.data.collate`.

    Args:
        dataset: samples, with its transforms.
        batch_size: images in a batch; the last batch of an epoch may have fewer.
        shuffle: a new order in each epoch, from ``seed``.
        seed: the order of all epochs is a function of this alone.
        workers: processes that read and decode; 0 does it in this one.

    Example:
        >>> from fastmrcnn.data import CocoDataset
        >>> from fastmrcnn.data.scenes import write_dataset
        >>> dataset = CocoDataset(write_dataset("scenes", images=3, seed=0), "scenes/images")
        >>> loader = make_loader(dataset, batch_size=2, shuffle=True, seed=7)
        >>> [len(images) for images, targets, samples in loader]
        [2, 1]
    """
    return SampleLoader(
        dataset,
        batch_size=batch_size,
        shuffle=shuffle,
        num_workers=workers,
        collate_fn=collate,
        generator=torch.Generator().manual_seed(seed),
    )
