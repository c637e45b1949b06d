"""Event files for TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fastmrcnn.errors import UserError
from fastmrcnn.training.config import TrainConfig
from fastmrcnn.training.watch.sink import Evaluated, Row, Sink

# Where a number of a row stands in TensorBoard: one group for each page of curves.
_TAGS = {
    "loss": "loss/total",
    "val_loss": "validation loss/total",
    "learning_rate": "schedule/learning_rate",
    "epoch": "schedule/epoch",
    "gradient_norm": "schedule/gradient_norm",
}
_GROUPS = {"loss_": "loss", "val_loss_": "validation loss"}
_MACHINE = ("images_per_second", "seconds", "data_seconds", "memory_gib", "gpu_memory_gib")


class TensorBoard(Sink):
    """Numbers, pictures and the configuration of a run, written with ``torch.utils.tensorboard``.

    Args:
        folder: of the event files; of an earlier, longer run there, what came after ``first_step`` is hidden.
    """

    def __init__(self, folder: Path, config: TrainConfig, *, first_step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UserError("tensorboard: expected the package tensorboard: pip install tensorboard") from None
        self.name = str(folder)
        self._writer = SummaryWriter(str(folder), purge_step=first_step + 1 if first_step else None)
        options = json.dumps(config.to_dict(), indent=2)
        self._writer.add_text("configuration", "".join(f"    {line}\n" for line in options.splitlines()), first_step)

    def write(self, row: Row) -> None:
        for tag, value in scalars(row):
            self._writer.add_scalar(tag, value, row["step"])

    def evaluated(self, evaluated: Evaluated) -> None:
        for shown in evaluated.shown:
            pair = np.concatenate([np.asarray(shown.truth), np.asarray(shown.found)], axis=1)
            self._writer.add_image(f"annotated and found/{shown.name}", pair, evaluated.step, dataformats="HWC")
        for name, values in evaluated.result.per_class.items():
            for metric, value in values.items():
                if np.isfinite(value):
                    self._writer.add_scalar(f"{metric} of classes/{name}", value, evaluated.step)
        self._writer.flush()

    def close(self, outcome: str) -> None:
        self._writer.close()


def scalars(row: Row) -> Iterator[tuple[str, float]]:
    """Tag and value of each number of a row.

    >>> list(scalars({"step": 3, "loss_mask": 0.5, "mask_ap": None, "seconds": 0.1}))
    [('loss/mask', 0.5), ('machine/seconds', 0.1)]
    """
    for name, value in row.items():
        if name != "step" and value is not None:
            yield _tag(name), float(value)


def _tag(name: str) -> str:
    if name in _TAGS:
        return _TAGS[name]
    if name in _MACHINE:
        return f"machine/{name}"
    for prefix, group in _GROUPS.items():
        if name.startswith(prefix):
            return f"{group}/{name.removeprefix(prefix)}"
    return f"evaluation/{name}"
