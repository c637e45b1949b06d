"""The one interface between a run and what watches it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from PIL import Image

from fastmrcnn.evaluation import EvaluationResult

Row = dict[str, Any]  # of metrics.jsonl: "step" and numbers by name; None where there is nothing to measure


@dataclass(frozen=True)
class Shown:
    """An evaluation image beside what the model finds in it, as small RGB pictures."""

    name: str  # of the image file
    truth: Image.Image
    found: Image.Image


@dataclass(frozen=True)
class Evaluated:
    """An evaluation: its numbers, and what the model then finds in a few images that stay the same."""

    step: int
    result: EvaluationResult
    shown: Sequence[Shown] = ()


class Sink:
    """Keeps or shows what a run tells; each one overrides what concerns it.

    ``OSError`` and ``UserError`` (a full disk, a folder that is gone) do not end the run: the caller says so once, and
    tells the same again later. A method must therefore leave nothing half done when it raises one.
    """

    name = "sink"  # in messages: the file, as a rule

    def write(self, row: Row) -> None:
        """Take the row of a training step, of a validation or of an evaluation."""

    def evaluated(self, evaluated: Evaluated) -> None:
        """Take what an evaluation found, after its row."""

    def sync(self) -> None:
        """Bring to the disk what was told until now: a checkpoint, which must not be ahead of it, is about to come."""

    def close(self, outcome: str) -> None:
        """The run ended, however it did; ``outcome`` is "finished" or says in a line what happened."""


def utc_now() -> str:
    """The time, to be read by people anywhere."""
    return f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
