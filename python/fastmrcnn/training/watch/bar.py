"""The progress bar of a run: time left, losses, learning rate, images per second, memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from fastmrcnn.training.watch.sink import Row, Sink

_LOSSES = {
    "class": "loss_classifier",
    "box": "loss_box_reg",
    "mask": "loss_mask",
    "keypoint": "loss_keypoint",
    "object": "loss_objectness",
    "proposal": "loss_rpn_box_reg",
}
_MEASURED = {
    "box AP": "box_ap",
    "mask AP": "mask_ap",
    "mask AP50": "mask_ap50",
    "keypoint AP": "keypoint_ap",
    "validation loss": "val_loss",
}


class ProgressBar(Sink):
    """Rows on a bar of tqdm, which counts the steps and knows the time left."""

    name = "progress bar"

    def __init__(self, bar: tqdm[Any]) -> None:
        self._bar = bar

    def write(self, row: Row) -> None:
        if "loss" in row:
            self._bar.set_postfix_str(summary(row), refresh=False)
            self._bar.update()
            return
        if self._bar.disable:
            return
        figures = [f"{shown} {row[name]:.3f}" for shown, name in _MEASURED.items() if row.get(name) is not None]
        self.say(f"step {row['step']}: {', '.join(figures) or 'nothing to measure'}")

    def say(self, text: str) -> None:
        """A line above the bar, or alone where none is shown."""
        self._bar.write(text)

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Another word before the bar than "train"."""
        self._bar.set_description_str(what)
        yield
        self._bar.set_description_str("train")


def summary(row: Row) -> str:
    """The numbers of a training step, the most important first: a narrow terminal cuts off the end."""
    memory = f"{row['memory_gib']:.1f} GiB"
    if "gpu_memory_gib" in row:
        memory = f"GPU {row['gpu_memory_gib']:.1f} GiB, host {memory}"
    losses = " ".join(f"{shown} {row[name]:.3f}" for shown, name in _LOSSES.items() if name in row)
    rate, speed = f"lr {row['learning_rate']:.2g}", f"{row['images_per_second']:.1f} images/s"
    return ", ".join([f"loss {row['loss']:.3f}", speed, rate, memory, losses])
