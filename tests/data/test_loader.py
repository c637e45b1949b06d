"""Errors of a loader name the file, in whichever process and however they happen."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from fastmrcnn.data import CocoDataset, Sample, make_loader
from fastmrcnn.data.mistakes import InvalidSegmentation
from fastmrcnn.errors import UserError

Write = Callable[[Any], tuple[Path, Path]]


class Fail:
    """A transform that fails in its own way at the image b.png."""

    def __init__(self, fail: Callable[[], object]) -> None:
        self.fail = fail

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        if sample.path.name == "b.png":
            self.fail()
        return sample


def raise_memory_error() -> None:
    raise MemoryError


def raise_kind_of_user_error() -> None:
    raise InvalidSegmentation("annotations.json: annotation 7: no polygon")


def failing_loader(fail: Callable[[], object], document: Any, write: Write, workers: int) -> tuple[Any, Path]:
    path, images = write(document)
    dataset = CocoDataset(path, images, transforms=[Fail(fail)])
    return make_loader(dataset, batch_size=1, workers=workers), images / "b.png"


@pytest.mark.parametrize("workers", [0, 1])
def test_any_error_names_the_image(document: Any, write: Write, workers: int) -> None:
    loader, image = failing_loader(lambda: 1 / 0, document, write, workers)
    with pytest.raises(RuntimeError) as caught:
        list(loader)
    expected = f"RuntimeError: {image}: no sample could be made of it: ZeroDivisionError: division by zero"
    found = str(caught.value) if workers else f"RuntimeError: {caught.value}"
    assert found.strip().splitlines()[-1] == expected
    assert workers == 0 or "in <lambda>" in str(caught.value)  # the worker's traceback


@pytest.mark.parametrize("workers", [0, 1])
def test_too_little_memory_names_the_image(document: Any, write: Write, workers: int) -> None:
    loader, image = failing_loader(raise_memory_error, document, write, workers)
    with pytest.raises(UserError) as caught:
        list(loader)
    expected = "expected enough memory to make a sample of this image; there is none left"
    assert str(caught.value) == f"{image}: {expected}"


@pytest.mark.parametrize("workers", [0, 1])
def test_the_kinds_of_user_errors_stay_one_line(document: Any, write: Write, workers: int) -> None:
    loader, _ = failing_loader(raise_kind_of_user_error, document, write, workers)
    with pytest.raises(UserError) as caught:
        list(loader)
    assert str(caught.value) == "annotations.json: annotation 7: no polygon"


def kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (kill_this_process, "was killed by SIGKILL; where memory ran out, fewer workers need less"),
        (lambda: os._exit(3), "ended with status 3"),
    ],
    ids=["killed", "ended"],
)
def test_the_end_of_a_worker_names_the_image(
    document: Any, write: Write, monkeypatch: pytest.MonkeyPatch, end: Callable[[], object], expected: str
) -> None:
    # torch looks every 5 seconds whether its workers are alive.
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.2)
    monkeypatch.setattr(_MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.2,))
    loader, image = failing_loader(end, document, write, workers=1)
    handler = signal.getsignal(signal.SIGCHLD)
    with pytest.raises(UserError) as caught:
        list(loader)
    assert str(caught.value) == f"{image}: the process that read this image {expected}"
    assert signal.getsignal(signal.SIGCHLD) == handler  # it is raised here and nowhere else


def test_a_connection_that_breaks_before_its_worker_has_ended(
    document: Any, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader, image = failing_loader(lambda: (time.sleep(0.3), kill_this_process()), document, write, workers=1)

    def break_off(batches: Any, timeout: float = 5.0) -> Any:
        while b"b.png" not in bytes(loader.dataset.paths[0].tolist()):
            time.sleep(0.01)
        raise ConnectionResetError

    monkeypatch.setattr(_MultiProcessingDataLoaderIter, "_try_get_data", break_off)
    with pytest.raises(UserError) as caught:
        list(loader)
    assert str(caught.value).startswith(f"{image}: the process that read this image was killed by SIGKILL")
