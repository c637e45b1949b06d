"""Evaluations on the way: how good the model is, and which one was best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fastmrcnn import distributed
from fastmrcnn.data import InstanceDataset
from fastmrcnn.evaluation import EvaluationResult, evaluate
from fastmrcnn.files import finite
from fastmrcnn.training.config import TrainConfig
from fastmrcnn.training.state import TrainState
from fastmrcnn.training.watch import Row
from fastmrcnn.weights import save_model

MOST_IMAGES = 4  # of an evaluation go through the network together: a GPU that trains on its share of a step has room


class Validation:
    """COCO metrics on the evaluation data; the best model is kept as ``best.safetensors``.

    The best is that of the highest mask AP, or of the highest box AP where a model has no masks. What came before a
    resumed run is read from ``history``, the rows of its metrics; nothing else is carried along.
    """

    def __init__(self, data: InstanceDataset, config: TrainConfig, output: Path, history: Sequence[Row]) -> None:
        self.data, self.config = data, config
        self.best = output / "best.safetensors"
        self.result: EvaluationResult | None = None  # of this process
        self._rows = [row for row in history if "box_ap" in row]

    def is_done(self, step: int) -> bool:
        """Whether there is a row of an evaluation after that step."""
        return any(row["step"] == step for row in self._rows)

    def measure(self, state: TrainState, before_batch: Callable[[], None] | None = None) -> EvaluationResult:
        """Evaluate; changes nothing of the training. before_batch: see :func:`~fastmrcnn.evaluation.evaluate`."""
        # Whatever the number of processes: the company of an image in its batch moves its scores a little.
        batch_size = min(self.config.batch_size // self.config.accumulate, MOST_IMAGES)
        self.result = evaluate(state.result, self.data, batch_size=batch_size, before_batch=before_batch)
        return self.result

    def keep(self, state: TrainState) -> Row:
        """Keep the model that was measured, if it is the best; the row of its evaluation."""
        figures = {name: getattr(self.result, name) for name in ("box_ap", "mask_ap", "mask_ap50")}
        row: dict[str, Any] = {"step": state.step} | finite(figures)  # NaN of what cannot be measured
        if ap_of(row) > max(map(ap_of, self._rows), default=-1.0):
            distributed.from_first(lambda: save_model(state.result, self.best))
        self._rows.append(row)
        return row


def ap_of(row: Row) -> float:
    """What tells a better model from a worse one in the row of an evaluation."""
    ap = row["box_ap"] if row["mask_ap"] is None else row["mask_ap"]
    return 0.0 if ap is None else float(ap)
